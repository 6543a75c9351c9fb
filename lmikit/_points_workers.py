"""Searches of `certify_points` on executors: the network travels to a worker once, not with every input."""

import collections
import dataclasses
import os
import pickle
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

from ._arrays import blas_threads
from ._batch._crew import AbstractCrew
from ._errors import LmikitError
from ._points import propose

__all__ = ["PointCrew", "search_point"]

_KEPT = 2  # networks that a worker remembers
_FIRST = 8  # inputs with an executor before its workers are known
_PER_WORKER = 4  # and once they are: enough that none waits for this process

_networks: "collections.OrderedDict[str, Any]" = collections.OrderedDict()


@dataclasses.dataclass(frozen=True)
class Found:
    """What a worker found; `missing`: it does not have the network and did nothing."""

    witness: Any
    seconds: float
    worker: str
    missing: bool = False


def search_point(key: str, network: bytes | None, arguments: tuple[Any, ...]) -> Found:
    """What a worker does: it proposes. `network` is the pickled chain, or None where it has it."""
    start, worker = time.perf_counter(), f"{socket.gethostname()} {os.getpid()}"
    if network is not None and key not in _networks:
        _remember(key, pickle.loads(network))
    chain = _networks.get(key)
    if chain is None:
        return Found(None, 0.0, worker, missing=True)
    with blas_threads(1):
        witness = propose(chain, *arguments)
    return Found(witness, time.perf_counter() - start, worker)


def _remember(key: str, chain: Any) -> None:
    _networks[key] = chain
    while len(_networks) > _KEPT:
        _networks.popitem(last=False)


class PointCrew(AbstractCrew):
    """One task per input: `arguments[i]` of `propose` after the chain.

    The first inputs carry the network; later ones only its key. A worker that lacks it says so, and its input
    goes out again with it. How many are out grows with the workers that were heard of.
    """

    def __init__(
        self,
        chain: Any,
        arguments: dict[int, tuple[Any, ...]],
        finish: Callable[[int, Any, float, str], None],
    ) -> None:
        self.arguments, self.finish = arguments, finish
        self.left = dict.fromkeys(arguments)
        self.key, self.network = uuid.uuid4().hex, pickle.dumps(chain, protocol=5)
        self.workers: set[str] = set()
        self.lacking = set(list(arguments)[:_FIRST])
        self.shipped = 0
        _remember(self.key, chain)  # threads of this process have it

    def open(self) -> list[int]:
        return list(self.left)

    def in_flight(self) -> float:
        return max(_FIRST, _PER_WORKER * len(self.workers))

    def call(self, index: int) -> tuple[Any, ...]:
        ships = index in self.lacking
        self.shipped += ships
        return search_point, self.key, self.network if ships else None, self.arguments[index]

    def receive(self, index: int, answer: Found) -> bool:
        self.workers.add(answer.worker)
        if answer.missing:
            self.lacking.add(index)
            return False
        del self.left[index]
        self.finish(index, answer.witness, answer.seconds, "")
        return True

    def fail(self, index: int, error: BaseException | str) -> None:
        """Bad input is raised; what befell a worker is the input's `error`."""
        if isinstance(error, LmikitError):
            raise error
        del self.left[index]
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.finish(index, None, 0.0, text)
