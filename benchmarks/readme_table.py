"""Write the README's table: every method's proven bound and seconds on a few networks, in one run.

    python benchmarks/readme_table.py

Seconds are the proposal and the proof together, the best of three calls, one process.
"""

import argparse
import itertools
import os
import pathlib
import re
import time

import numpy as np

import lmikit
from lmikit._api import default_methods

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETS = {
    "lyr2n80test1": "80 hidden",
    "mnist_weights": "784-50-10",
    "fnn3_seed0": "64-32-32-10",
    "eclipse_rand_L5_n80": "4 x 80",
    "eclipse_rand_L10_n80": "9 x 80",
}


def _load(name: str) -> lmikit.Network:
    folder = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "networks"
    if folder.is_dir():
        return lmikit.Network.from_file(folder / f"{name}.npz")
    rng = np.random.default_rng(0)
    shapes = {"lyr2n80test1": [4, 80, 1], "mnist_weights": [784, 50, 10], "fnn3_seed0": [64, 32, 32, 10]}
    sizes = shapes.get(name) or [4, *[80] * (4 if "L5" in name else 9), 1]
    weights = []
    for n, m in itertools.pairwise(sizes):
        w = rng.standard_normal((m, n))
        weights.append(w * rng.uniform(0.4, 1.8) / np.linalg.norm(w, 2))
    return lmikit.Network.from_arrays(weights)


def _measure(network: lmikit.Network, method: object) -> tuple[float, str]:
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        try:
            bound = lmikit.lipschitz(network, method).bound
        except lmikit.LmikitError as error:
            return np.inf, type(error).__name__
        best = min(best, time.perf_counter() - start)
        if best > 5:
            break
    return bound, f"{bound:.6g} ({best:.3g} s)"


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    networks = {name: _load(name) for name in NETS}
    lines = ["| method | " + " | ".join(f"{n}<br>{t}" for n, t in NETS.items()) + " |"]
    lines.append("|---" * (len(NETS) + 1) + "|")
    rows = []
    for method in default_methods():
        cells = [_measure(network, method) for network in networks.values()]
        rows.append((cells[-1][0], f"| `{method.label}` | " + " | ".join(text for _, text in cells) + " |"))
        print(rows[-1][1], flush=True)
    lines += [row for _, row in sorted(rows)]
    lower = [f"{lmikit.lower_bound(network).value:.6g}" for network in networks.values()]
    lines.append("| sampled lower bound | " + " | ".join(lower) + " |")
    table = (
        "<!-- table: python benchmarks/readme_table.py -->\n" + "\n".join(lines) + "\n<!-- end of table -->"
    )
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    pattern = r"<!-- table: python benchmarks/readme_table.py -->.*?<!-- end of table -->"
    readme.write_text(re.sub(pattern, lambda _: table, text, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
