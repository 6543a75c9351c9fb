"""Margins on a region with enclosures of the preactivations, beside CROWN and an attack; float32 beside real.

    python benchmarks/at_a_point_intervals.py [--images N] [--parts deep,deep_linf,linf,float32] [--budget N]

Needs the data folder (shared/data beside the project, or $LMIKIT_DATA): sdp_crown/ and abcrown/, and torch
to read them. Prints one row per set; one thread, CPU seconds of this process, the attack apart. "proven"
counts what `verify_point` proves among the images that the attack does not break.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit.certificates.point import verify_point
from lmikit.claims import Ball, linf_ball
from lmikit.intervals import crown_margin, rounding_bound
from lmikit.margins import Search, chain_of, propose_margins, propose_with_intervals
from lmikit.training import pgd_attack

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data"))
PARTS = {
    "deep": ("abcrown/mnist_6_100_nat.pth", "l2", (0.1, 0.2, 0.3)),
    "deep_linf": ("abcrown/mnist_6_100_nat.pth", "linf", (0.005, 0.01)),
    "linf": ("sdp_crown/mnist_mlp.pth", "linf", (0.03,)),
    "float32": ("sdp_crown/mnist_mlp.pth", "l2", (1.0,)),
}


def read(name: str) -> lmikit.Network:
    """A network from a state dict."""
    import torch

    state = torch.load(DATA / name, map_location="cpu")
    state = state.get("state_dict", state)
    state = state[0] if isinstance(state, list) else state
    keys = [k for k in state if k.endswith("weight")]
    biases = [state[k.replace("weight", "bias")].numpy() for k in keys]
    return lmikit.Network.from_arrays([state[k].numpy() for k in keys], biases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=30, help="rightly classified images per part")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--budget", type=int, default=100, help="half the evaluations per row and ascent")
    options = parser.parse_args()
    with np.load(DATA / "sdp_crown" / "mnist_first_100.npz") as file:
        X, y = file["X"].reshape(len(file["X"]), -1).astype(float), file["y"].astype(int)
    print(f"{'part':10} {'eps':>6} {'robust':>6} {'CROWN':>6} {'proven':>6} {'float32':>7} {'seconds':>8}")
    for part in options.parts.split(","):
        name, norm, radii = PARTS[part]
        network = read(name)
        right = np.flatnonzero(network(X).argmax(axis=1) == y)[: options.images]
        for eps in radii:
            counts = row(network, X[right], y[right], eps, norm, part, options.budget)
            print(f"{part:10} {eps:6.3f} " + " ".join(counts), flush=True)


def row(
    network: lmikit.Network, X: np.ndarray, y: np.ndarray, eps: float, norm: str, part: str, budget: int
) -> list[str]:
    """The counts of one set of images at one radius."""
    chain, outputs = chain_of(network), network.output_dim
    attacked = network(pgd_attack(network, X, y, eps, norm=norm, loss="cross_entropy", steps=60, restarts=3))
    robust = crown = proven = floats = 0
    seconds = 0.0
    for x, label, there in zip(X, y, attacked, strict=True):
        rows = np.eye(outputs)[label] - np.delete(np.eye(outputs), label, axis=0)
        region = Ball(x, eps) if norm == "l2" else linf_ball(x, eps)
        if (rows @ there).min() <= 0.0:
            continue
        robust += 1
        crown += bool((crown_margin(network, region, rows) > 0.0).all())
        loss = rounding_bound(network, region, rows)
        start = time.process_time()
        search = Search(budget=budget, target=float(loss.max()) if part == "float32" else 0.0)
        form = propose_margins if part == "float32" else propose_with_intervals
        lower = proven_lower(network, form(chain, region, rows, np.zeros(len(rows)), search))
        seconds += time.process_time() - start
        assert lower.min() <= (rows @ there).min()
        proven += bool((lower > 0.0).all())
        floats += bool((lower > loss).all())
    mean = seconds / max(robust, 1)
    return [f"{robust:6d}", f"{crown:6d}", f"{proven:6d}", f"{floats:7d}", f"{mean:8.3f}"]


def proven_lower(network: lmikit.Network, witness: object) -> np.ndarray:
    """The proven lower bounds; -inf where nothing is proven."""
    try:
        return verify_point(network, witness).claim.lower  # type: ignore[arg-type]
    except (lmikit.NotCertified, lmikit.InputError):
        return np.full(1, -np.inf)


if __name__ == "__main__":
    main()
