"""The default bound against the closed form's: python benchmarks/default_bound.py --nets 1000.

`lipschitz(network)` must never be above `lipschitz(network, ClosedForm())`, nor may more time give a
looser bound. Over the networks of a folder (`--folder`, .npz files) and random small ones with dead,
near-dead, duplicate and linear neurons and rows of very different scales. Nothing is asserted; the
worst ratios are written.
"""

import argparse
import itertools
import logging
import os
import pathlib
import sys
import time

import numpy as np

from lmikit import LmikitError, Network, lipschitz
from lmikit.methods import ClosedForm
from lmikit.network import Slopes

_LIMITS = (1.0, 3.0)  # seconds, for small networks
_TOLERANCE = 1e-6  # relative: what a proof may lose without the start being proven too


def random_network(seed: int) -> tuple[str, Network]:
    """A small network and what was done to it."""
    rng = np.random.default_rng(seed)
    dims = rng.integers(1, 13, int(rng.integers(3, 7)))
    weights = [
        rng.standard_normal((n, m)) * rng.uniform(0.5, 2.0) / np.sqrt(m) for m, n in itertools.pairwise(dims)
    ]
    slopes = [np.array([[0.0], [1.0]]) * np.ones(n) for n in dims[1:-1]]
    if rng.integers(3) == 0:
        slopes = [np.array([[-0.1], [1.1]]) * np.ones(n) for n in dims[1:-1]]
    kinds = rng.choice(["dead", "near-dead", "duplicate", "linear", "scaled"], int(rng.integers(1, 4)), False)
    for kind in kinds:
        for k, s in enumerate(slopes):
            n = s.shape[1]
            chosen = rng.random(n) < 0.3
            if kind == "dead":
                weights[k][chosen] = 0.0
            elif kind == "near-dead":
                weights[k][chosen] *= 10.0 ** -rng.uniform(6, 20)
            elif kind == "duplicate":
                weights[k][chosen] = weights[k][0]
            elif kind == "linear":
                s[:, chosen] = rng.choice([1.0, -1.0, 0.3])
            else:
                powers = 10.0 ** rng.uniform(-6, 6, n)
                weights[k] = weights[k] * powers[:, None]
                weights[k + 1] = weights[k + 1] / powers
    return "+".join(sorted(kinds)), Network.from_arrays(weights, activation=[Slopes(a, b) for a, b in slopes])


def bound(network: Network, *arguments: object, **options: float) -> tuple[float, str]:
    """(proven bound, who gave it); infinity and the reason where there is none."""
    try:
        certificate = lipschitz(network, *arguments, **options)  # type: ignore[arg-type]
    except LmikitError as error:
        return np.inf, f"{type(error).__name__}: {error}"
    return certificate.bound, certificate.produced_by


def compared(network: Network, limits: tuple[float, ...]) -> tuple[float, float, str]:
    """(default / closed form - 1, worst rise with more time, who gave the default bound)."""
    closed, _ = bound(network, ClosedForm())
    found = [bound(network, time_limit=limit)[0] for limit in limits]
    value, by = bound(network)
    found.append(value)
    rises = [later / min(found[:k]) - 1.0 for k, later in enumerate(found) if k and min(found[:k]) > 0.0]
    ratio = value / closed - 1.0 if closed > 0.0 else value
    return ratio, max(rises, default=0.0), by


def main() -> int:
    logging.getLogger("lmikit").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", type=int, default=1000, help="how many random networks")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--timed", type=int, default=50, help="for how many of them time limits are tried")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop the random networks early")
    parser.add_argument("--folder", type=pathlib.Path, default=None, help="a folder of .npz networks")
    parser.add_argument("--limits", type=float, nargs="*", default=list(_LIMITS), help="seconds")
    parser.add_argument("--most", type=int, default=2000, help="neurons of a network of the folder")
    parser.add_argument("--write", action="store_true", help="write docs/results/default_bound.md")
    options = parser.parse_args()
    started = os.times()
    begun = time.perf_counter()
    rows: list[tuple[str, str, float, float, str]] = []
    for seed in range(options.first, options.first + options.nets):
        if time.perf_counter() - begun > 60.0 * options.minutes:
            break
        kinds, network = random_network(seed)
        limits = tuple(options.limits) if seed < options.first + options.timed else ()
        rows.append((kinds, f"seed {seed}", *compared(network, limits)))
    nets = len(rows)
    files = sorted(options.folder.glob("*.npz")) if options.folder else []
    for path in files:
        try:
            network = Network.from_file(path)
        except LmikitError:
            continue  # convolutional files
        if network.hidden_neurons <= options.most:
            rows.append((path.stem, path.stem, *compared(network, ())))
    seconds = time.perf_counter() - begun
    cpu = sum(os.times()[:2]) - sum(started[:2])
    text = report(rows, nets, min(nets, options.timed), cpu, seconds)
    print(text)
    if options.write:
        target = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "default_bound.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return 0


def report(
    rows: list[tuple[str, str, float, float, str]], nets: int, timed: int, cpu: float, seconds: float
) -> str:
    """The page: per kind of change how often a bound was above, and the worst."""
    lines = [
        "# The default bound is never the looser one",
        "",
        f"`python benchmarks/default_bound.py --nets {nets} --timed {timed} --write`",
        f"({cpu:.0f} CPU s, {seconds:.0f} s).",
        "",
        f"Above means by more than {_TOLERANCE:g} relative. `over closed form`: the default bound over",
        "`ClosedForm`'s, less 1 (negative: tighter). `rise`: of a bound over one that less time gave, tried",
        f"on the first {timed} random networks.",
        "",
        "| networks | count | above closed form | worst over closed form | risen with time | worst rise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    single = {kind for kinds, *_ in rows[:nets] for kind in kinds.split("+")}
    groups = [(kind, [r for r in rows[:nets] if kind in r[0].split("+")]) for kind in sorted(single)]
    groups += [("all random", rows[:nets]), ("of the folder", rows[nets:])]
    for name, members in groups:
        if members:
            ratios, rises = [r[2] for r in members], [r[3] for r in members]
            lines.append(
                f"| {name} | {len(members)} | {sum(v > _TOLERANCE for v in ratios)} | {max(ratios):.1e} | "
                f"{sum(v > _TOLERANCE for v in rises)} | {max(rises):.1e} |"
            )
    worst = sorted(rows, key=lambda r: max(r[2], r[3]), reverse=True)[:5]
    lines += [
        "",
        "The five worst: " + "; ".join(f"{r[1]} ({r[0]}): {r[2]:.1e}, {r[3]:.1e}" for r in worst) + ".",
    ]
    starts = sum(r[4].startswith("closed-form") for r in rows)
    lines += ["", f"The closed form's own proof was the least in {starts} of {len(rows)} networks."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
