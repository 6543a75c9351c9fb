"""Closed forms and scalings beside eclipse-nn: bounds, proofs and seconds, in one process.

    python benchmarks/closed_forms.py [--quick] [--out docs/results/closed_forms.md]

Networks: every fully connected one of the data folder ($LMIKIT_DATA, or ../shared/data beside
the repository); without it, random ones of the same recipe. Needs the extra `bench`.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from eclipse_nn.LipConstEstimator import LipConstEstimator

import lmikit
from lmikit._arrays import blas_threads
from lmikit.methods import ClosedForm, EclipseFast, LayerScaling, NeuronScaling, SpectralProduct
from lmikit.network import GELU, LeakyReLU, Network, SiLU, Slopes

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = (SpectralProduct(), EclipseFast(), ClosedForm(), LayerScaling(), NeuronScaling())
EXACT = {
    "eclipse_rand_L2_n80": 0.15874307,
    "eclipse_rand_L5_n80": 0.0779153871,
    "eclipse_rand_L10_n80": 0.0138361627,
    "eclipse_rand_L20_n80": 1.4198513e-4,
    "eclipse_rand_L50_n80": 1.8824989e-9,
    "eclipse_rand_L2_n400": 0.394490642,
    "eclipse_rand_L5_n400": 0.233049858,
}


TEXT = """# Closed forms and scalings

Written by `python benchmarks/closed_forms.py` on {machine}, shared with other work; one BLAS thread
for all. Each time is the shortest of up to 20 runs (two for the slowest). eclipse-nn 0.1.7 runs in
the same process on one thread, where it was fastest on this machine.

## Bounds (ReLU, all outputs)

Every bound of ours is proven by `verify`; eclipse-nn's is a float without a proof. Where a proposal is
so near the edge of the feasible set that it cannot be proven as it is, `verify` rescales its
multipliers, which can improve it: eclipse-fast is then below eclipse-nn's figure. LipSDP is the
optimum of the SDP, solved to about 1e-7; no method here can be below it.

{bounds}

## Milliseconds

`propose` gives the multipliers, `verify` proves the bound. The last two columns: seconds of eclipse-nn
Fast over seconds of `propose`.

{times}

## Slopes other than [0, 1]

The vertex maximum is the largest Jacobian norm over all slope vectors: a bound for the slope class
cannot be smaller. An answer below it is marked. eclipse-nn takes SiLU and GELU models and answers as
for slopes in [0, 1]; for negative slopes its Fast refuses and its ECLipsE drops the alpha beta term.

{slopes}
"""


def stored_networks() -> Iterator[tuple[str, list[np.ndarray], float | None, float | None]]:
    """(name, weights, sampled lower bound, exact LipSDP bound) of the data folder's fully connected nets."""
    data = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "networks"
    if not data.is_dir():
        yield from generated_networks()
        return
    reference = json.loads((data / "reference.json").read_text())["nets"]
    for path in sorted(data.glob("*.npz"), key=lambda p: p.stat().st_size):
        with np.load(path) as arrays:
            if any(key.startswith("K") for key in arrays):
                continue
            depth = sum(key.startswith("W") for key in arrays)
            weights = [arrays[f"W{i}"] for i in range(depth)]
        entry = reference.get(path.stem, {})
        solved = {r["method"]: r["bound"] for r in entry.get("results", ()) if r.get("outputs") == "all"}
        exact = EXACT.get(path.stem, solved.get("heinrich_CVXOPT"))
        yield path.stem, weights, entry.get("sampled_lower_bound", {}).get("bound"), exact


def generated_networks() -> Iterator[tuple[str, list[np.ndarray], None, None]]:
    """Input 4, output 1, Gaussian weights scaled to a spectral norm drawn from U(0.4, 1.8)."""
    for depth, width in ((1, 80), (4, 80), (9, 80), (19, 80), (49, 80), (1, 400), (4, 400)):
        rng = np.random.default_rng(1000 * depth + width)
        weights = []
        for n, m in itertools.pairwise([4, *[width] * depth, 1]):
            w = rng.standard_normal((m, n))
            weights.append(w * (rng.uniform(0.4, 1.8) / np.linalg.norm(w, 2)))
        yield f"generated_{depth}x{width}", weights, None, None


def best_seconds(run: Callable[[], object], budget: float) -> float:
    """The shortest of up to 20 runs within the budget, after a first one that warms up."""
    run()
    best, start = np.inf, time.perf_counter()
    for _ in range(20):
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - start > budget:
            break
    return best


def eclipse_nn(weights: list[np.ndarray], budget: float) -> tuple[float, float]:
    """(bound, seconds) of eclipse-nn's ECLipsE-Fast on one thread, which is its fastest setting here."""
    estimator = LipConstEstimator(weights=[torch.tensor(w) for w in weights])
    with blas_threads(1):
        bound = float(estimator.estimate("ECLipsE_Fast"))
        seconds = best_seconds(lambda: estimator.estimate("ECLipsE_Fast"), budget)
    return bound, seconds


