"""Margins at a point of convolutional networks, beside CROWN, an attack and SDP-CROWN's published counts.

    python benchmarks/at_a_point_convolutions.py [--data FOLDER] [--images N] [--exact N] [--networks A,B]
    python benchmarks/at_a_point_convolutions.py --pooling [--data FOLDER] [--images N] [--exact N]

Needs the data folder (shared/data beside the project, or $LMIKIT_DATA): sdp_crown/, and torch to read it.
Writes docs/results/at_a_point_convolutions.md, with --pooling docs/results/at_a_point_pooling.md (public
networks with max-pooling and images of MNIST's test set: real/ and mnist.npz of the data folder). One thread,
CPU seconds of this process, the attack apart.
Every certificate is proven by `verify_point`; those of the first --exact proven images of each network are
proven again by `check` in integers.
"""

import argparse
import dataclasses
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit._points import class_rows
from lmikit.attacks import attack_margins
from lmikit.certificates.point import PointCertificate, point_network, verify_point
from lmikit.claims import Ball
from lmikit.intervals import crown_margin, rounding_bound
from lmikit.maps import Convolution2d
from lmikit.margins import PieceChain, Search, chain_of, propose_margins

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data"))
OUT = ROOT / "docs" / "results" / "at_a_point_convolutions.md"
COMMAND = "python benchmarks/at_a_point_convolutions.py"
TEXT = """# Margins at a point of convolutional networks

Written by `{command}`. The networks and images of SDP-CROWN, the first {images} images of its 200:
mnist_convsmall (4x4 convolutions of stride 2 and padding 1 with 16 and 32 channels, then 1568-100-10) on
l2 balls of radius 0.3, cifar10_cnn_c (4x4 convolutions of stride 2 with 8 and 16 channels, then
576-128-64-10) on l2 balls of 24/255 before the scaling of the pixels by 1/0.225. "right" are classified
rightly, "robust" are those of them that the attack leaves. "proven" counts what `verify_point` proves for
the real function, "float32" what it proves of every float32 forward pass ([model](../theory/point.md)).
Seconds are CPU seconds per robust image on one thread, the attack apart: search and proof for the real
function; for float32 the bound of the rounding, and where the margin does not cover it another search.

| network | right | robust | CROWN | **proven** | share | s: mean, median, max | float32 | s more | exact |
|---|---|---|---|---|---|---|---|---|---|
{rows}

Not proven: {left}.

Published for the 200 images (SDP-CROWN, Table 1; its seconds are per image on a V100):

| network | attack | SDP-CROWN | LipSDP |
|---|---|---|---|
| mnist_convsmall | 84.5 % | 81.5 %, 12 s | 78.5 % |
| cifar10_cnn_c | 47 % | 42.5 %, 10 s | 38.5 % |

CROWN is this package's own, with every rounding enclosed. "exact": certificates that the checker proved again
in integers, {exact}.
"""

