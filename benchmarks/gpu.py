"""What a GPU gives: kernels, projections, RS-LMI on large layers, batched checks, exact LipSDP.

    python benchmarks/gpu.py [--budget 450] [--sections kernels,lipsdp] [--out docs/results/gpu.md]

With CuPy and a GPU it runs at full size, else on NumPy at small sizes (the table says which). Every
section stands alone, a failure becomes a row with its reason, and the results are saved after every
row, so that an interrupted run keeps what it has. Times are wall-clock seconds with the device idle
before and after, the least of the repetitions.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lmikit import BackendMissing, Network
from lmikit._arrays import ArrayModule, array_module
from lmikit.certificates import verify
from lmikit.formulations import JointLipSDP
from lmikit.methods import EclipseFast
from lmikit.network import with_scaled_layers
from lmikit.sketching import Gaussian, PowerRefined, as_operator, norm_bound, sketched_estimate
from lmikit.solvers import LowRank
from lmikit_cuda import batched_eigvalsh, batched_norms, batched_penalties

ROOT = pathlib.Path(__file__).resolve().parent.parent
Row = dict[str, Any]


class Clock:
    """Seconds left of the whole run, and a timer that waits for the device."""

    def __init__(self, am: ArrayModule, budget: float) -> None:
        self.am, self._end = am, time.perf_counter() + budget

    @property
    def left(self) -> float:
        return self._end - time.perf_counter()

    def wait(self) -> None:
        if self.am.name == "cupy":
            self.am.xp.cuda.Device().synchronize()

    def seconds(self, call: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
        """(least seconds, result); one warm-up call where there is more than one repetition."""
        if repeat > 1:
            call()
        best, result = float("inf"), None
        for _ in range(repeat):
            self.wait()
            start = time.perf_counter()
            result = call()
            self.wait()
            best = min(best, time.perf_counter() - start)
        return best, result


def normal(am: ArrayModule, shape: tuple[int, ...], dtype: str, seed: int) -> Any:
    """Gaussian numbers drawn where they are used, a slab of rows at a time."""
    generator = am.xp.random.default_rng(seed)
    result = am.xp.empty(shape, dtype=dtype)
    slab = max(1, (1 << 28) // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], slab):
        part = result[start : start + slab]
        part[...] = generator.standard_normal(part.shape, dtype=np.dtype(dtype))
    return result


def free(am: ArrayModule) -> None:
    if am.name == "cupy":
        am.xp.get_default_memory_pool().free_all_blocks()


def gigabytes(am: ArrayModule) -> float | None:
    """What CuPy's pool holds at most since it was last emptied."""
    return am.xp.get_default_memory_pool().total_bytes() / 1e9 if am.name == "cupy" else None


def kernels(clock: Clock, big: bool) -> Iterator[Row]:
    """Cholesky, inverse from the factor, and products in float64: the low-rank solver's dense work."""
    am = clock.am
    for n in (5000, 10000, 20000) if big else (300, 1000):
        a = normal(am, (n, n), "float64", n)
        product, _ = clock.seconds(lambda a=a: a @ a)
        a = a @ a.T
        a[am.xp.arange(n), am.xp.arange(n)] += n
        factor_time, factor = clock.seconds(lambda a=a: am.cholesky(a))
        inverse_time, _ = clock.seconds(lambda f=factor: am.inverse_from_cholesky(f))
        yield {
            "N": n,
            "product s": product,
            "product Tflop/s": 2 * n**3 / product / 1e12,
            "Cholesky s": factor_time,
            "Cholesky Tflop/s": n**3 / 3 / factor_time / 1e12,
            "inverse s": inverse_time,
        }
        del a, factor
        free(am)


def projections(clock: Clock, big: bool) -> Iterator[Row]:
    """W S against a plain product of the same shape: what sketching adds to the product."""
    am = clock.am
    sizes = ((4096, 64), (16384, 64), (16384, 256), (32768, 256)) if big else ((1024, 32), (2048, 64))
    for dtype in ("float32", "float64"):
        for n, m in sizes:
            w = normal(am, (n, n), dtype, 0)
            operator = as_operator(w, am)
            s = normal(am, (n, m), dtype, 1)
            plain, _ = clock.seconds(lambda w=w, s=s: w @ s, 7)
            drawn = Gaussian().draw(operator, m, seed=0)
            sketch, _ = clock.seconds(lambda d=drawn, o=operator: d.after(o), 7)
            pencil, _ = clock.seconds(lambda d=drawn, o=operator: pencil_of(am, d.after(o), d.matrix), 7)
            flops = 2 * n * n * m
            yield {
                "n": n,
                "m": m,
                "dtype": dtype,
                "plain Tflop/s": flops / plain / 1e12,
                "projection Tflop/s": flops / sketch / 1e12,
                "fraction": plain / sketch,
                "with pencil": plain / pencil,
            }
            del w, operator, s, drawn
            free(am)


