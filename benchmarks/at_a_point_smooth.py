"""Margins at a point of tanh, sigmoid and GELU networks, terms added one by one, beside an attack.

    python benchmarks/at_a_point_smooth.py [--images N] [--out docs/results/at_a_point_smooth.md]

Three networks 64-10-10-10 are trained here on scikit-learn's digits (seeded; needs torch and scikit-learn).
For each of the first N rightly classified test images the pair (label, runner-up) is bounded on the
l2 ball by each set of terms, proven by `verify_point`, and re-checked by the independent checker. One thread.
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
from lmikit.claims import Ball
from lmikit.margins import CURVE_KINDS, Search, curved_chain_of, propose_curves

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETWORKS = (("tanh", 0.25, 1e-3), ("sigmoid", 0.5, 1e-4), ("gelu", 0.5, 1e-3))
NAMES = ("global slopes", "+ chord at x0", "+ range", "+ parabolas at x0", "+ chord, parabolas at v*")

TEXT = """# Margins at a point: smooth activations

Written by `python benchmarks/at_a_point_smooth.py`. Networks 64-10-10-10 trained on scikit-learn's digits
(1400 images, Adam, seed 0), the first {images} rightly classified test images, pair (label, runner-up),
l2 ball.
Every bound is proven by `verify_point`, every parameter of its terms on the whole line, and the last set's
certificates were re-checked by the independent checker. "share" is the mean of (clean - bound) / (clean -
attack): 1 is exact. The attack is an upper bound of the true margin, never a proof. Seconds are CPU seconds
per pair for proposing and proving.

| network | eps | terms | certified | attack leaves | mean bound | mean attack | share | s propose | s prove |
|---|---|---|---|---|---|---|---|---|---|
{rows}

In exact mode the inequalities of the terms are proven with outward-rounded intervals (exp is no rational
function), and what follows from them in integers.
"""


def trained(name: str, decay: float, X: np.ndarray, y: np.ndarray) -> lmikit.Network:
    """A network of that activation, trained with a fixed seed."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    act = {"tanh": torch.nn.Tanh(), "sigmoid": torch.nn.Sigmoid(), "gelu": torch.nn.GELU()}[name]
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 10), act, torch.nn.Linear(10, 10), act, torch.nn.Linear(10, 10)
    ).double()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=decay)
    inputs, labels = torch.tensor(X), torch.tensor(y)
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), labels).backward()
        optimiser.step()
    linear = [net[k] for k in (0, 2, 4)]
    return lmikit.Network.from_arrays(
        [m.weight.detach().numpy() for m in linear], [m.bias.detach().numpy() for m in linear], name
    )


def rows_of(name: str, eps: float, network: lmikit.Network, X: np.ndarray, y: np.ndarray) -> list[str]:
    """The table's rows for one network."""
    chain, rows = curved_chain_of(network), []
    pairs = []
    for x, label in zip(X, y, strict=True):
        outputs = network(x)
        row = np.zeros(10)
        row[label], row[np.argsort(-outputs)[1]] = 1.0, -1.0
        region = Ball(x, eps)
        attack = float(attack_margins(network, [region], row[None, None], np.zeros((1, 1))).margins[0])
        pairs.append((region, row[None], float(row @ outputs), attack))
    left = sum(attack > 0.0 for *_, attack in pairs)
    for count, title in enumerate(NAMES):
        proven, seconds = [], np.zeros(2)
        for region, row, _, attack in pairs:
            start = time.process_time()
            search = Search(target=np.inf, newton=100)
            witness = propose_curves(chain, region, row, np.zeros(1), search, CURVE_KINDS[:count])
            middle = time.process_time()
            certificate = verify_point(network, witness)
            seconds += (middle - start, time.process_time() - middle)
            assert certificate.margin <= attack + 1e-9, "a bound above an attained value"
            if count == len(CURVE_KINDS):
                assert lmikit.check(certificate, network), "the independent checker"
            proven.append(certificate.margin)
        share = np.mean([(c - s) / (c - a) for (_, _, c, a), s in zip(pairs, proven, strict=True)])
        means = f"{np.mean(proven):.4f} | {np.mean([a for *_, a in pairs]):.4f}"
        spent = " | ".join(f"{s:.2f}" for s in seconds / len(pairs))
        certified = sum(s > 0.0 for s in proven)
        rows.append(f"| {name} | {eps} | {title} | {certified} | {left} | {means} | {share:.3f} | {spent} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Train, bound, write."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument(
        "--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "at_a_point_smooth.md"
    )
    options = parser.parse_args()
    digits = load_digits()
    X, y = digits.data / 16.0, digits.target
    rows: list[str] = []
    for name, eps, decay in NETWORKS:
        network = trained(name, decay, X[:1400], y[:1400])
        right = 1400 + np.flatnonzero(network(X[1400:]).argmax(axis=1) == y[1400:])[: options.images]
        rows += rows_of(name, eps, network, X[right], y[right])
    options.out.write_text(TEXT.format(images=options.images, rows="\n".join(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
