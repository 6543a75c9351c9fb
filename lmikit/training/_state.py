"""`TrainingState`: everything that the next step depends on, in one file that is whole or not there."""

import dataclasses
import io
import json
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import reading, write_bytes
from ..network import read_npz_entries

__all__ = ["TrainingState"]

_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingState:
    """The state after `step` steps: groups of arrays ("weights", ...), and the options it was made with.

    `method` is "rs_lmi", "lip_loop" or "sgd"; `options` is the text that a run compares before it goes on.
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
        with reading(path, "a training state"):
            with open(path, "rb") as stream:
                data = read_npz_entries(stream)
            meta = json.loads(str(data["meta"]))
            if meta["version"] != _VERSION:
                raise InputError(
                    f"{os.fspath(path)} has version {str(meta['version'])[:40]}; expected {_VERSION}."
                )
            arrays = _groups(data, meta["groups"])
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


def _groups(data: Mapping[str, np.ndarray], counts: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, ...]]:
    """The arrays name/0, name/1, ... of each group; ValueError where they are not those of the file."""
    if any(type(count) is not int or not 0 <= count <= len(data) for count in counts.values()):
        raise ValueError("its groups are not counted by integers")
    names = {f"{name}/{i}" for name, count in counts.items() for i in range(count)}
    if names | {"meta"} != set(data):
        raise ValueError("its arrays are not those of its groups")
    return {name: tuple(data[f"{name}/{i}"] for i in range(count)) for name, count in counts.items()}
