"""Large batches and clusters whose workers die: nothing is lost, and the price of many jobs is flat."""

import time

import numpy as np
import pytest
from adapters_helpers import importorskip
from batch_helpers import KillsItsWorker

from lmikit import EclipseFast, Job, Network, SpectralProduct, certify_many, lipschitz


def network(seed):
    rng = np.random.default_rng(seed)
    return Network.from_arrays([rng.standard_normal((5, 3)), rng.standard_normal((2, 5))])


@pytest.mark.slow
def test_ten_thousand_jobs(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    batch = [Job(network(k % 100), SpectralProduct(), time_limit=1.0 + k) for k in range(10_000)]
    expected = [lipschitz(job.network, job.method).bound for job in batch[:100]]
    counted = []
    with ThreadPoolExecutor(2) as pool:
        results = certify_many(batch, pool, folder=tmp_path, progress=counted.append)
    assert [r.index for r in results] == list(range(10_000))
    assert all(r.certificate.bound == expected[k % 100] and not r.save_error for k, r in enumerate(results))
    assert [p.iteration for p in counted] == list(range(1, 10_001))
    again = certify_many(batch, folder=tmp_path)
    assert all(r.resumed and r.certificate.bound == expected[k % 100] for k, r in enumerate(again))


@pytest.mark.slow
def test_the_bookkeeping_of_many_jobs_is_linear():
    """Jobs that are refused at once: what is left is the batch's own work."""
    from concurrent.futures import Executor, Future

    class Declines(Executor):
        def submit(self, function, /, *arguments, **named):
            future = Future()
            future.set_exception(ValueError("no"))
            return future

    def seconds(count):
        batch = [Job(one, EclipseFast()) for _ in range(count)]
        start = time.process_time()
        results = certify_many(batch, Declines())
        assert [r.error for r in results] == ["ValueError: no"] * count
        return time.process_time() - start

    one = network(0)
    seconds(10)
    assert seconds(20_000) < 40 * max(seconds(2_000), 0.005)  # 100 times as long if it were quadratic


@pytest.mark.slow
def test_a_dask_cluster_whose_workers_are_killed(tmp_path):
    distributed = importorskip("distributed")
    batch = [Job(network(k), EclipseFast(), name=f"net {k}") for k in range(12)]
    batch[3] = Job(network(3), KillsItsWorker(marker=str(tmp_path / "marker")), name="once")
    batch[8] = Job(network(8), KillsItsWorker(), name="always")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        results = certify_many(batch, client.get_executor(), folder=tmp_path / "results")
    assert (tmp_path / "marker").exists()
    assert [r.proven for r in results] == [k != 8 for k in range(12)]
    assert "KilledWorker" in results[8].error
    assert [r.certificate.bound for r in results if r.proven] == [
        lipschitz(network(k), EclipseFast()).bound for k in range(12) if k != 8
    ]
