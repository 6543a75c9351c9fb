"""Many networks one by one, together in this process, and in two: seconds and speed-up.

    python benchmarks/batches.py [count] [width]     (48 networks of width 64 unless said otherwise)

Writes docs/results/batches.md. Every run certifies the same networks, which `certify_many` solves together in
this process and one by one in others; one BLAS thread everywhere.
"""

import argparse
import functools
import multiprocessing
import pathlib
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import threadpoolctl

import lmikit

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "batches.md"


def networks(count: int, width: int) -> list[lmikit.Network]:
    """Random networks width/2 - width - width - 10."""
    result = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        shapes = ((width, width // 2), (width, width), (10, width))
        result.append(lmikit.Network.from_arrays([rng.standard_normal(s) / np.sqrt(s[1]) for s in shapes]))
    return result


def alone(nets: list[lmikit.Network]) -> tuple[float, list[float]]:
    """(seconds, bounds) one by one."""
    start = time.perf_counter()
    bounds = [lmikit.lipschitz(network).bound for network in nets]
    return time.perf_counter() - start, bounds


def timed(executor: object, nets: list[lmikit.Network]) -> tuple[float, list[float]]:
    """(seconds, bounds) of `certify_many`."""
    start = time.perf_counter()
    results = lmikit.certify_many(nets, executor)
    seconds = time.perf_counter() - start
    assert all(r.proven for r in results), [r.error for r in results if not r.proven]
    return seconds, [r.certificate.bound for r in results]


def main() -> None:
    """Time and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=48)
    parser.add_argument("width", type=int, nargs="?", default=64)
    options = parser.parse_args()
    count, width = options.count, options.width
    nets = networks(count, width)
    context = multiprocessing.get_context("spawn")
    single, one, two = [], [], []
    with ProcessPoolExecutor(2, context) as pool:
        lmikit.certify_many(nets[:8], pool)  # processes are up before the clock starts
        for _ in range(3):  # in turn, since the machine may be shared
            with threadpoolctl.threadpool_limits(1):
                single.append(alone(nets))
            one.append(timed(None, nets))
            two.append(timed(pool, nets))
    cold, _ = timed(functools.partial(ProcessPoolExecutor, 2, context), nets)
    assert all(np.allclose(bounds, one[0][1], rtol=5e-7, atol=0.0) for _, bounds in (*single, *one, *two))
    each, together, both = (min(t for t, _ in runs) for runs in (single, one, two))
    dims = "-".join(map(str, nets[0].dims))
    text = f"""# Batches

`python benchmarks/batches.py {count} {width}`: {count} ReLU networks {dims}, LipSDP, the same
bounds to 5e-7 in every run. Best of three, taken in turn; other work ran on the machine.

| where | seconds | speed-up |
|---|---|---|
| this process, `lipschitz` one by one | {each:.2f} | 1 |
| this process, `certify_many` | {together:.2f} | {each / together:.2f} |
| two processes, already running | {both:.2f} | {each / both:.2f} |
| two processes, started for it (once) | {cold:.2f} | {each / cold:.2f} |
"""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