def pencil_of(am: ArrayModule, image: Any, s: Any) -> Any:
    return image.T @ image, s.T @ s


def rs_lmi(clock: Clock, big: bool) -> Iterator[Row]:
    """Square Gaussian float32 layers: sketched estimate (below) and probabilistic bound (delta 1e-10)."""
    am = clock.am
    for n in (1024, 2048, 4096, 8192, 16384, 32768, 65536) if big else (256, 512, 1024):
        room = am.free_bytes()
        if room is not None and 4 * n * n * 1.3 > room:
            yield {"n": n, "note": f"needs {4 * n * n / 1e9:.0f} GB, {room / 1e9:.0f} GB are free"}
            continue
        operator = as_operator(normal(am, (n, n), "float32", n), am)
        repeat = 1 if n > 16384 or not big else 2
        raw_time, raw = clock.seconds(lambda o=operator: sketched_estimate(o, 32, Gaussian(), seed=0), repeat)
        fine_time, fine = clock.seconds(
            lambda o=operator: sketched_estimate(o, 32, PowerRefined(), seed=0), repeat
        )
        bound_time, bound = clock.seconds(lambda o=operator: norm_bound(o, 1e-10, rtol=1e-3), repeat)
        yield {
            "n": n,
            "raw estimate / bound": np.sqrt(raw.value) / bound.value,
            "raw s": raw_time,
            "refined estimate / bound": np.sqrt(fine.value) / bound.value,
            "refined s": fine_time,
            "bound / its estimate - 1": bound.value / bound.estimate - 1,
            "bound s": bound_time,
            "matvecs": bound.matvecs,
            "pool GB": gigabytes(am),
            "layer GB": 4 * n * n / 1e9,
        }
        del operator
        free(am)


def batched(clock: Clock, big: bool) -> Iterator[Row]:
    """Many layers at once: eigenvalues (also on the host), Gram iteration, penalties."""
    am, host = clock.am, array_module("numpy")
    for count, n in ((4096, 32), (2048, 64), (512, 128), (128, 256)) if big else ((128, 32), (32, 64)):
        stack = normal(am, (count, n, n), "float64", n)
        gram = am.xp.matmul(stack.transpose(0, 2, 1), stack)
        local = am.to_numpy(gram)
        device_time, values = clock.seconds(lambda g=gram: batched_eigvalsh(am, g))
        start = time.perf_counter()
        expected = batched_eigvalsh(host, local)
        host_time = time.perf_counter() - start
        layers = list(stack)
        gram_time, _ = clock.seconds(lambda w=layers: batched_norms(am, w))
        sketches, taus = normal(am, (count, n, 16), "float64", 1), am.asarray(np.full(count, 1.5 * n))
        penalty_time, _ = clock.seconds(lambda w=stack, t=taus, s=sketches: batched_penalties(am, w, t, s))
        yield {
            "layers": count,
            "n": n,
            "eigenvalues s": device_time,
            "NumPy s": host_time,
            "largest difference": float(np.abs(am.to_numpy(values) - expected).max()),
            "Gram iteration s": gram_time,
            "penalties s": penalty_time,
        }
        del stack, gram, layers
        free(am)


def random_network(neurons: int) -> Network:
    """Input 50, four hidden layers, output 10, Gaussian weights scaled to norms from U(0.4, 1.8)."""
    rng, width = np.random.default_rng(neurons), neurons // 4
    dims = [50, width, width, width, width, 10]
    weights = []
    for before, after in itertools.pairwise(dims):
        w = rng.standard_normal((after, before))
        # Gordon's mean of the norm; an SVD at this size would take longer than the benchmark.
        weights.append(w * rng.uniform(0.4, 1.8) / (np.sqrt(after) + np.sqrt(before)))
    return Network.from_arrays(weights)


