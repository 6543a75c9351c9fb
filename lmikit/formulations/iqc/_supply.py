"""Supply rates: quadratic forms in (x, y) that the dissipation inequality shows to be nonnegative."""

import abc
import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError

__all__ = ["AbstractSupply", "InputPassivity", "L2Gain", "OutputPassivity", "SupplyForm", "WeightedGain"]


@dataclasses.dataclass(frozen=True, eq=False)
class SupplyForm:
    """s(x, y; theta) = (x, y)'F0 (x, y) + sum_j (E theta)_j (p_j'(x, y)) (q_j'(x, y)), theta one number.

    F0 (n + m, n + m) symmetric; P, Q (n + m, r); E (r, 1). The LMI maximises theta.
    """

    F0: sp.csc_array
    P: sp.csc_array
    Q: sp.csc_array
    E: sp.csc_array


class AbstractSupply(abc.ABC):
    """s(dx, dy) >= 0 for every pair of inputs, with a number theta to maximise."""

    claim: ClassVar[str]  # what theta says, in symbols

    @abc.abstractmethod
    def form(self, inputs: int, outputs: int) -> SupplyForm:
        """The form for n inputs and m outputs; raises InputError where the sizes do not fit."""

    @abc.abstractmethod
    def value(self, theta: float) -> float:
        """The quantity of `claim` at theta, unproven."""


class AbstractGain(AbstractSupply):
    """A supply whose number is a gain: L = theta^(-1/2)."""

    def value(self, theta: float) -> float:
        return math.inf if theta <= 0.0 else 1.0 / math.sqrt(theta)


class L2Gain(AbstractGain):
    """|dy| <= L |dx|: s = |dx|^2 - theta |dy|^2, L = theta^(-1/2)."""

    claim: ClassVar[str] = "|dy| <= L |dx| with L = theta^(-1/2)"

    def form(self, inputs: int, outputs: int) -> SupplyForm:
        P = sp.diags_array(np.repeat([1.0, 0.0], [inputs, outputs]), format="csc")
        left = sp.vstack([sp.csc_array((inputs, outputs)), sp.eye_array(outputs)], format="csc")
        return SupplyForm(P, left, left, sp.csc_array(np.full((outputs, 1), -1.0)))


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedGain(AbstractGain):
    """dy'Q dy <= L^2 dx'P dx: P (n, n) symmetric, Q (m, m) symmetric PSD (given as Q, factored here)."""

    P: Any
    Q: Any
    claim: ClassVar[str] = "dy'Q dy <= L^2 dx'P dx with L = theta^(-1/2)"

    def form(self, inputs: int, outputs: int) -> SupplyForm:
        P = _symmetric("P", self.P, inputs)
        root = _root(_symmetric("Q", self.Q, outputs))
        left = sp.vstack([sp.csc_array((inputs, root.shape[1])), sp.csc_array(root)], format="csc")
        E = sp.csc_array(np.full((root.shape[1], 1), -1.0))
        return SupplyForm(sp.block_diag([P, sp.csc_array((outputs, outputs))], format="csc"), left, left, E)


class InputPassivity(AbstractSupply):
    """dx'dy >= theta |dx|^2: the incremental input passivity index (strong monotonicity) theta."""

    claim: ClassVar[str] = "dx'dy >= theta |dx|^2"

    def form(self, inputs: int, outputs: int) -> SupplyForm:
        return _passivity(inputs, outputs, on_output=False)

    def value(self, theta: float) -> float:
        return theta


class OutputPassivity(AbstractSupply):
    """dx'dy >= theta |dy|^2: the incremental output passivity index (cocoercivity) theta."""

    claim: ClassVar[str] = "dx'dy >= theta |dy|^2"

    def form(self, inputs: int, outputs: int) -> SupplyForm:
        return _passivity(inputs, outputs, on_output=True)

    def value(self, theta: float) -> float:
        return theta


def _passivity(inputs: int, outputs: int, *, on_output: bool) -> SupplyForm:
    if inputs != outputs:
        raise InputError(f"passivity pairs {inputs} inputs with {outputs} outputs; expected as many of each.")
    n = inputs
    half = 0.5 * sp.eye_array(n, format="csc")
    none = sp.csc_array((n, n))
    eye = sp.eye_array(n, format="csc")
    left = sp.vstack([none, eye] if on_output else [eye, none], format="csc")
    F0 = sp.block_array([[none, half], [half, none]], format="csc")
    return SupplyForm(F0, left, left, sp.csc_array(np.full((n, 1), -1.0)))


def _symmetric(name: str, matrix: Any, size: int) -> sp.csc_array:
    result = sp.csc_array(matrix, dtype=np.float64)
    if result.shape != (size, size):
        raise InputError(f"{name} has shape {result.shape}; expected ({size}, {size}).")
    if size and abs(result - result.T).max() > 0:
        raise InputError(f"{name} is not symmetric; expected {name} = {name}'.")
    return result


def _root(Q: sp.csc_array) -> np.ndarray:
    """R with Q = R R', (m, rank); raises InputError where Q is not PSD."""
    values, vectors = np.linalg.eigh(Q.toarray())
    if values.size and values[0] < -1e-12 * max(values[-1], 0.0):
        raise InputError(f"Q has the eigenvalue {values[0]:.3g}; expected a positive semidefinite weight.")
    if sp.csc_array(Q - sp.diags_array(Q.diagonal())).count_nonzero() == 0:
        return np.diag(np.sqrt(np.maximum(Q.diagonal(), 0.0)))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
