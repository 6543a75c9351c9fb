"""RS-LMI on whole networks: the product of norms, the implied multipliers, probabilistic bounds, estimates.

    python benchmarks/rs_lmi.py [--out docs/results/rs_lmi.md]

Networks: the fully connected ones of the data folder ($LMIKIT_DATA, or ../shared/data beside the
repository); without it, random ones of the same recipe. Then the penalty and its gradients against finite
differences, and the sketched global LMI against LipSDP.
"""

import argparse
import itertools
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from lmikit import Network
from lmikit.certificates import verify
from lmikit.formulations.rs_lmi import (
    PENALTIES,
    gain_product,
    sketched_lipsdp,
    sketched_lipsdp_estimate,
    sketched_penalty,
    slope_gains,
)
from lmikit.methods import RSLMI
from lmikit.sketching import Gaussian, Haar, as_operator
from lmikit.solvers import Clarabel

ROOT = pathlib.Path(__file__).resolve().parent.parent
Row = dict[str, Any]
NAMES = (
    "lyr2n80test1",
    "mnist_weights",
    "fnn2_seed0",
    "fnn3_seed0",
    "eclipse_rand_L5_n80",
    "eclipse_rand_L10_n80",
    "eclipse_rand_L20_n80",
    "eclipse_rand_L5_n400",
)


def networks() -> Iterator[tuple[str, Network]]:
    folder = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "networks"
    for name in NAMES:
        if (folder / f"{name}.npz").is_file():
            with np.load(folder / f"{name}.npz") as file:
                depth = sum(key.startswith("W") for key in file.files)
                yield name, Network.from_arrays([file[f"W{k}"] for k in range(depth)])
    if not folder.is_dir():
        for depth in (3, 6, 11):
            rng = np.random.default_rng(depth)
            dims = [4, *[80] * (depth - 1), 1]
            weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(dims)]
            yield f"random, {depth} layers", Network.from_arrays(weights)


def bounds() -> Iterator[Row]:
    """L by each way. "sketched product" is the product of estimates: it bounds nothing."""
    for name, network in networks():
        norms = [float(np.linalg.norm(w, 2)) for w in network.weights]
        start = time.perf_counter()
        certificate = verify(network, RSLMI().propose(network))
        proven = time.perf_counter() - start
        layerwise = verify(network, RSLMI(dense_side=0).propose(network))
        start = time.perf_counter()
        gain = RSLMI(certify=1e-10, slopes="gain").probabilistic(network)
        gain_time = time.perf_counter() - start
        start = time.perf_counter()
        loop = RSLMI(certify=1e-10, slopes="loop").probabilistic(network)
        loop_time = time.perf_counter() - start
        raw = RSLMI(m=8, sketch=Gaussian()).estimate(network)
        fine = RSLMI(m=8).estimate(network)
        yield {
            "network": name,
            "product of norms": gain_product(norms, slope_gains(network)),
            "proven, layerwise": layerwise.bound,
            "proven, implied multipliers": certificate.bound,
            "s": proven,
            "probabilistic, gains": gain.value,
            "gains s": gain_time,
            "probabilistic, loop": loop.value,
            "loop s": loop_time,
            "sketched product, raw m = 8": float(np.sqrt(np.prod([e.value for e in raw]))),
            "sketched product, refined": float(np.sqrt(np.prod([e.value for e in fine]))),
        }


def gradients() -> Iterator[Row]:
    """Largest error of the gradients against central differences, relative to the largest entry."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((40, 30))
    projection = Haar().draw(as_operator(weight), 8)
    for name, kind in PENALTIES.items():
        penalty = kind()
        tau = 200.0 if name == "log_det" else 30.0
        term = sketched_penalty(weight, tau, projection, penalty)
        numeric, h = np.zeros_like(weight), 1e-5
        for index in np.ndindex(*weight.shape):
            step = np.zeros_like(weight)
            step[index] = h
            up = sketched_penalty(weight + step, tau, projection, penalty).value
            numeric[index] = (up - sketched_penalty(weight - step, tau, projection, penalty).value) / (2 * h)
        change = sketched_penalty(weight, tau + h, projection, penalty).value
        change -= sketched_penalty(weight, tau - h, projection, penalty).value
        yield {
            "penalty": name,
            "error in W": float(np.abs(term.weight_gradient - numeric).max() / np.abs(numeric).max()),
            "error in tau": float(abs(term.tau_gradient - change / (2 * h)) / abs(change / (2 * h))),
        }


def sketched_global() -> Iterator[Row]:
    """sqrt of the sketched LipSDP optimum against m, all at or below LipSDP's own: estimates."""
    rng = np.random.default_rng(1)
    network = Network.from_arrays([rng.standard_normal(s) / 4 for s in ((16, 8), (16, 16), (4, 16))])
    total = 8 + 32
    for m in (5, 10, 20, 30, 36, 38, 39, 40):
        start = time.perf_counter()
        estimate = sketched_lipsdp_estimate(Clarabel().solve(sketched_lipsdp(network, m, Haar())))
        yield {"m": m, "of": total, "estimate": estimate.value, "s": time.perf_counter() - start}


def cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def table(rows: list[Row]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row.get(c, "")) for c in columns) + " |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "rs_lmi.md")
    options = parser.parse_args()
    lines = [
        "# RS-LMI on whole networks",
        "",
        "`python benchmarks/rs_lmi.py`: "
        f"NumPy {np.__version__}, {os.cpu_count()} {platform.machine()} cores.",
        "Other work may have shared the machine. delta = 1e-10 for each network.",
        "",
    ]
    for section in (bounds, gradients, sketched_global):
        rows = []
        for row in section():
            rows.append(row)
            print("  " + ", ".join(f"{k}: {cell(v)}" for k, v in row.items()), flush=True)
        lines += [f"## {section.__name__}", "", (section.__doc__ or "").strip(), "", *table(rows), ""]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
