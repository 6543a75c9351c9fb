"""Margins on a region with enclosures of the preactivations, beside CROWN and an attack; float32 beside real.

    python benchmarks/at_a_point_intervals.py [--images N] [--parts deep,deep_linf,linf,float32] [--exact N]

Needs the data folder (shared/data beside the project, or $LMIKIT_DATA): sdp_crown/ and abcrown/, and torch
to read them. Writes docs/results/at_a_point_intervals.md. One thread, CPU seconds of this process, the attack
apart. Every certificate is proven by `verify_point`, those of the first --exact images per row again by
`check` in integers.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit.attacks import attack_margins
from lmikit.certificates.point import PointCertificate, verify_point
from lmikit.claims import AbstractRegion, Ball, linf_ball
from lmikit.intervals import crown_margin, rounding_bound
from lmikit.margins import PieceChain, Search, chain_of, propose_best, with_enclosures

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data"))
OUT = ROOT / "docs" / "results" / "at_a_point_intervals.md"
PARTS = {
    "deep": ("abcrown/mnist_6_100_nat.pth", "l2", (0.1, 0.2, 0.3)),
    "deep_linf": ("abcrown/mnist_6_100_nat.pth", "linf", (0.005, 0.01)),
    "linf": ("sdp_crown/mnist_mlp.pth", "linf", (0.03,)),
    "float32": ("sdp_crown/mnist_mlp.pth", "l2", (1.0,)),
}
TEXT = """# Margins with enclosures of the preactivations, and float32

Written by `{command}`. mnist_6_100_nat (784 inputs, five hidden layers of 100, ReLU) and mnist_mlp
(784-100-100-10), the first {images} rightly classified of 100 MNIST images, all of them for float32;
"robust" are those that the attack leaves. "proven" counts what `verify_point` proves of them for the real
function, "float32" what it
proves of every float32 forward pass ([model](../theory/point.md)). Margins are means of the least margin
over all pairs, over the robust images. Seconds are CPU seconds per robust image for search and proof, one
thread. "exact": certificates that the checker proved again in integers.

| network | region | robust | CROWN | proven | float32 | margin: CROWN | proven | attack | s | max | exact |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

CROWN is this package's own, with every rounding enclosed, and its bounds are what the dual's intervals are.
"""


@dataclasses.dataclass
class Tally:
    """What one row of the table counts."""

    robust: int = 0
    crown: int = 0
    proven: int = 0
    single: int = 0
    exact: int = 0
    margins: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    left: list[str] = dataclasses.field(default_factory=list)


def read(name: str) -> lmikit.Network:
    """A network from a state dict."""
    import torch

    state = torch.load(DATA / name, map_location="cpu")
    state = state.get("state_dict", state)
    state = state[0] if isinstance(state, list) else state
    keys = [k for k in state if k.endswith("weight")]
    biases = [state[k.replace("weight", "bias")].numpy() for k in keys]
    return lmikit.Network.from_arrays([state[k].numpy() for k in keys], biases)


def certified(
    chain: PieceChain, region: AbstractRegion, rows: np.ndarray, semantics: str, search: Search
) -> PointCertificate | None:
    """What `certify_point` does for a region, the attack apart."""
    zero, network = np.zeros(len(rows)), chain.original
    if semantics != "real":
        loss = float(rounding_bound(network, region, rows, semantics).max())
        search = dataclasses.replace(search, target=loss)
    found = None
    with contextlib.suppress(lmikit.SolveFailed):
        found = propose_best(chain, region, rows, zero, search)
    witness = with_enclosures(network, region, rows, zero, found, search.target)
    if witness is None:
        return None
    claim = dataclasses.replace(witness.claim, semantics=semantics)
    return verify_point(network, dataclasses.replace(witness, claim=claim))


def tally(
    chain: PieceChain,
    X: np.ndarray,
    y: np.ndarray,
    eps: float,
    norm: str,
    exact: int,
    search: Search,
    single: bool,
) -> Tally:
    """The counts of one set of images at one radius."""
    network, outputs, result = chain.original, chain.original.output_dim, Tally()
    for i, (x, label) in enumerate(zip(X, y, strict=True)):
        rows = np.eye(outputs)[label] - np.delete(np.eye(outputs), label, axis=0)
        region = Ball(x, eps) if norm == "l2" else linf_ball(x, eps)
        attack = float(attack_margins(network, [region], rows[None], np.zeros((1, len(rows)))).margins[0])
        if attack <= 0.0:
            continue
        result.robust += 1
        crown = crown_margin(network, region, rows)
        result.crown += bool((crown > 0.0).all())
        start = time.process_time()
        certificate = certified(chain, region, rows, "real", search)
        result.seconds.append(time.process_time() - start)
        margin = -np.inf if certificate is None else certificate.margin
        assert margin <= attack, "a proven margin above the attack's"
        result.margins.append((float(crown.min()), margin, attack))
        if certificate is None or not certificate.safe:
            assert not (crown > 1e-6).all(), "CROWN alone proves it"
            result.left.append(f"{i} ({attack:.3f}, {margin:.3f})")
            continue
        result.proven += 1
        if result.exact < exact:
            verdict = lmikit.check(certificate, network, exact=True)
            assert verdict.ok, verdict.reason
            result.exact += 1
        if single:
            found = certified(chain, region, rows, "float32", search)
            result.single += found is not None and found.safe
    return result


def line(name: str, norm: str, eps: float, r: Tally, single: bool) -> str:
    """One row of the table."""
    crown, proven, attack = np.mean(np.array(r.margins).reshape(-1, 3), axis=0)
    net = pathlib.Path(name).stem
    floats = r.single if single else ""
    where = f"{'l2' if norm == 'l2' else 'l-infinity'}, {eps}"
    return (
        f"| {net} | {where} | {r.robust} | {r.crown} | **{r.proven}** | {floats} | {crown:.3f} "
        f"| {proven:.3f} | {attack:.3f} | {np.mean(r.seconds):.3f} | {np.max(r.seconds):.2f} | {r.exact} |"
    )


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=30, help="rightly classified images per part")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--budget", type=int, default=60, help="evaluations per row and ascent")
    parser.add_argument("--exact", type=int, default=3, help="certificates per row to prove in integers")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    options = parser.parse_args()
    with np.load(DATA / "sdp_crown" / "mnist_first_100.npz") as file:
        X, y = file["X"].reshape(len(file["X"]), -1).astype(float), file["y"].astype(int)
    lines, search = [], Search(budget=options.budget)
    command = f"python benchmarks/at_a_point_intervals.py --parts {options.parts} --exact {options.exact}"
    for part in options.parts.split(","):
        name, norm, radii = PARTS[part]
        network = read(name)
        chain = chain_of(network)
        right = np.flatnonzero(network(X).argmax(axis=1) == y)
        single = part == "float32"
        right = right if single else right[: options.images]
        for eps in radii:
            result = tally(chain, X[right], y[right], eps, norm, options.exact, search, single)
            lines.append(line(name, norm, eps, result, single))
            print(lines[-1], "left (attack, proven):", "; ".join(result.left) or "none", flush=True)
            text = TEXT.format(command=command, images=options.images, rows="\n".join(lines))
            options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
