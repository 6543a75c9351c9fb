"""Numbered tasks on executors, none lost: what a broken executor leaves is run again, then one by one."""

import abc
import collections
import contextlib
import logging
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from .._errors import OptionError
from ._worker import text_of

__all__ = ["AbstractCrew", "ExecutorFactory", "require_executor"]

ExecutorFactory = Callable[[], Executor]
_log = logging.getLogger("lmikit")
_Futures = dict["Future[Any]", int]


def require_executor(value: Any) -> None:
    """Raise OptionError for anything but an executor, a function (that makes one) or None."""
    if value is not None and not isinstance(value, Executor) and not callable(value):
        raise OptionError(
            f"executor is {value!r}; expected a concurrent.futures.Executor, a function making one or None"
        )


class AbstractCrew(abc.ABC):
    """Tasks 0, 1, ...; what they are, and what becomes of their answers."""

    @abc.abstractmethod
    def open(self) -> list[int]:
        """The tasks without a result, in order."""

    @abc.abstractmethod
    def call(self, index: int) -> tuple[Any, ...]:
        """(function, *arguments) that a worker calls for the task now."""

    @abc.abstractmethod
    def receive(self, index: int, answer: Any) -> bool:
        """Take what a worker returned; False where the task has to be called again."""

    @abc.abstractmethod
    def fail(self, index: int, error: BaseException | str) -> None:
        """There is no answer: what the executor raised, or why in words."""

    def in_flight(self) -> float:
        """How many tasks may be with the executor at once."""
        return float("inf")

    def run_on(self, where: Executor | ExecutorFactory, retries: int) -> None:
        """Run the open tasks; every one has a result or has failed afterwards.

        With a function that makes executors what a broken one leaves is run again, `retries` times all
        together and then one by one: a task is at fault that broke 1 + retries executors alone.
        """
        if isinstance(where, Executor):
            self.run(where, self.open())
            for left in self.open():
                self.fail(left, "its executor broke, probably because a worker process died; pass a function")
            return
        for _ in range(1 + retries):
            if self.open():
                with _made(where) as executor:
                    self.run(executor, self.open())
        deaths: collections.Counter[int] = collections.Counter()
        while self.open():  # one by one, so that the task at fault is known
            with _made(where) as executor:
                index = next((k for k in self.open() if not self.run(executor, [k])), None)
            if index is not None:
                deaths[index] += 1  # only those count: together, a task dies of its neighbour's fault too
                if deaths[index] > retries:
                    self.fail(index, "its worker process died")

    def run(self, executor: Executor, indices: list[int]) -> bool:
        """Run tasks until all are done or the executor is broken; False for broken."""
        waiting = collections.deque(indices)
        futures: _Futures = {}
        done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()  # `wait` looks at all, every time
        whole = True
        try:
            while waiting or futures:
                while whole and waiting and len(futures) < self.in_flight():
                    whole = self._submit(executor, waiting.popleft(), futures, done)
                if not futures:
                    return whole
                future = done.get()
                index = futures.pop(future)
                good, again = self._collect(index, future)
                whole = whole and good
                if again:
                    waiting.append(index)
        finally:
            for future in futures:
                future.cancel()
        return whole

    def _submit(
        self, executor: Executor, index: int, futures: _Futures, done: "queue.SimpleQueue[Future[Any]]"
    ) -> bool:
        """False where the executor takes no more tasks."""
        try:
            future = executor.submit(*self.call(index))
        except (BrokenExecutor, RuntimeError) as error:  # broken, or shut down, while tasks go in
            _log.warning("the executor takes no more jobs (%s)", text_of(error))
            return False
        except Exception as error:  # this task cannot be sent
            self.fail(index, error)
            return True
        futures[future] = index
        future.add_done_callback(done.put)
        return True

    def _collect(self, index: int, future: "Future[Any]") -> tuple[bool, bool]:
        """(whether the executor is whole, whether the task is to be called again)."""
        if future.cancelled():
            return False, False
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            return False, False
        if error is not None:  # what the executor itself raises: a task that cannot be sent, a lost worker
            self.fail(index, error)
            return True, False
        return True, not self.receive(index, future.result())


@contextlib.contextmanager
def _made(make: ExecutorFactory) -> Iterator[Executor]:
    executor = make()
    if not isinstance(executor, Executor):
        raise OptionError(f"executor() returned {executor!r}; expected a concurrent.futures.Executor.")
    with executor:
        yield executor
