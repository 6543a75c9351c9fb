"""`Feedback`: a system with a controller around it, kept as its parts so that nothing is rounded."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from .._convert import sealed
from .._errors import InputError
from ._state_space import System

__all__ = ["Feedback"]


def _indices(name: str, given: Sequence[int], size: int) -> tuple[int, ...]:
    try:
        result = tuple(int(i) for i in given)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {given!r}; expected a sequence of indices, such as (0,).") from None
    if len(set(result)) != len(result) or any(not 0 <= i < size for i in result):
        raise InputError(f"{name} is {given!r}; expected different indices from 0 to {size - 1}.")
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class Feedback:
    """The plant's inputs `control` are the controller's outputs: u = K y, without a sign change.

    The controller sees the plant's outputs `measured`, or its whole state where that is None.
    What remains are the inputs and outputs of the loop; its state is (plant, controller). Both
    systems have the same dt. Raises InputError where sizes do not fit, or where a measured output
    depends directly on a control input (D must be 0 there).
    """

    plant: System
    controller: System
    control: tuple[int, ...]
    measured: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        control = _indices("control", self.control, self.plant.inputs)
        object.__setattr__(self, "control", control)
        if self.measured is not None:
            measured = _indices("measured", self.measured, self.plant.outputs)
            object.__setattr__(self, "measured", measured)
            if self.plant.D[list(measured)][:, list(control)].any():
                raise InputError(
                    "a measured output depends directly on a control input; expected D = 0 between them: "
                    "subtract D u from the measurement inside the controller."
                )
        seen = self.plant.states if self.measured is None else len(self.measured)
        expected = (len(control), seen)
        if (self.controller.outputs, self.controller.inputs) != expected:
            raise InputError(
                f"the controller has {self.controller.outputs} outputs and {self.controller.inputs} inputs; "
                f"expected {expected[0]} and {expected[1]}."
            )
        if self.controller.dt != self.plant.dt and self.controller.states:
            raise InputError(
                f"the controller has dt {self.controller.dt!r} and the plant {self.plant.dt!r}; "
                f"expected the same."
            )

    @classmethod
    def of_gain(
        cls, plant: System, gain: np.ndarray, control: Sequence[int], measured: Sequence[int] | None = None
    ) -> "Feedback":
        """u = gain y with a constant matrix."""
        matrix = np.atleast_2d(gain)
        zero = np.zeros((0, 0))
        static = System(
            zero, np.zeros((0, matrix.shape[1])), np.zeros((matrix.shape[0], 0)), matrix, plant.dt
        )
        seen = None if measured is None else _indices("measured", measured, plant.outputs)
        return cls(plant, static, _indices("control", control, plant.inputs), seen)

    @property
    def discrete(self) -> bool:
        """Whether time is discrete."""
        return self.plant.discrete

    @property
    def free_inputs(self) -> np.ndarray:
        """The plant's inputs that are inputs of the loop."""
        return np.array([i for i in range(self.plant.inputs) if i not in self.control], dtype=np.int64)

    @property
    def free_outputs(self) -> np.ndarray:
        """The plant's outputs that are outputs of the loop."""
        seen = self.measured or ()
        return np.array([i for i in range(self.plant.outputs) if i not in seen], dtype=np.int64)

    def measurement(self) -> tuple[np.ndarray, np.ndarray]:
        """(C, D): what the controller sees is C x + D w, w the free inputs; exact floats."""
        free = self.free_inputs
        if self.measured is None:
            return np.eye(self.plant.states), np.zeros((self.plant.states, free.size))
        rows = list(self.measured)
        return self.plant.C[rows], self.plant.D[rows][:, free]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of both systems and of how they are connected."""
        text = (
            f"lmikit-feedback 1 {self.plant.digest} {self.controller.digest} {self.control} {self.measured}"
        )
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def rounded(self) -> System:
        """The closed loop as one system, its matrices rounded: for simulation and proposals only."""
        P, K, u = self.plant, self.controller, list(self.control)
        w, z = self.free_inputs, self.free_outputs
        C, D = self.measurement()
        B, Dz = P.B[:, u], P.D[z][:, u]
        A = np.block([[P.A + B @ K.D @ C, B @ K.C], [K.B @ C, K.A]])
        top = np.vstack([P.B[:, w] + B @ K.D @ D, K.B @ D])
        out = np.hstack([P.C[z] + Dz @ K.D @ C, Dz @ K.C])
        return System(A, top, sealed(out), P.D[z][:, w] + Dz @ K.D @ D, P.dt)

    def __repr__(self) -> str:
        states = self.plant.states + self.controller.states
        return (
            f"<Feedback: {states} states, {self.free_inputs.size} inputs, {self.free_outputs.size} outputs>"
        )
