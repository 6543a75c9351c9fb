"""Sketch size against tightness, cost on a wide layer, convolutions, coverage.

    python benchmarks/sketching.py [--sections ablation,cost,growth,convolutions,coverage]
                                   [--out docs/results/sketching.md]

Every section is measured in one run and saved when it is done, beside what earlier runs left of the
other sections. The ablation also draws docs/results/sketching.png (needs matplotlib). Memory is the peak of
NumPy's allocations during the call, the layer itself not counted.
"""

import argparse
import inspect
import json
import os
import pathlib
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg

from lmikit import Network
from lmikit._arrays import blas_threads
from lmikit.certificates import verify
from lmikit.methods import RSLMI
from lmikit.sketching import (
    PROBABILISTIC_METHODS,
    ConvolutionOperator,
    Gaussian,
    PowerRefined,
    as_operator,
    convolution_bound,
    gram_bound,
    norm_bound,
    sketched_estimate,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
Row = dict[str, Any]


def measured(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds, peak megabytes); the peak is of a second, traced call where the first was quick."""
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return result, seconds, peak


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds, seconds of processor time)."""
    start, core = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - start, time.process_time() - core


def true_norm(weight: np.ndarray) -> float:
    """sigma_max in float64 from the smaller Gram matrix's largest eigenvalue."""
    w = weight.astype(np.float64)
    gram = w.T @ w if w.shape[1] <= w.shape[0] else w @ w.T
    n = gram.shape[0]
    return float(np.sqrt(scipy.linalg.eigh(gram, eigvals_only=True, subset_by_index=(n - 1, n - 1))[0]))


def layers() -> Iterator[tuple[str, np.ndarray]]:
    data = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data"))
    path = data / "networks" / "mnist_weights.npz"
    if path.is_file():
        with np.load(path) as file:
            for k in range(sum(name.startswith("W") for name in file.files)):
                yield f"mnist_weights W{k} {file[f'W{k}'].shape}", np.asarray(file[f"W{k}"], dtype=np.float64)
    rng = np.random.default_rng(0)
    yield "Gaussian 4096 x 4096", rng.standard_normal((4096, 4096), dtype=np.float32)
    left, right = (np.linalg.qr(rng.standard_normal((1024, 1024)))[0] for _ in range(2))
    yield "decaying 0.9^i 1024 x 1024", (left * 0.9 ** np.arange(1024)) @ right.T


def ablation() -> Iterator[Row]:
    """Norms implied by sketched tau, relative to the true norm; proven bound of the layer by `verify`."""
    for name, weight in layers():
        norm, operator = true_norm(weight), as_operator(weight)
        proven_time = time.perf_counter()
        network = Network.from_arrays([weight])
        proven = verify(network, RSLMI().propose(network)).bound
        proven_time = time.perf_counter() - proven_time
        for m in (8, 16, 32, 64, 128, 256):
            if m > weight.shape[1]:
                break
            raw, raw_time, raw_memory = measured(lambda m=m, o=operator: sketched_estimate(o, m, Gaussian()))
            fine, fine_time, fine_memory = measured(
                lambda m=m, o=operator: sketched_estimate(o, m, PowerRefined())
            )
            yield {
                "layer": name,
                "m": m,
                "raw estimate - 1": np.sqrt(raw.value) / norm - 1,
                "raw s": raw_time,
                "raw MB": raw_memory,
                "refined estimate - 1": np.sqrt(fine.value) / norm - 1,
                "refined s": fine_time,
                "refined MB": fine_memory,
                "proven bound - 1": proven / norm - 1,
                "proof s": proven_time,
            }


def cost() -> Iterator[Row]:
    """4096 x 4096 Gaussian, float32: full SVD beside probabilistic bounds at delta = 1e-10."""
    weight = np.random.default_rng(0).standard_normal((4096, 4096), dtype=np.float32)
    layer = weight.nbytes / 1e6
    start = time.perf_counter()
    singular = scipy.linalg.svd(weight, check_finite=False)[1]
    svd = time.perf_counter() - start
    norm = true_norm(weight)
    yield {"what": "full SVD (float32)", "s": svd, "value - 1": float(singular[0]) / norm - 1}
    start = time.perf_counter()
    singular = scipy.linalg.svdvals(weight, check_finite=False)
    values = time.perf_counter() - start
    yield {"what": "singular values only", "s": values, "value - 1": float(singular[0]) / norm - 1}
    operator = as_operator(weight)
    for method, options in (
        ("lanczos", {"starts": 1}),
        ("lanczos", {"starts": 4}),
        ("lanczos", {"starts": 8}),
        ("kuczynski_wozniakowski", {}),
        ("dixon", {"max_matvecs": 300}),
        ("halko_martinsson_tropp", {"max_matvecs": 300}),
    ):
        bound, seconds, peak = measured(
            lambda m=method, o=options: norm_bound(operator, 1e-10, method=m, rtol=1e-3, **o)
        )
        yield {
            "what": f"{method} {options or ''}",
            "s": seconds,
            "value - 1": bound.value / norm - 1,
            "SVD time / time": svd / seconds,
            "matvecs": bound.matvecs,
            "ms per matvec": 1e3 * seconds / bound.matvecs,
            "memory / layer": peak / layer,
        }


def growth() -> Iterator[Row]:
    """Time against the matrix-vector products that are used: Gaussian float32 layers, delta = 1e-10."""
    for n in (512, 1024, 2048, 4096, 8192):
        operator = as_operator(np.random.default_rng(n).standard_normal((n, n), dtype=np.float32))
        x = np.random.default_rng(1).standard_normal((n, 1)).astype(np.float32)
        operator.gram(x)
        start = time.perf_counter()
        for _ in range(5):
            operator.gram(x)
        product = (time.perf_counter() - start) / 10  # 5 repetitions of 2 products
        start = time.perf_counter()
        bound = norm_bound(operator, 1e-10)
        seconds = time.perf_counter() - start
        yield {
            "n": n,
            "s": seconds,
            "matvecs": bound.matvecs,
            "bound / estimate - 1": bound.value / bound.estimate - 1,
            "ms per matvec": 1e3 * seconds / bound.matvecs,
            "ms per bare product": 1e3 * product,
        }


def convolutions() -> Iterator[Row]:
    """3 x 3 float32 kernels of a ResNet-50's shapes, random weights: Lanczos (delta = 1e-6), symbol; to 1 %.

    The estimate is the Ritz value of the Lanczos run, below the norm; the deterministic bound is
    `convolution_bound`; "core s" is the processor time of all threads. What exceeds 1 % of the latter is
    zero padding of small images, whose norm is below that of the circulant, and stride 2 on 7 pixels.
    """
    rng = np.random.default_rng(0)
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7), (512, 56), (2048, 7)):
        kernel = rng.standard_normal((channels, channels, 3, 3), dtype=np.float32) / np.sqrt(9 * channels)
        for stride, mode in ((1, "zeros"), (1, "circular"), (2, "zeros"), (2, "circular")):
            operator = ConvolutionOperator(kernel, (size, size), stride=stride, padding=1, mode=mode)
            bound, seconds, core = timed(lambda o=operator: norm_bound(o, 1e-6, rtol=1e-2, starts=1))
            proven, proven_seconds, proven_core = timed(lambda o=operator: convolution_bound(o, rtol=1e-2))
            yield {
                "channels": channels,
                "image": f"{size} x {size}",
                "stride": stride,
                "padding": mode,
                "estimate": bound.estimate,
                "lanczos bound / estimate - 1": bound.value / bound.estimate - 1,
                "matvecs": bound.matvecs,
                "lanczos s": seconds,
                "lanczos core s": core,
                "Gflop / core s": bound.matvecs * operator.call_flops / core / 1e9,
                "deterministic bound / estimate - 1": proven.value / bound.estimate - 1,
                "frequencies": proven.products,
                "deterministic s": proven_seconds,
                "deterministic core s": proven_core,
            }