def lipsdp(clock: Clock, big: bool) -> Iterator[Row]:
    """LipSDP with one multiplier per neuron by `LowRank`, to a relative gap of 1e-7; certified on the CPU."""
    for neurons in (2000, 5000, 10000, 20000) if big else (80, 200, 400):
        network = random_network(neurons)
        started = time.perf_counter()
        start = EclipseFast().propose(network)
        scaled = with_scaled_layers(network, start.layer_pow2)
        form = JointLipSDP(scaled)
        warm = form.point(dataclasses.replace(start, layer_pow2=()), 0.5)
        sdp = form.sdp()
        setup = time.perf_counter() - started
        limit = clock.left - 15.0
        if limit < 10.0:
            yield {"N": neurons, "note": f"{clock.left:.0f} s of the budget are left; skipped"}
            continue
        solver = LowRank(array_module=clock.am.name)
        free(clock.am)
        solve = functools.partial(solver.solve, sdp, warm_start=warm, time_limit=limit)
        solve_time, solution = clock.seconds(solve, 1)
        row: Row = {
            "N": neurons,
            "set-up s": setup,
            "solve s": solve_time,
            "iterations": solution.iterations,
            "status": solution.status.name,
            "L proposed": float((-solution.objective) ** -0.5) * 2.0 ** sum(start.layer_pow2),
            "relative gap": (solution.objective - solution.bound_on_optimum) / abs(solution.objective),
            "ECLipsE-Fast": float(np.sqrt(start.rho)) * 2.0 ** sum(start.layer_pow2),
            "pool GB": gigabytes(clock.am),
        }
        if neurons <= 10000 and clock.left > 60.0:
            begun = time.perf_counter()
            witness = dataclasses.replace(form.witness(solution), layer_pow2=start.layer_pow2)
            row["L proven"] = verify(network, witness).bound
            row["proof s"] = time.perf_counter() - begun
        yield row


SECTIONS: dict[str, Callable[[Clock, bool], Iterator[Row]]] = {
    "kernels": kernels,
    "projections": projections,
    "rs_lmi": rs_lmi,
    "batched": batched,
    "lipsdp": lipsdp,
}


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def table(rows: list[Row]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row.get(c)) for c in columns) + " |" for row in rows]


def save(out: pathlib.Path, header: str, results: dict[str, list[Row]]) -> None:
    lines = ["# What a GPU gives", "", header, ""]
    for name, rows in results.items():
        lines += [f"## {name}", "", (SECTIONS[name].__doc__ or "").strip(), "", *table(rows), ""]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines))
    out.with_suffix(".json").write_text(json.dumps(results, indent=1, default=float))


def machine(am: ArrayModule) -> str:
    if am.name != "cupy":
        return f"NumPy {np.__version__} on {platform.machine()} at small sizes: no GPU was at hand."
    name = am.xp.cuda.runtime.getDeviceProperties(am.xp.cuda.Device().id)["name"].decode()
    return f"CuPy {am.xp.__version__}, NumPy {np.__version__}, {name}."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--array-module", choices=["auto", "numpy", "cupy"], default="auto")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds for everything")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "gpu.md")
    options = parser.parse_args()
    try:
        am = array_module("cupy" if options.array_module == "auto" else options.array_module)
    except BackendMissing as error:
        if options.array_module == "cupy":
            raise
        print(error)
        am = array_module("numpy")
    clock, big = Clock(am, options.budget), am.name == "cupy"
    header = f"`python benchmarks/gpu.py`: {machine(am)}"
    results: dict[str, list[Row]] = {}
    for name in options.sections.split(","):
        rows = results.setdefault(name, [])
        print(f"== {name} ({clock.left:.0f} s left)", flush=True)
        try:
            for row in SECTIONS[name](clock, big):
                rows.append(row)
                print("  " + ", ".join(f"{k}: {cell(v)}" for k, v in row.items()), flush=True)
                save(options.out, header, results)
                if clock.left < 20.0:
                    rows.append({"note": "stopped: the time budget is spent"})
                    break
        except Exception as error:  # a section that fails must not take the others with it
            rows.append({"note": f"{type(error).__name__}: {error}"[:300]})
            print("  " + rows[-1]["note"], flush=True)
        free(am)
        save(options.out, header, results)


if __name__ == "__main__":
    main()
