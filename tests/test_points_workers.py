"""Points on executors: the verdicts of one process, the network shipped to a worker once, none lost."""

import functools
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from adapters_helpers import importorskip

import lmikit
from lmikit import InputError, OptionError
from lmikit._points_workers import Found, search_point
from lmikit.attacks import Attack
from lmikit.margins import Search

SPAWN = multiprocessing.get_context("spawn")


def problem(seed=0, count=12):
    rng = np.random.default_rng(seed)
    shapes = ((8, 4), (8, 8), (3, 8))
    net = lmikit.Network.from_arrays([rng.standard_normal(s) / np.sqrt(s[1]) for s in shapes])
    X = rng.uniform(0.0, 1.0, (count, 4))
    return net, X, net(X).argmax(axis=1)


NET, X, Y = problem()
certified = functools.partial(
    lmikit.certify_points, NET, X, Y, eps=0.1, attack=Attack(steps=20, restarts=2), search=Search(budget=40)
)
ALONE = certified()


def same(table, alone=ALONE):
    return (table.verdict == alone.verdict).all() and np.array_equal(
        table.margin, alone.margin, equal_nan=True
    )


class Worlds(Executor):
    """Some workers that answer in turn, each with a memory of its own; everything is pickled."""

    def __init__(self, workers, lives=10**9):
        self.memories = [set() for _ in range(workers)]
        self.turn = self.sent = self.networks = 0
        self.lives = lives

    def submit(self, function, /, *arguments):
        key, network, rest = pickle.loads(pickle.dumps(arguments))
        assert function is search_point
        future = Future()
        if self.turn >= self.lives:
            future.set_exception(BrokenProcessPool("a worker died"))
            return future
        mine = self.memories[self.turn % len(self.memories)]
        self.turn += 1
        self.sent += 1
        self.networks += network is not None
        if network is not None:
            mine.add(key)
        name = f"worker {self.turn % len(self.memories)}"
        if key not in mine:
            future.set_result(Found(None, 0.0, name, missing=True))
        else:
            found = search_point(key, network, rest)
            future.set_result(Found(found.witness, found.seconds, name))
        return future


@pytest.mark.parametrize("workers", [1, 2, 5, 30])
def test_the_network_travels_to_each_worker_about_once(workers):
    pool = Worlds(workers)
    assert same(certified(executor=pool))
    assert pool.networks <= 8 + workers
    assert pool.sent <= len(X) + workers


@pytest.mark.parametrize("lives", [0, 1, 3])
def test_inputs_of_broken_executors_are_searched_for_again(lives):
    made = []

    def make():
        made.append(Worlds(2, lives if len(made) < 2 else 10**9))
        return made[-1]

    assert same(certified(executor=make))
    assert len(made) >= 3


def test_an_input_whose_workers_always_die_is_undecided_and_says_so():
    table = lmikit.certify_points(NET, X[:2], Y[:2], eps=0.1, executor=lambda: Worlds(1, lives=0))
    searched = [r for r in table.results if r.verdict != "refuted"]
    assert searched
    assert all(r.verdict == "undecided" and "worker process died" in r.error for r in searched)
    assert "worker process died" in str(searched[0])
    table = lmikit.certify_points(NET, X[:2], Y[:2], eps=0.1, executor=Worlds(1, lives=0))
    assert any("pass a function" in r.error for r in table.results)


def test_threads_share_this_process():
    with ThreadPoolExecutor(2) as pool:
        assert same(certified(executor=pool))


def test_bad_input_and_executors_are_refused():
    with pytest.raises(OptionError, match="executor is 3"):
        certified(executor=3)
    with pytest.raises(OptionError, match=r"executor\(\) returned 3"):
        certified(executor=lambda: 3)
    with pytest.raises(OptionError, match="jobs is 0"):
        certified(jobs=0)

    class Refusing(Executor):
        def submit(self, function, /, *arguments):
            future = Future()
            future.set_exception(InputError("not this"))
            return future

    with pytest.raises(InputError, match="not this"):
        certified(executor=Refusing())


class Once:
    """Kills one process at the first sign of progress after the attack."""

    def __init__(self, pids):
        self.pids, self.killed, self.calls = pids, None, 0

    def __call__(self, progress):
        self.calls += 1
        if self.killed is None and self.calls > 2:
            self.killed = self.pids()[0]
            os.kill(self.killed, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_costs_nothing_but_time():
    once = Once(lambda: [p.pid for p in multiprocessing.active_children()])
    pool = functools.partial(ProcessPoolExecutor, 2, SPAWN)
    assert same(certified(executor=pool, progress=once))
    assert once.killed is not None


class PoolExecutor(Executor):
    def __init__(self, pool):
        self.pool = pool

    def submit(self, function, /, *arguments, **named):
        future = Future()
        self.pool.apply_async(
            function, arguments, named, callback=future.set_result, error_callback=future.set_exception
        )
        return future


@pytest.mark.slow
def test_a_pool_of_ray():
    ray = importorskip("ray")
    pools = importorskip("ray.util.multiprocessing")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        executor = PoolExecutor(pools.Pool(2))
        assert same(certified(executor=executor))
        assert all(r.proven for r in lmikit.certify_many([NET, NET], executor))
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_a_dask_cluster_with_a_killed_worker():
    distributed = importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        pids = list(client.run(os.getpid).values())
        once = Once(lambda: pids)
        table = certified(executor=client.get_executor(), progress=once)
    assert once.killed is not None
    assert same(table)
