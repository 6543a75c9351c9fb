"""Methods for the tests of batches; in a module of their own so that worker processes can import them."""

import dataclasses
import os
import pathlib
import signal
import time
from typing import ClassVar

from lmikit.methods import AbstractMethod, EclipseFast, LipSDP


@dataclasses.dataclass(frozen=True, kw_only=True)
class KillsItsWorker(AbstractMethod):
    """EclipseFast, after killing its process: always, or only while `marker` is not there yet."""

    marker: str = ""
    name: ClassVar[str] = "kills"

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        if not self.marker or not pathlib.Path(self.marker).exists():
            if self.marker:
                pathlib.Path(self.marker).write_text("killed once")
            os.kill(os.getpid(), signal.SIGKILL)
        return EclipseFast().propose(network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fails(AbstractMethod):
    """Raises something that no method should."""

    name: ClassVar[str] = "fails"

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        raise ZeroDivisionError("a defect")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TellsItsProcess(AbstractMethod):
    """LipSDP's witness with its process and time in `produced_by`."""

    name: ClassVar[str] = "tells"

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        witness = LipSDP().propose(network)
        return dataclasses.replace(witness, produced_by=f"{os.getpid()} {time.time()}")


class Mute(Exception):
    """Has no text."""

    def __str__(self):
        raise ValueError("nothing to say")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raises(AbstractMethod):
    """Raises one of the worst."""

    what: str
    name: ClassVar[str] = "raises"

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        raise {
            "mute": Mute(),
            "exit": SystemExit(3),
            "memory": MemoryError(),
            "recursion": RecursionError("deep"),
        }[self.what]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithAFunction(AbstractMethod):
    """EclipseFast with options of any kind, which it ignores."""

    function: object = None
    weights: object = None
    name: ClassVar[str] = "with-a-function"

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        return EclipseFast().propose(network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unkeyable(WithAFunction):
    """Holds an option that is no field."""

    def __post_init__(self):
        object.__setattr__(self, "hidden", object())
