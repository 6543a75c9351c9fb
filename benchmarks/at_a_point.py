"""Certified, attacked and clean counts at a point, beside the global Lipschitz bounds and CROWN.

    python benchmarks/at_a_point.py [--images N] [--parts ball,both,radius,linf] [--exact N]

Needs the data folder (shared/data beside the project, or $LMIKIT_DATA): sdp_crown/mnist_mlp.pth and
mnist_first_100.npz, and torch to read the former. Writes docs/results/at_a_point.md. One thread; seconds
are CPU seconds of this process, the attack apart. Every certificate is proven by `verify_point`; the
certificates of the first --exact images of each part are proven again by `check` in integers.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit.attacks import attack_margins
from lmikit.certificates.point import verify_point
from lmikit.claims import Ball, BallAndBox, Box, linf_ball
from lmikit.intervals import crown_margin
from lmikit.margins import Search, chain_of, propose_margins, propose_radius

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data"))
OUT = ROOT / "docs" / "results" / "at_a_point.md"
SEARCH = {
    "ball": Search(newton=90),
    "both": Search(budget=200, newton=45),
    "linf": Search(budget=300, newton=0),
}
PUBLISHED = {
    "ball": "Published for 200 images, of which these are the first 100 (SDP-CROWN, Table 1): SDP-CROWN "
    "65 of 200, 2.5 s each on a V100; BM-Full, the exact SDP, 106 of 200 on ball and box."
}


class Subject:
    """The network, the images, and what all parts share."""

    def __init__(self, images: int) -> None:
        import torch

        state = torch.load(DATA / "sdp_crown" / "mnist_mlp.pth", map_location="cpu")
        keys = [k for k in state if k.endswith("weight")]
        weights = [state[k].numpy().astype(float) for k in keys]
        biases = [state[k.replace("weight", "bias")].numpy().astype(float) for k in keys]
        self.network = lmikit.Network.from_arrays(weights, biases)
        with np.load(DATA / "sdp_crown" / "mnist_first_100.npz") as file:
            self.X = file["X"].reshape(len(file["X"]), -1).astype(float)[:images]
            self.y = file["y"].astype(int)[:images]
        self.chain = chain_of(self.network)
        self.right = np.flatnonzero(self.network(self.X).argmax(axis=1) == self.y)
        outputs = self.network.output_dim
        others = np.array([[j for j in range(outputs) if j != label] for label in self.y])
        self.rows = np.eye(outputs)[self.y][:, None, :] - np.eye(outputs)[others]
        start = time.process_time()
        _ = self.chain.gram, self.chain.norms, self.chain.absolute_gram_rows
        self.shared_seconds = time.process_time() - start

    def global_radii(self) -> dict[str, tuple[np.ndarray, float]]:
        """Certified radii by proven pairwise Lipschitz bounds, and the seconds for the network."""
        result = {}
        logits = self.network(self.X)
        for name, method in (
            ("product of norms, per pair", lmikit.SpectralProduct()),
            ("LipSDP, per pair", None),
        ):
            start = time.process_time()
            bounds = lmikit.pairwise_bounds(self.network, method)
            radii = lmikit.certified_radius(bounds, logits, logit_error=1e-9)
            result[name] = (radii, time.process_time() - start)
        return result


def regions(subject: Subject, part: str, index: np.ndarray) -> list:
    if part == "ball":
        return [Ball(subject.X[i], 1.0) for i in index]
    if part == "both":
        box = Box(np.zeros(subject.network.input_dim), np.ones(subject.network.input_dim))
        return [BallAndBox(Ball(subject.X[i], 1.0), box) for i in index]
    return [linf_ball(subject.X[i], 0.03) for i in index]


def margins(subject: Subject, part: str, index: np.ndarray, exact: int) -> dict:
    """Counts and seconds of one part on the images `index`."""
    network, places = subject.network, regions(subject, part, index)
    rows, zero = subject.rows[index], np.zeros(subject.rows.shape[1])
    start = time.process_time()
    attacked = attack_margins(network, places, rows, np.zeros(rows.shape[:2]))
    attack_seconds = time.process_time() - start
    robust = np.flatnonzero(attacked.margins > 0.0)
    proven, seconds, checked, left, crown = 0, [], 0, [], 0
    for k in robust:
        crown += bool((crown_margin(network, places[k], rows[k]) > 0.0).all())
        start = time.process_time()
        witness = propose_margins(subject.chain, places[k], rows[k], zero, SEARCH[part])
        certificate = verify_point(network, witness)
        seconds.append(time.process_time() - start)
        assert certificate.margin <= attacked.margins[k], "a proven margin above the attack's"
        if certificate.safe:
            proven += 1
            if checked < exact:
                result = lmikit.check(certificate, network, exact=True)
                assert result.ok, result.reason
                checked += 1
        else:
            left.append(f"{index[k]} (attack {attacked.margins[k]:.4f}, proven {certificate.margin:.4f})")
    return {
        "images": len(index),
        "robust": len(robust),
        "proven": proven,
        "crown": crown,
        "mean": float(np.mean(seconds)),
        "median": float(np.median(seconds)),
        "max": float(np.max(seconds)),
        "attack": attack_seconds / len(index),
        "checked": checked,
        "left": "; ".join(left) or "none",
    }


def attack_radius(subject: Subject, i: int, low: float) -> float:
    """The least radius at which the attack succeeds, by bisection above the certified one."""
    high = 1.6 * low + 0.02
    for _ in range(7):
        middle = 0.5 * (low + high)
        found = attack_margins(
            subject.network, [Ball(subject.X[i], middle)], subject.rows[i][None], np.zeros((1, 9))
        )
        low, high = (low, middle) if found.margins[0] <= 0.0 else (middle, high)
    return high


def radii(subject: Subject, index: np.ndarray, exact: int, others: dict) -> list[str]:
    found, attacks, seconds = [], [], []
    for k, i in enumerate(index):
        start = time.process_time()
        witness = propose_radius(
            subject.chain,
            subject.X[i],
            subject.rows[i],
            np.zeros(9),
            Search(budget=150, newton=0, target=np.inf),
        )
        certificate = verify_point(subject.network, witness)
        seconds.append(time.process_time() - start)
        found.append(certificate.radius)
        if k < exact:
            assert lmikit.check(certificate, subject.network, exact=True).ok
        attacks.append(attack_radius(subject, i, certificate.radius))
    ratio = np.array(found) / np.array(attacks)
    lines = [
        f"## Largest proven radius, first {len(index)} rightly classified images\n",
        "| | mean radius | over the attack's: mean | least | CPU s per image |",
        "|---|---|---|---|---|",
        f"| attack (bisection) | {np.mean(attacks):.4f} | 1 | 1 | |",
        f"| **radius dual, proven** | **{np.mean(found):.4f}** | {ratio.mean():.3f} | {ratio.min():.3f} "
        f"| {np.mean(seconds):.3f} |",
    ]
    for name, (values, _) in others.items():
        share = values[index] / np.array(attacks)
        lines.append(
            f"| {name} | {values[index].mean():.4f} | {share.mean():.3f} | {share.min():.3f} | once per net |"
        )
    return [*lines, f"\nThe first {min(exact, len(index))} certificates were proven again in integers.\n"]


def section(
    title: str, part: str, r: dict, others: dict, subject: Subject, index: np.ndarray, eps: float
) -> list[str]:
    lines = [
        f"## {title}\n",
        f"{len(subject.X)} images, {r['images']} of them rightly classified and tried; "
        f"the attack leaves {r['robust']}.\n",
        "| | certified | CPU s per image: mean, median, max |",
        "|---|---|---|",
        f"| attack (upper bound) | {r['robust']} | {r['attack']:.3f} |",
        f"| **margin dual, proven** | **{r['proven']}** "
        f"| {r['mean']:.3f}, {r['median']:.3f}, {r['max']:.2f} |",
        f"| CROWN, proven | {r['crown']} | |",
    ]
    if part != "linf":
        for name, (values, seconds) in others.items():
            lines.append(
                f"| global {name} | {int((values[index] > eps).sum())} | {seconds:.1f} once per net |"
            )
    lines.append(f"\nNot certified: {r['left']}. Proven again in integers: {r['checked']} certificates.")
    if part in PUBLISHED:
        lines.append(PUBLISHED[part])
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--parts", default="ball,both,radius,linf")
    parser.add_argument(
        "--exact", type=int, default=1000, help="certificates per part to prove again in integers"
    )
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    subject = Subject(arguments.images)
    others = subject.global_radii()
    print(f"global bounds: { ({k: round(s, 1) for k, (_, s) in others.items()}) } CPU s", flush=True)
    lines = [
        "# Certificates at a point\n",
        f"Network mnist_mlp (784-100-100-10, ReLU), written by `python benchmarks/at_a_point.py "
        f"--parts {arguments.parts} --exact {arguments.exact}`.",
        f"One thread, CPU seconds, attack apart; {subject.shared_seconds:.2f} s once per network for norms "
        "and Gram matrices.\n",
    ]
    titles = {
        "ball": "l2 ball of radius 1",
        "both": "l2 ball of radius 1 within the box [0, 1]",
        "linf": "l-infinity ball of radius 0.03",
    }
    for part in arguments.parts.split(","):
        if part == "radius":
            lines += radii(subject, subject.right[:40], arguments.exact, others)
        else:
            index = subject.right[:30] if part == "linf" else subject.right
            result = margins(subject, part, index, arguments.exact)
            print(part, result, flush=True)
            lines += section(titles[part], part, result, others, subject, index, 1.0)
        arguments.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
