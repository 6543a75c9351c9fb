"""`TrainingState`: everything that the next step depends on, in one file that is whole or not there."""

import dataclasses
import io
import json
import os
import types
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import write_bytes

__all__ = ["TrainingState"]

_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingState:
    """The state after `step` steps: groups of arrays ("weights", ...), and the options it was made with.

    `method` is "rs_lmi" or "lip_loop"; `options` is the text that a run compares before it goes on.
    """

    method: str
    step: int
    options: str
    arrays: Mapping[str, tuple[np.ndarray, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", types.MappingProxyType(dict(self.arrays)))

    @property
    def weights(self) -> tuple[np.ndarray, ...]:
        """The weights at this step: no bound of theirs is known."""
        return self.arrays["weights"]

    def one(self, name: str) -> np.ndarray:
        """The only array of a group."""
        (array,) = self.arrays[name]
        return array

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz`; it replaces `path` in one step, so that an interruption leaves the old file."""
        meta = {
            "version": _VERSION,
            "method": self.method,
            "step": self.step,
            "options": self.options,
            "groups": {name: len(group) for name, group in self.arrays.items()},
        }
        entries: dict[str, Any] = {"meta": np.array(json.dumps(meta))}
        for name, group in self.arrays.items():
            entries.update({f"{name}/{i}": a for i, a in enumerate(group)})
        stream = io.BytesIO()
        np.savez(stream, **entries)
        write_bytes(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TrainingState":
        """Read what `save` wrote; raises InputError where the file is something else or is broken."""
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as data:
                meta = json.loads(str(data["meta"]))
                if meta["version"] != _VERSION:
                    raise InputError(
                        f"{os.fspath(path)} has version {meta['version']}; this lmikit reads {_VERSION}."
                    )
                arrays = {
                    name: tuple(data[f"{name}/{i}"] for i in range(count))
                    for name, count in meta["groups"].items()
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{os.fspath(path)} is not a training state ({type(error).__name__}: {error}); expected a "
                "file written by TrainingState.save."
            ) from error
        for group in arrays.values():
            for array in group:
                array.setflags(write=False)
        return cls(str(meta["method"]), int(meta["step"]), str(meta["options"]), arrays)

    def require(self, method: str, options: str) -> None:
        """Raises InputError unless this state belongs to such a run."""
        if self.method != method:
            raise InputError(f"the state is of method {self.method!r}; expected one of {method!r}.")
        if self.options != options:
            raise InputError(
                f"the state was made with other options:\n  {self.options}\nexpected\n  {options}\n"
                "Only the number of steps and where to save may change."
            )