def bounds_table(budget: float) -> tuple[list[str], list[str]]:
    names = " | ".join(m.name for m in METHODS)
    bounds = [
        f"| net | hidden | sampled lower | {names} | eclipse-nn Fast | LipSDP |",
        "|---|---|---|" + "---|" * (len(METHODS) + 2),
    ]
    times = [
        "| net | eclipse-nn Fast | "
        + " | ".join(f"{m.name} propose / verify" for m in METHODS)
        + " | ratio eclipse-fast | ratio closed-form |",
        "|---|---|" + "---|" * (len(METHODS) + 2),
    ]
    for name, weights, lower, exact in stored_networks():
        network = Network.from_arrays(weights)
        peer, peer_seconds = eclipse_nn(weights, budget)
        row, seconds = [], []
        for method in METHODS:
            witness = method.propose(network)
            certificate = lmikit.verify(network, witness)
            assert certificate.proven
            assert lower is None or certificate.bound >= lower * (1 - 1e-12)
            row.append(certificate.bound)
            short = budget if not isinstance(method, NeuronScaling) else 0.0
            propose = best_seconds(lambda m=method, n=network: m.propose(n), short)
            proof = best_seconds(lambda w=witness, n=network: lmikit.verify(n, w), budget)
            seconds.append((propose, proof))
        widths = network.dims[1:-1]
        hidden = f"{len(widths)} x {widths[0]}" if len(set(widths)) == 1 else "-".join(map(str, widths))
        bounds.append(
            f"| {name} | {hidden} | {number(lower)} | "
            + " | ".join(number(b) for b in row)
            + f" | {number(peer)} | {number(exact)} |"
        )
        times.append(
            f"| {name} | {milli(peer_seconds)} | "
            + " | ".join(f"{milli(p)} / {milli(v)}" for p, v in seconds)
            + f" | {peer_seconds / seconds[1][0]:.1f} | {peer_seconds / seconds[2][0]:.1f} |"
        )
        print(bounds[-1], times[-1], sep="\n", flush=True)
    return bounds, times


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def milli(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def vertex_maximum(network: Network) -> float:
    """The largest Jacobian norm over all vertices of the slope box: no bound for the class can be smaller."""
    best, sizes = 0.0, network.dims[1:-1]
    corners = [list(zip(a, b, strict=True)) for a, b in network.slopes]
    for vertex in itertools.product(*itertools.chain(*corners)):
        product, start = network.weights[0], 0
        for size, w in zip(sizes, network.weights[1:], strict=True):
            product = w @ (np.array(vertex[start : start + size])[:, None] * product)
            start += size
        best = max(best, float(np.linalg.norm(product, 2)))
    return best


def slope_cases() -> Iterator[tuple[str, Network, torch.nn.Module | None]]:
    """(what, network, the torch model where eclipse-nn reads one)."""
    demo = [np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([[1.0, 1.0]])]
    unit = [np.eye(1), np.eye(1)]
    nn = torch.nn
    for label, activation, module in (
        ("SiLU", SiLU(), nn.SiLU),
        ("GELU", GELU(), nn.GELU),
    ):
        for shape, weights in (("1-1-1 unit weights", unit), ("DEMO 2-2-2-1", demo)):
            network = Network.from_arrays(weights, activation=activation)
            yield f"{shape}, {label}", network, chain(weights, module)
    for alpha, beta in ((-0.1, 1.1), (-0.5, 1.0), (-0.2, 0.8)):
        network = Network.from_arrays(demo, activation=Slopes(alpha, beta))
        yield f"DEMO, slopes [{alpha}, {beta}]", network, None
    yield "DEMO, leaky ReLU, slope -0.3", Network.from_arrays(demo, activation=LeakyReLU(-0.3)), None


def chain(weights: list[np.ndarray], module: type[torch.nn.Module]) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for w in weights:
        linear = torch.nn.Linear(w.shape[1], w.shape[0]).double()
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(w))
            linear.bias.zero_()
        layers += [linear, module()]
    return torch.nn.Sequential(*layers[:-1])


def peer_answer(network: Network, model: torch.nn.Module | None, method: str) -> str:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if model is not None:
                estimator = LipConstEstimator(model=model)
            else:
                alphas = [float(a[0]) for a, _ in network.slopes]
                betas = [float(b[0]) for _, b in network.slopes]
                weights = [torch.tensor(w) for w in network.weights]
                estimator = LipConstEstimator(weights=weights, alphas=alphas, betas=betas)
            return f"{float(estimator.estimate(method)):.5f}"
    except Exception as error:  # a peer's failure is a result
        return f"{type(error).__name__}"


def slopes_table() -> list[str]:
    lines = [
        "| net | vertex maximum | eclipse-fast | closed-form | layer-scaling | neuron-scaling "
        "| eclipse-nn Fast | eclipse-nn ECLipsE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what, network, model in slope_cases():
        reached = vertex_maximum(network)
        bounds = [lmikit.verify(network, m.propose(network)).bound for m in METHODS[1:]]
        assert min(bounds) >= reached * (1 - 1e-13)
        peers = [peer_answer(network, model, m) for m in ("ECLipsE_Fast", "ECLipsE")]
        cells = [f"{b:.5f}" for b in bounds]
        for p in peers:
            small = p[0].isdigit() and float(p) < reached * (1 - 1e-6)
            cells.append(p + " (too small)" if small else p)
        lines.append(f"| {what} | {reached:.5f} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(ROOT / "docs" / "results" / "closed_forms.md"))
    parser.add_argument("--quick", action="store_true", help="one run per figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = 0.0 if options.quick else 0.25
    bounds, times = bounds_table(budget)
    slopes = slopes_table()
    parts = {"bounds": bounds, "times": times, "slopes": slopes}
    machine = f"{os.cpu_count()} cores ({platform.machine()})"
    text = TEXT.format(machine=machine, **{key: "\n".join(lines) for key, lines in parts.items()})
    path = pathlib.Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
