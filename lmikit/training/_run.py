"""The loop of every training run: steps, progress, the last good state, saving and exact resumption."""

import abc
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._progress import Progress, ProgressCallback
from ._callback import Arrays, CallbackError, LossAndGrad, TrainingDiverged, own_copies
from ._certify import Certified
from ._optimisers import AbstractOptimiser
from ._result import TrainingResult
from ._state import TrainingState

__all__ = ["AbstractRun", "Path", "Resume"]

Path = str | os.PathLike[str]
Resume = TrainingState | Path | None


class AbstractRun(abc.ABC):
    """What a run changes are its attributes: arrays, tuples and numbers that are replaced, never changed.

    So the state of a step before is a dictionary of references, and whatever interrupts a step leaves it.
    `columns` name the entries of `rows`; a run without columns keeps neither rows nor events.
    """

    method: ClassVar[str]
    doubts_weights: ClassVar[bool] = (
        False  # where a call fails, is the last good state that of a step before?
    )
    columns: tuple[str, ...] = ()

    def __init__(
        self, callback: LossAndGrad, weights: Arrays, optimiser: AbstractOptimiser, total: int
    ) -> None:
        self.callback, self.weights, self.optimiser, self.total = callback, weights, optimiser, total
        self.memory = optimiser.start(weights)
        self.step = 0
        self.rows: tuple[np.ndarray, ...] = ()
        self.events: tuple[str, ...] = ()
        self.reason = ""  # why the run ended, once it has
        self.undo = False  # the step that ended it does not count
        self.seconds: Callable[[], float] = float

    @abc.abstractmethod
    def advance(self) -> float | None:
        """One step, counted in `step`: the loss for the progress report, None where none is due."""

    @abc.abstractmethod
    def text(self) -> str:
        """The options that a resumed run must share."""

    def groups(self) -> dict[str, Arrays]:
        """Arrays of the state beside weights, memory, rows and events."""
        return {}

    def read(self, state: TrainingState) -> None:  # noqa: B027
        """Take what `groups` gave."""

    def kept(self) -> dict[str, Any]:
        """What `advance` is about to replace."""
        return vars(self).copy()

    def state(self) -> TrainingState:
        arrays = {"weights": self.weights, "memory": self.memory, **self.groups()}
        if self.columns:
            events = np.array(self.events, dtype=np.str_) if self.events else np.zeros(0, dtype="<U1")
            arrays |= {"rows": (self.table(),), "events": (events,)}
        return TrainingState(self.method, self.step, self.text(), arrays)

    def resume(self, given: Resume) -> bool:
        """Go on from a state or its file; False for None. Raises InputError for that of another run."""
        if given is None:
            return False
        state = given if isinstance(given, TrainingState) else TrainingState.load(given)
        state.require(self.method, self.text())
        self.weights = own_copies(
            state.weights, [w.shape for w in self.weights], [w.dtype for w in self.weights]
        )
        self.memory, self.step = state.arrays["memory"], state.step
        if self.columns:
            self.rows = tuple(state.one("rows"))
            self.events = tuple(str(e) for e in state.one("events"))
        self.read(state)
        return True

    def run(
        self,
        until: int | None = None,
        *,
        progress: ProgressCallback | None = None,
        save_to: Path | None = None,
        save_every: int | None = None,
    ) -> None:
        """Steps up to number `until` (None: all); whatever ends them, the last good state is saved."""
        last = self.total if until is None else until
        started = time.monotonic()
        self.seconds = lambda: time.monotonic() - started
        before = good = self.kept()
        try:
            while self.step < last and not self.reason:
                before, good = good, self.kept()
                if not self.doubts_weights:  # arrays that live a step longer cost cache misses
                    before = good
                self._guarded(before, good, progress)
                if save_to is not None and save_every is not None and self.step % save_every == 0:
                    self.state().save(save_to)
        finally:
            if save_to is not None:
                self.state().save(save_to)

    def _guarded(
        self, before: dict[str, Any], good: dict[str, Any], progress: ProgressCallback | None
    ) -> None:
        try:
            loss = self.advance()
        except (CallbackError, TrainingDiverged) as error:
            vars(self).update(before if self.doubts_weights else good)
            error.state = self.state()
            raise
        except BaseException:
            vars(self).update(good)
            raise
        if progress is not None and loss is not None:
            progress(Progress(self.method, self.step, self.total, loss, seconds=self.seconds()))
        if self.undo:
            vars(self).update(good, reason=self.reason)

    def record(self, *entries: Any) -> None:
        """A row of the history."""
        self.rows = (*self.rows, np.hstack(entries))

    def table(self) -> np.ndarray:
        """The rows, (count, columns)."""
        return np.array(self.rows).reshape(-1, len(self.columns))

    def result(self, found: Certified, weights: Arrays, state: TrainingState, *said: str) -> TrainingResult:
        """The result of these weights, proven as `found`."""
        return TrainingResult(
            weights,
            found.network,
            found.certificate,
            found.taus,
            found.product,
            dict(zip(self.columns, self.table().T, strict=True)),
            (*self.events, *said),
            self.reason,
            state,
        )
