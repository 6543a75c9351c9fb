"""What a job costs on executors beside its work, and what travels to the workers.

    python benchmarks/clusters.py [count]     (200 jobs unless said otherwise)

Processes, dask (`pip install distributed`) and ray (`pip install ray`) where they are installed, two workers
each on this machine. The jobs are product bounds of tiny networks: nearly nothing but overhead. Writes
docs/results/clusters.md.
"""

import argparse
import contextlib
import functools
import logging
import multiprocessing
import pathlib
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
from batches import networks

import lmikit

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "clusters.md"


class PoolExecutor(Executor):
    """A `multiprocessing.Pool`, or ray's, as an executor."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.pool.apply_async(
            function, arguments, named, callback=future.set_result, error_callback=future.set_exception
        )
        return future


class Counted(Executor):
    """Counts the bytes of the tasks of another executor."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.sizes = inner, list[int]()

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        self.sizes.append(len(pickle.dumps((function, arguments, named), protocol=5)))
        return self.inner.submit(function, *arguments, **named)


@contextlib.contextmanager
def dask() -> Iterator[Executor]:
    import distributed

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client.get_executor()


@contextlib.contextmanager
def ray() -> Iterator[Executor]:
    import ray as it
    from ray.util.multiprocessing import Pool

    it.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield PoolExecutor(Pool(2))
    finally:
        it.shutdown()


PLACES = {
    "threads": functools.partial(ThreadPoolExecutor, 2),
    "processes": functools.partial(ProcessPoolExecutor, 2, multiprocessing.get_context("spawn")),
    "dask.distributed": dask,
    "ray": ray,
}


def bounds(nets: list[lmikit.Network], executor: Executor | None) -> tuple[float, list[float]]:
    """(seconds, bounds)."""
    jobs = [lmikit.Job(net, lmikit.SpectralProduct()) for net in nets]
    start = time.perf_counter()
    results = lmikit.certify_many(jobs, executor)
    return time.perf_counter() - start, [r.certificate.bound for r in results]


def points(executor: Executor | None, inputs: int) -> tuple[float, Any]:
    """(seconds, verdicts) of a 784-100-100-10 network."""
    rng = np.random.default_rng(0)
    shapes = ((100, 784), (100, 100), (10, 100))
    net = lmikit.Network.from_arrays([rng.standard_normal(s) / np.sqrt(s[1]) for s in shapes])
    X = rng.uniform(0.0, 1.0, (inputs, 784))
    start = time.perf_counter()
    table = lmikit.certify_points(net, X, net(X).argmax(axis=1), eps=0.005, executor=executor)
    return time.perf_counter() - start, table.verdict


def row(name: str, count: int, inputs: int, own: tuple[float, list[float]], alone: Any) -> str:
    nets = networks(count, 8)
    try:
        with PLACES[name]() as executor:
            bounds(nets[:8], executor)  # the workers are up and have imported lmikit
            best = min(bounds(nets, executor)[0] for _ in range(3))
            assert bounds(nets, executor)[1] == own[1]
            counted = Counted(executor)
            seconds, verdicts = points(counted, inputs)
    except ImportError as error:
        return f"| {name} | not installed ({error.name}) | | | |\n"
    assert (verdicts == alone[1]).all()
    sizes = sorted(counted.sizes)
    shipped = sum(s > sizes[0] + 10_000 for s in sizes)
    megabytes = sum(sizes) / 1e6
    more = 1e3 * (best - own[0] / 2) / count
    return f"| {name} | {more:.2f} | {seconds:.2f} | {shipped} of {len(sizes)} | {megabytes:.1f} |\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--inputs", type=int, default=64)
    options = parser.parse_args()
    nets = networks(options.count, 8)
    bounds(nets, None)
    own = min((bounds(nets, None) for _ in range(3)), key=lambda pair: pair[0])
    alone = points(None, options.inputs)
    job = lmikit.Job(networks(1, 100)[0])
    kilobytes, each = len(pickle.dumps(job, protocol=5)) / 1e3, 1e3 * own[0] / options.count
    text = f"""# Jobs on clusters

`python benchmarks/clusters.py {options.count}`: two workers on one machine, already running; other work may
have shared it. Overhead: milliseconds per job of `certify_many` beyond half of what the same
{options.count} product bounds take in one thread ({each:.2f} ms each, proof included). Points:
`certify_points` on {options.inputs} inputs of a 784-100-100-10 network ({alone[0]:.2f} s in one thread),
the same verdicts everywhere; how many of its tasks carried the network, and what all tasks weigh.

| where | overhead, ms per job | points, s | tasks with the network | megabytes sent |
|---|---|---|---|---|
"""
    for name in PLACES:
        text += row(name, options.count, options.inputs, own, alone)
    text += f"""
A job of `certify_many` carries its own network, {kilobytes:.0f} kB for 50-100-100-10, and the
answer carries the multipliers.
"""
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
