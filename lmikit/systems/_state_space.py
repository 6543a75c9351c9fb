"""`System`: state-space data, the one seam where they enter."""

import dataclasses
import functools
import hashlib
import io
import os
import pathlib
from typing import Any

import numpy as np

from .._convert import as_number, floats
from .._errors import InputError
from .._files import write_bytes
from ..network._file_entries import load_entries

__all__ = ["System", "as_system"]


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """x' = A x + B u (dt None) or x+ = A x + B u (dt > 0), y = C x + D u, exactly as these floats say.

    A (n, n), B (n, m), C (p, n), D (p, m); None stands for no inputs, no outputs, or D = 0. `dt` is
    None for continuous time, True (a step of 1) or the step in seconds for discrete time. Raises
    InputError for shapes that do not fit, NaN and infinity. Not checked: stability, minimality.
    """

    A: np.ndarray
    B: np.ndarray = None  # type: ignore[assignment]
    C: np.ndarray = None  # type: ignore[assignment]
    D: np.ndarray = None  # type: ignore[assignment]
    dt: float | None = None

    def __post_init__(self) -> None:
        A = floats("A", self.A)
        n = A.shape[0] if A.ndim else 0
        if A.shape != (n, n):
            raise InputError(f"A has shape {A.shape}; expected a square matrix (n, n).")
        B = floats("B", np.zeros((n, 0)) if self.B is None else self.B)
        C = floats("C", np.zeros((0, n)) if self.C is None else self.C)
        for name, array, axis in (("B", B, 0), ("C", C, 1)):
            if array.ndim != 2 or array.shape[axis] != n:
                expected = f"({n}, m)" if axis == 0 else f"(p, {n})"
                raise InputError(f"{name} has shape {array.shape}; expected {expected}.")
        shape = (C.shape[0], B.shape[1])
        D = floats("D", np.zeros(shape) if self.D is None else self.D)
        if D.shape != shape:
            raise InputError(f"D has shape {D.shape}; expected {shape}, the rows of C by the columns of B.")
        dt = self.dt
        if dt is not None:
            dt = as_number("dt", 1.0 if dt is True else dt)
            if dt < 0.0:
                raise InputError(f"dt is {dt!r}; expected None or 0 (continuous), True or seconds > 0.")
        for name, array in (("A", A), ("B", B), ("C", C), ("D", D)):
            object.__setattr__(self, name, array)
        object.__setattr__(self, "dt", dt or None)

    @property
    def discrete(self) -> bool:
        """Whether time is discrete."""
        return self.dt is not None

    @property
    def states(self) -> int:
        """n."""
        return int(self.A.shape[0])

    @property
    def inputs(self) -> int:
        """m."""
        return int(self.B.shape[1])

    @property
    def outputs(self) -> int:
        """p."""
        return int(self.C.shape[0])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the sizes, the time step and the numbers."""
        step = "continuous" if self.dt is None else f"step {self.dt.hex()}"
        head = f"lmikit-system 1 {self.states} {self.inputs} {self.outputs} {step}\n"
        parts = (
            np.ascontiguousarray(a + 0.0, dtype="<f8").tobytes() for a in (self.A, self.B, self.C, self.D)
        )
        return hashlib.sha256(head.encode("ascii") + b"".join(parts)).hexdigest()

    def response(self, frequency: float) -> np.ndarray:
        """C (s I - A)^-1 B + D in floating point at s = j frequency, or z = exp(j frequency) (discrete)."""
        s = np.exp(1j * frequency) if self.discrete else 1j * frequency
        return np.asarray(self.C @ np.linalg.solve(s * np.eye(self.states) - self.A, self.B) + self.D)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write A, B, C, D and dt to a `.npz` file, exactly; raises InputError."""
        file = pathlib.Path(path)
        if file.suffix.lower() != ".npz":
            raise InputError(f"{file.name} has suffix {file.suffix!r}; expected .npz.")
        stream = io.BytesIO()
        dt = {} if self.dt is None else {"dt": np.array(self.dt)}
        np.savez_compressed(stream, allow_pickle=False, A=self.A, B=self.B, C=self.C, D=self.D, **dt)
        write_bytes(file, stream.getvalue())

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "System":
        """The system of a `.npz` file with the arrays A and, where they are there, B, C, D and dt."""
        file = pathlib.Path(path)
        entries = load_entries(file, ".npz")
        unknown = sorted(entries.keys() - {"A", "B", "C", "D", "dt"})
        if unknown or "A" not in entries:
            raise InputError(f"{file.name} holds {sorted(entries)[:9]}; expected A and of B, C, D, dt.")
        dt = entries.get("dt")
        B, C, D = (entries.get(name) for name in "BCD")
        return cls(entries["A"], B, C, D, None if dt is None else dt[()])  # type: ignore[arg-type]

    def __repr__(self) -> str:
        time = "continuous time" if self.dt is None else f"dt = {self.dt:g}"
        return f"<System: {self.states} states, {self.inputs} inputs, {self.outputs} outputs, {time}>"


def as_system(value: Any, dt: float | None = None) -> System:
    """A `System` from what describes one; the numbers are taken as they are, or refused.

    Taken are a System, a square matrix A, a tuple (A, B, C, D) or (A, B, C, D, dt), and objects with
    attributes A, B, C, D and dt, such as state-space systems of python-control and scipy.signal. scipy's
    transfer functions are converted by their own `to_ss()`. `dt` is for matrices and tuples of
    four. Raises InputError for everything else.
    """
    if isinstance(value, System):
        return value
    if isinstance(value, tuple):
        if len(value) not in (4, 5):
            raise InputError(
                f"a system is a tuple of {len(value)} entries; expected (A, B, C, D) or (A, B, C, D, dt)."
            )
        A, B, C, D = value[:4]
        return System(A, B, C, D, value[4] if len(value) == 5 else dt)
    given = value
    if not _has_matrices(given) and callable(getattr(given, "to_ss", None)):
        given = given.to_ss()
    if _has_matrices(given):
        A, B, C, D = (np.asarray(getattr(given, name)) for name in "ABCD")
        return System(A, B, C, D, getattr(given, "dt", dt))
    if isinstance(value, (np.ndarray, list)):
        return System(np.asarray(value), dt=dt)
    raise InputError(
        f"a system is a {type(value).__name__}; expected a System, (A, B, C, D[, dt]), a matrix A, or "
        f"an object "
        "with A, B, C and D (convert a transfer function of python-control with control.ss)."
    )


def _has_matrices(value: Any) -> bool:
    return all(hasattr(value, name) for name in "ABCD")
