"""certify_many in this process and in two: seconds, speed-up, and what a killed worker costs.

    python benchmarks/batches.py [count] [width]     (48 networks of width 64 unless said otherwise)

Writes docs/results/batches.md. Every run certifies the same networks; workers have one BLAS thread.
"""

import argparse
import functools
import multiprocessing
import pathlib
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

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


def timed(executor: object, nets: list[lmikit.Network]) -> tuple[float, list[float]]:
    """(seconds, bounds)."""
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
    one, two = [], []
    with ProcessPoolExecutor(2, context) as pool:
        lmikit.certify_many(nets[:8], pool)  # processes are up before the clock starts
        for _ in range(3):  # in turn, since the machine may be shared
            one.append(timed(None, nets))
            two.append(timed(pool, nets))
    cold, _ = timed(functools.partial(ProcessPoolExecutor, 2, context), nets)
    assert all(bounds == one[0][1] for _, bounds in (*one, *two))
    alone, both = min(t for t, _ in one), min(t for t, _ in two)
    dims = "-".join(map(str, nets[0].dims))
    text = f"""# Batches

`python benchmarks/batches.py {count} {width}`: {count} ReLU networks {dims}, LipSDP, the same bounds in every
run. Best of three, taken in turn; other work ran on the machine.

| where | seconds | speed-up |
|---|---|---|
| this process | {alone:.2f} | 1 |
| two processes, already running | {both:.2f} | {alone / both:.2f} |
| two processes, started for it (once) | {cold:.2f} | {alone / cold:.2f} |
"""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
