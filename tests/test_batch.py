"""certify_many: order kept, nothing lost, failures and dead workers reported, resume, any executor."""

import dataclasses
import errno
import functools
import itertools
import multiprocessing
import os
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from adapters_helpers import importorskip
from batch_helpers import Fails, KillsItsWorker, Raises, TellsItsProcess, Unkeyable, WithAFunction

from lmikit import (
    EclipseFast,
    InputError,
    Job,
    LipSDP,
    Network,
    OptionError,
    certify_many,
    lipschitz,
)
from lmikit.solvers import Clarabel

try:
    import resource
except ImportError:
    resource = None

SPAWN = multiprocessing.get_context("spawn")
processes = functools.partial(ProcessPoolExecutor, 2, SPAWN)


def network(seed, dims=(3, 6, 5, 2)):
    rng = np.random.default_rng(seed)
    return Network.from_arrays(
        [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    )


def jobs(count, method=None):
    return [
        Job(network(k), EclipseFast() if method is None else method, name=f"net {k}") for k in range(count)
    ]


def expected(batch):
    return [lipschitz(job.network, job.method).bound for job in batch]


class Backwards(Executor):
    """Runs everything at shutdown or when asked, in reverse: the worst order of completion."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, function, args))
        if len(self.waiting) == 5:
            for one, run, given in reversed(self.waiting):
                one.set_result(run(*given))
        return future


@pytest.mark.parametrize("make", [lambda: None, lambda: ThreadPoolExecutor(2), Backwards])
def test_results_are_those_of_lipschitz_in_order(make):
    batch = jobs(5)
    seen, counted = [], []
    results = certify_many(batch, make(), on_result=seen.append, progress=counted.append)
    assert [r.certificate.bound for r in results] == expected(batch)
    assert [r.index for r in results] == list(range(5))
    assert [r.name for r in results] == [job.name for job in batch]
    assert sorted(r.index for r in seen) == list(range(5))
    assert [(p.iteration, p.total) for p in counted] == [(k, 5) for k in range(1, 6)]


def test_networks_alone_take_the_default_method():
    (result,) = certify_many([network(0)])
    assert result.certificate.bound == lipschitz(network(0), LipSDP()).bound
    assert certify_many([]) == []


def test_one_failure_does_not_lose_the_others():
    batch = jobs(4)
    batch[1] = Job(network(1), Fails())
    huge = Network.from_arrays([[[1e300]], [[1e300]]])
    batch[2] = Job(huge, EclipseFast())
    results = certify_many(batch)
    assert [r.proven for r in results] == [True, False, False, True]
    assert results[1].error == "ZeroDivisionError: a defect"
    assert "overflow" in results[2].error or "NotCertified" in results[2].error


class Lying(Executor):
    """Halves the bound that comes back."""

    def submit(self, function, /, *args, **kwargs):
        answer, future = function(*args), Future()
        witness = dataclasses.replace(answer.witness, rho=answer.witness.rho * 0.5)
        future.set_result(dataclasses.replace(answer, witness=witness))
        return future


def test_a_workers_word_is_not_taken_for_a_proof():
    (result,) = certify_many(jobs(1), Lying())
    assert not result.proven
    assert "was not proven here: NotCertified" in result.error


def test_a_folder_is_resumed_and_what_is_broken_in_it_is_solved_again(tmp_path):
    batch = jobs(4)
    first = certify_many(batch, folder=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    assert not any(r.resumed for r in first)
    files[0].write_text(files[0].read_text()[:100])
    files[1].write_text(files[2].read_text())  # another network's
    again = certify_many([*batch, Job(network(9), EclipseFast())], folder=tmp_path)
    assert sum(r.resumed for r in again) == 2
    assert [r.certificate.bound for r in again[:4]] == [r.certificate.bound for r in first]
    other = certify_many([Job(job.network, LipSDP()) for job in batch], folder=tmp_path)
    assert not any(r.resumed for r in other)  # another method is another job


@pytest.mark.parametrize("what", ["mute", "exit", "memory", "recursion"])
@pytest.mark.parametrize("make", [lambda: None, lambda: ThreadPoolExecutor(2)])
def test_whatever_a_job_raises_is_its_own_affair(what, make):
    batch = jobs(3)
    batch[1] = Job(network(1), Raises(what=what))
    results = certify_many(batch, make())
    assert [r.proven for r in results] == [True, False, True]
    assert results[1].error.startswith(
        {"mute": "Mute (its text raises", "exit": "SystemExit", "memory": "MemoryError"}.get(
            what, "Recursion"
        )
    )


class Refuses(ThreadPoolExecutor):
    """Cannot send one of the jobs, and says so at once, as dask does."""

    def submit(self, function, /, job, *args):
        if job.name == "net 1":
            raise TypeError("cannot pickle this")
        return super().submit(function, job, *args)


def test_a_job_that_cannot_be_sent_is_reported():
    with Refuses(2) as pool:
        results = certify_many(jobs(3), pool)
    assert [r.error for r in results] == ["", "TypeError: cannot pickle this", ""]


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    one, seen = network(0), []
    batch = [Job(one, EclipseFast(), time_limit=1.0 + k) for k in range(200)]
    results = certify_many(batch, folder=tmp_path, on_result=seen.append)
    assert len(results) == len(seen) == 200
    assert {r.certificate.bound for r in results} == {lipschitz(one, EclipseFast()).bound}
    assert all(not r.error and "No space left" in r.save_error for r in results)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    again = certify_many(batch[:2], folder=tmp_path)
    assert [(r.resumed, r.save_error) for r in again] == [(False, "")] * 2


@pytest.mark.skipif(resource is None, reason="needs limits of the operating system")
def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        results = certify_many(jobs(3), folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(r.proven and "File too large" in r.save_error for r in results)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_at_a_results_path_is_reported_and_loses_nothing(tmp_path):
    batch = jobs(3)
    (tmp_path / f"{batch[1].key}.json").mkdir()
    for _ in range(2):
        results = certify_many(batch, folder=tmp_path)
        assert all(r.proven for r in results)
        assert [bool(r.save_error) for r in results] == [False, True, False]
    assert [r.resumed for r in results] == [True, False, True]


def test_a_folder_that_cannot_be_is_refused_before_anything_is_solved(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", 3, "a\0b"):
        with pytest.raises(InputError, match=r"folder .* cannot be made"):
            certify_many([Job(network(0), Fails())], folder=folder)


def test_a_newer_version_does_not_take_over_older_results(tmp_path, monkeypatch):
    batch = jobs(2)
    certify_many(batch, folder=tmp_path)
    assert all(r.resumed for r in certify_many(batch, folder=tmp_path))
    monkeypatch.setattr("lmikit._batch._job.__version__", "9999.0")
    assert not any(r.resumed for r in certify_many(batch, folder=tmp_path))


def test_options_are_told_apart_by_value(tmp_path):
    def key(**options):
        return Job(network(0), **options).key

    long = np.arange(5000.0)
    other = long.copy()
    other[2500] = -1.0  # left out of its repr
    assert repr(long) == repr(other)
    keys = [
        key(),
        key(time_limit=3.0),
        key(solver=Clarabel()),
        key(solver=Clarabel(tol=1e-5)),
        key(method=LipSDP(multipliers="layer")),
        *(key(method=WithAFunction(weights=w)) for w in (None, long, other, {"a": long}, {"a": other})),
        *(key(method=WithAFunction(function=f)) for f in (np.ufunc, functools.partial(min, 3), min)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(method=WithAFunction(weights={"a": long})) == key(
        method=WithAFunction(weights={"a": long.copy()})
    )


def test_options_that_cannot_be_told_apart_are_refused_with_a_folder_only(tmp_path):
    bad = [WithAFunction(function=lambda x: x), WithAFunction(weights=object()), Unkeyable()]
    bad += [WithAFunction(weights=np.array([None]))]
    for method, name in zip(bad, ["function", "weights", "hidden", "weights"], strict=True):
        batch = [*jobs(1), Job(network(1), method)]
        assert all(r.proven for r in certify_many(batch))
        with pytest.raises(OptionError, match=rf"jobs\[1\] cannot be kept in a folder: method.*{name}"):
            certify_many(batch, folder=tmp_path)


def test_callbacks_that_fail_stop_the_batch():
    def stop(result):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        certify_many(jobs(3), pool, on_result=stop)


def test_what_is_no_job_or_executor_is_refused():
    with pytest.raises(InputError, match=r"jobs\[1\] is a str"):
        certify_many([network(0), "net.npz"])
    with pytest.raises(OptionError, match="executor is 3"):
        certify_many(jobs(1), 3)
    with pytest.raises(OptionError, match=r"executor\(\) returned 3"):
        certify_many(jobs(1), lambda: 3)


def test_processes_that_die_are_replaced_and_the_job_at_fault_is_named(tmp_path):
    batch = jobs(6)
    batch[1] = Job(network(1), KillsItsWorker(marker=str(tmp_path / "marker")), name="once")
    batch[4] = Job(network(4), KillsItsWorker(), name="always")
    results = certify_many(batch, processes)
    assert [r.proven for r in results] == [True, True, True, True, False, True]
    assert results[4].error == "its worker process died"
    assert [r.certificate.bound for r in results if r.proven] == expected([*jobs(4), jobs(6)[5]])


class Mortal(Executor):
    """Breaks as a pool of processes does when the job named `name` runs, as often as `lives` says."""

    def __init__(self, name, lives):
        self.name, self.lives, self.broken = name, lives, False

    def submit(self, function, /, job, *args):
        if self.broken:
            raise BrokenExecutor("broken")
        future = Future()
        if job.name == self.name and self.lives:
            self.lives.pop()
            self.broken = True
            future.set_exception(BrokenExecutor("broken"))
        else:
            future.set_result(function(job, *args))
        return future


@pytest.mark.parametrize("retries", [0, 1, 2])
@pytest.mark.parametrize("deaths", range(7))
def test_a_job_is_at_fault_only_after_dying_alone_as_often_as_it_may(retries, deaths):
    lives = [None] * deaths  # the first 1 + retries are spent in company
    results = certify_many(jobs(3), lambda: Mortal("net 1", lives), retries=retries)
    assert [r.proven for r in results] == [True, deaths < 2 * (1 + retries), True]


def test_a_ready_made_pool_that_breaks_is_reported(tmp_path):
    batch = [*jobs(2), Job(network(2), KillsItsWorker())]
    with processes() as pool:
        results = certify_many(batch, pool, folder=tmp_path)
    assert not results[2].proven
    assert "broke" in results[2].error
    done = certify_many(batch[:2], folder=tmp_path)
    assert all(r.proven for r in done)


@pytest.mark.slow
def test_two_hundred_networks_and_one_killed_worker(tmp_path):
    batch = [Job(network(k), LipSDP()) for k in range(200)]
    batch[97] = Job(network(97), KillsItsWorker(marker=str(tmp_path / "marker")))
    results = certify_many(batch, processes)
    assert [r.index for r in results] == list(range(200))
    assert all(r.proven for r in results)
    assert (tmp_path / "marker").exists()
    for index in (0, 50, 97, 98, 199):
        method = batch[index].method if index != 97 else EclipseFast()
        assert results[index].certificate.bound == lipschitz(network(index), method).bound


@pytest.mark.slow
def test_the_work_is_done_by_several_processes():
    results = certify_many([Job(network(k, (20, 40, 40, 5)), TellsItsProcess()) for k in range(8)], processes)
    assert len({r.certificate.produced_by.split()[0] for r in results}) == 2


@pytest.mark.slow
def test_a_dask_cluster():
    distributed = importorskip("distributed")
    batch = [*jobs(10), Job(network(10), Fails())]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        start = time.perf_counter()
        results = certify_many(batch, client.get_executor())
        assert time.perf_counter() - start < 120
    assert [r.certificate.bound for r in results[:10]] == expected(batch[:10])
    assert results[10].error == "ZeroDivisionError: a defect"