def coverage() -> Iterator[Row]:
    """2000 trials at delta = 0.05: share of failures, and the median excess over the norm."""
    spectra = {
        "gaussian 60 x 50": np.random.default_rng(0).standard_normal((60, 50)),
        "0.9^i": np.diag(0.9 ** np.arange(50)),
        "0..1": np.diag(np.linspace(0, 1, 50)),
        "1, 0.9, 0.5": np.diag([1.0, 0.9, 0.5]),
    }
    for name, weight in spectra.items():
        norm, operator = np.linalg.norm(weight, 2), as_operator(weight)
        for method in PROBABILISTIC_METHODS:
            for products in (8, 16, 32):
                options = {"method": method, "max_matvecs": products, "starts": 1, "rtol": 1e-12}
                with blas_threads(1):
                    values = np.array(
                        [norm_bound(operator, 0.05, seed=k, **options).value for k in range(2000)]
                    )
                yield {
                    "spectrum": name,
                    "method": method,
                    "products": products,
                    "failures": float((values < norm).mean()),
                    "median excess": float(np.median(values) / norm - 1),
                }


def gram() -> Iterator[Row]:
    """Gram iteration with running error in float64: excess over the norm, squarings, seconds."""
    for n in (128, 512, 1024, 2048):
        weight = np.random.default_rng(n).standard_normal((n, n))
        start = time.perf_counter()
        bound = gram_bound(weight)
        seconds = time.perf_counter() - start
        yield {
            "n": n,
            "bound - 1": bound.value / true_norm(weight) - 1,
            "squarings": bound.products,
            "s": seconds,
        }


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "ablation": ablation,
    "cost": cost,
    "growth": growth,
    "convolutions": convolutions,
    "gram": gram,
    "coverage": coverage,
}


def cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def table(rows: list[Row]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row.get(c)) for c in columns) + " |" for row in rows]


def save(out: pathlib.Path, results: dict[str, list[Row]]) -> None:
    lines = [
        "# Sketches, norm estimates and norm bounds",
        "",
        "`python benchmarks/sketching.py`: "
        f"NumPy {np.__version__}, {os.cpu_count()} {platform.machine()} cores.",
        "Other work may have shared the machine. Estimates are at or below the norm and bound nothing.",
        "",
    ]
    for name in SECTIONS:
        if results.get(name):
            about = inspect.cleandoc(SECTIONS[name].__doc__ or "")
            lines += [f"## {name}", "", about, "", *table(results[name]), ""]
    if (out.parent / "sketching.png").is_file():
        lines += ["![Estimates against sketch size](sketching.png)", ""]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines))
    out.with_suffix(".json").write_text(json.dumps(results, indent=1, default=float))


def plot(rows: list[Row], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["layer"] for row in rows))
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 3.2), sharey=True, layout="constrained"
    )
    for ax, name in zip(np.atleast_1d(axes), names, strict=True):
        own = [row for row in rows if row["layer"] == name]
        sizes = [row["m"] for row in own]
        for key, label in (
            ("raw estimate - 1", "raw estimate"),
            ("refined estimate - 1", "power-refined estimate"),
        ):
            ax.plot(sizes, [1 + row[key] for row in own], "o-", label=label)
        ax.plot(sizes, [1 + row["proven bound - 1"] for row in own], "k--", label="proven bound")
        ax.set(xscale="log", xlabel="sketch size m", title=name)
        ax.title.set_fontsize(8)
    np.atleast_1d(axes)[0].set_ylabel("value / true norm")
    np.atleast_1d(axes)[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "sketching.md")
    options = parser.parse_args()
    earlier = options.out.with_suffix(".json")
    results: dict[str, list[Row]] = json.loads(earlier.read_text()) if earlier.is_file() else {}
    for name in options.sections.split(","):
        print(f"== {name}", flush=True)
        results[name] = []
        for row in SECTIONS[name]():
            results[name].append(row)
            print("  " + ", ".join(f"{k}: {cell(v)}" for k, v in row.items()), flush=True)
        if name == "ablation":
            options.out.parent.mkdir(parents=True, exist_ok=True)
            plot(results[name], options.out.parent / "sketching.png")
        save(options.out, results)


if __name__ == "__main__":
    main()