POOLING = """# Margins at a point of networks with max-pooling

Written by `{command}`. Public networks with max-pooling
({where}) and the first {images} images of MNIST's test set, pixels in [0, 1], l2 balls of two radii
each, through `certify_point` with a limit of 20 s per image. "right" are classified rightly, "refuted" those
for which the attack found another class, "robust" the others. "CROWN" counts what enclosures prove alone,
"proven" what `certify_point` proves of the real function (every margin is compared with the attack's).
Seconds are CPU seconds per robust image on one thread, the attack included: mean, largest.

| network, as a chain | eps | right | refuted | robust | CROWN | **proven** | share | s | exact |
|---|---|---|---|---|---|---|---|---|---|
{rows}

"exact": certificates that `check` proved again in integers, for the graph. The networks have four to six
layers once each level of a maximum counts as one; without enclosures the dual loses with every layer, so that
on these radii the proofs are CROWN's, through the trees of ReLU.
"""
POOLED = (
    ("NeuralNetworkVerification__Marabou__cnn_max_mninst3.onnx", (0.1, 0.15)),
    ("NeuralNetworkVerification__Marabou__cnn_max_mnist2.h5", (0.03, 0.05)),
    ("dlshriver__dnnv-benchmarks__lenet.onnx", (0.05, 0.1)),
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """One network of the table."""

    name: str
    file: str
    eps: float
    image: tuple[int, int, int]
    padding: int


SUBJECTS = (
    Subject("mnist_convsmall", "mnist", 0.3, (1, 28, 28), 1),
    Subject("cifar10_cnn_c", "cifar10", 24.0 / 255.0 / 0.225, (3, 32, 32), 0),
)


def network_of(subject: Subject, data: pathlib.Path) -> lmikit.Network:
    """Convolutions of stride 2, then dense layers, from the state dict."""
    import torch

    state = torch.load(data / "sdp_crown" / f"{subject.name}.pth", map_location="cpu")
    weights, biases, shape = [], [], subject.image
    for key in (k[: -len(".weight")] for k in state if k.endswith("weight")):
        weight, bias = state[f"{key}.weight"].numpy(), state[f"{key}.bias"].numpy().astype(float)
        if weight.ndim == 4:
            weight = Convolution2d(weight, shape, 2, subject.padding)
            shape = weight.output_shape
            bias = np.repeat(bias, shape[1] * shape[2])
        weights.append(weight)
        biases.append(bias)
    return lmikit.Network.from_arrays(weights, biases)


def images_of(subject: Subject, data: pathlib.Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, n_0) in the order channel, row, column, and the labels."""
    with np.load(data / "sdp_crown" / f"{subject.file}_first_100.npz") as file:
        X, y = file["X"][:count], file["y"][:count].astype(int)
    if subject.file == "cifar10":
        mean = np.array([125.3, 123.0, 113.9], dtype=np.float32) / 255
        X = ((X - mean) / np.float32(0.225)).transpose(0, 3, 1, 2)
    return X.reshape(len(X), -1).astype(float), y


@dataclasses.dataclass
class Tally:
    """What one row of the table counts."""

    right: int = 0
    robust: int = 0
    crown: int = 0
    proven: int = 0
    single: int = 0
    exact: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)
    more: list[float] = dataclasses.field(default_factory=list)
    exact_seconds: list[float] = dataclasses.field(default_factory=list)
    left: list[str] = dataclasses.field(default_factory=list)

    def row(self, name: str) -> str:
        s, share = np.array(self.seconds), self.proven / self.robust
        return (
            f"| {name} | {self.right} | {self.robust} | {self.crown} | **{self.proven}** "
            f"| {100 * share:.1f} % "
            f"| {s.mean():.2f}, {np.median(s):.2f}, {s.max():.1f} | {self.single} | {np.mean(self.more):.2f} "
            f"| {self.exact} |"
        )


def certified(
    chain: PieceChain, region: Ball, rows: np.ndarray, target: float, semantics: str
) -> PointCertificate:
    """Searched for and proven."""
    witness = propose_margins(chain, region, rows, np.zeros(len(rows)), Search(target=target))
    claim = dataclasses.replace(witness.claim, semantics=semantics)
    return verify_point(chain.original, dataclasses.replace(witness, claim=claim))


def one_image(tally: Tally, chain: PieceChain, region: Ball, rows: np.ndarray, exact: int) -> float:
    """The proven margin of the real function; counts."""
    network = chain.original
    start = time.process_time()
    certificate = certified(chain, region, rows, 0.0, "real")
    middle = time.process_time()
    loss = float(rounding_bound(network, region, rows, "float32").max())
    single = certificate.margin > 1.01 * loss or (
        certificate.safe and certified(chain, region, rows, loss, "float32").safe
    )
    tally.seconds.append(middle - start)
    tally.more.append(time.process_time() - middle)
    tally.proven += certificate.safe
    tally.single += single
    tally.crown += bool((crown_margin(network, region, rows) > 0.0).all())
    if certificate.safe and tally.exact < exact:
        start = time.process_time()
        result = lmikit.check(certificate, network, exact=True)
        assert result.ok, result.reason
        tally.exact += 1
        tally.exact_seconds.append(time.process_time() - start)
    return certificate.margin


def one_network(subject: Subject, data: pathlib.Path, images: int, exact: int) -> Tally:
    network, (X, y), tally = network_of(subject, data), images_of(subject, data, images), Tally()
    chain = chain_of(network)
    start = time.process_time()
    _ = chain.norms
    print(f"{subject.name}: norms in {time.process_time() - start:.1f} CPU s", flush=True)
    right = np.flatnonzero(network(X).argmax(axis=1) == y)
    others = np.array([[j for j in range(network.output_dim) if j != label] for label in y])
    rows = np.eye(network.output_dim)[y][:, None, :] - np.eye(network.output_dim)[others]
    regions = [Ball(X[i], subject.eps) for i in right]
    attacked = attack_margins(network, regions, rows[right], np.zeros(rows[right].shape[:2])).margins
    tally.right, tally.robust = len(right), int((attacked > 0.0).sum())
    for k, i in enumerate(right):
        if not attacked[k] > 0.0:
            continue
        margin = one_image(tally, chain, regions[k], rows[i], exact)
        assert margin <= attacked[k], "a proven margin above the attack's"
        if not margin > 0.0:
            tally.left.append(f"{subject.name} {i} (attack {attacked[k]:.4f}, proven {margin:.4f})")
        print(f"{i}: attack {attacked[k]:.4f}, proven {margin:.4f}, {tally.seconds[-1]:.2f} s", flush=True)
    return tally


def pooled_row(file: pathlib.Path, eps: float, images: int, exact: int) -> str:
    """One row of the table of networks with max-pooling."""
    graph = lmikit.load_network(file)
    chain = point_network(graph)
    with np.load(file.parent.parent / "mnist.npz") as data:
        X, y = data["x_test"][:images].reshape(images, -1) / 255.0, data["y_test"][:images].astype(int)
    right = np.flatnonzero(graph(X).argmax(axis=1) == y)
    count = {"refuted": 0, "proven": 0, "undecided": 0, "crown": 0, "exact": 0}
    seconds = []
    for i in right:
        start = time.process_time()
        result = lmikit.certify_point(graph, X[i], int(y[i]), eps, time_limit=20.0)
        count[result.verdict] += 1
        if result.verdict == "refuted":
            continue
        seconds.append(time.process_time() - start)
        assert result.verdict != "proven" or result.margin <= result.attack_margin
        rows, _ = class_rows(graph.output_dim, int(y[i]))
        count["crown"] += bool((crown_margin(chain, Ball(X[i], eps), rows) > 0.0).all())
        if result.certificate is None or result.verdict != "proven":
            continue
        if count["exact"] < exact:
            assert lmikit.check(result.certificate, graph, exact=True)
            count["exact"] += 1
    robust = len(right) - count["refuted"]
    share = 100.0 * count["proven"] / max(robust, 1)
    name = file.name.rsplit("__", 1)[1]
    print(f"{name}, {eps}: {count}", flush=True)
    return (
        f"| {name}, {chain.hidden_neurons} neurons in {chain.hidden_layers} layers | {eps} | {len(right)} "
        f"| {count['refuted']} | {robust} | {count['crown']} | **{count['proven']}** | {share:.0f} % "
        f"| {np.mean(seconds):.2f}, {np.max(seconds):.1f} | {count['exact']} |"
    )


def pooling(data: pathlib.Path, images: int, exact: int, out: pathlib.Path) -> None:
    """The page of networks with max-pooling."""
    jobs = [(data / "real" / name, eps) for name, radii in POOLED for eps in radii]
    rows: list[str] = []
    for file, eps in jobs:
        rows.append(pooled_row(file, eps, images, exact))
        text = POOLING.format(
            command=f"{COMMAND} --pooling --images {images} --exact {exact}",
            where="of Marabou and of DNNV's benchmarks",
            images=images,
            rows="\n".join(rows),
        )
        out.write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=DATA)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--exact", type=int, default=10, help="certificates per network to prove in integers")
    names = ",".join(subject.name for subject in SUBJECTS)
    parser.add_argument("--networks", default=names, help="with commas between")
    parser.add_argument("--pooling", action="store_true", help="networks with max-pooling only")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.pooling:
        out = arguments.out or OUT.with_name("at_a_point_pooling.md")
        return pooling(arguments.data, arguments.images, arguments.exact, out)
    out = arguments.out or OUT
    rows, left, seconds = [], [], []
    chosen = arguments.networks.split(",")
    for subject in (s for s in SUBJECTS if s.name in chosen):
        tally = one_network(subject, arguments.data, arguments.images, arguments.exact)
        rows.append(tally.row(subject.name))
        left += tally.left
        if tally.exact_seconds:
            seconds.append(f"{np.mean(tally.exact_seconds):.1f} s each for {subject.name}")
        text = TEXT.format(
            command=f"{COMMAND} --images {arguments.images} --exact {arguments.exact}",
            images=arguments.images,
            rows="\n".join(rows),
            left="; ".join(left) or "none",
            exact=", ".join(seconds) or "none",
        )
        out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
