"""Uncertainty around a linear system: p = Delta(q), block by block, known by its class only."""

import abc
import dataclasses
import functools
import hashlib
from typing import Any, ClassVar

import numpy as np

from .._convert import as_number, floats
from .._errors import InputError
from ._state_space import System

__all__ = [
    "AbstractBlock",
    "Delay",
    "NormBlock",
    "RepeatedGain",
    "Sector",
    "SlopeRestricted",
    "UncertainLoop",
]


class AbstractBlock(abc.ABC):
    """A class of operators from `inputs` signals q to `outputs` signals p."""

    kind: ClassVar[str]

    @property
    @abc.abstractmethod
    def inputs(self) -> int:
        """How many signals q the block reads."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """How many signals p it gives."""

    @abc.abstractmethod
    def describe(self) -> str:
        """The class in words and exact numbers."""


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractChannels(AbstractBlock):
    """k functions of one variable each, with limits lower <= upper, (k,); raises InputError for others."""

    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self) -> None:
        lower, upper = (np.atleast_1d(floats(n, getattr(self, n))) for n in ("lower", "upper"))
        if lower.ndim != 1 or lower.shape != upper.shape or (lower > upper).any():
            raise InputError(f"a {self.kind} needs lower <= upper, numbers or vectors of one length.")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @property
    def inputs(self) -> int:
        return int(self.lower.size)

    @property
    def outputs(self) -> int:
        return int(self.lower.size)

    def _with_limits(self, word: str) -> str:
        """The kind, the exact limits and a word."""
        ends = [[a.hex(), b.hex()] for a, b in zip(self.lower.tolist(), self.upper.tolist(), strict=True)]
        return f"{self.kind} {ends} {word}"


@dataclasses.dataclass(frozen=True, eq=False)
class Sector(AbstractChannels):
    """p_i = phi_i(q_i, t) with (p_i - lower_i q_i)(upper_i q_i - p_i) >= 0 for all q_i and t.

    `memoryless`: phi_i does not depend on time, which admits Popov's multipliers. lower <= upper, (k,).
    """

    kind: ClassVar[str] = "sector"
    memoryless: bool = False

    def describe(self) -> str:
        return self._with_limits("memoryless" if self.memoryless else "any")


@dataclasses.dataclass(frozen=True, eq=False)
class SlopeRestricted(AbstractChannels):
    """p_i = phi_i(q_i), phi_i(0) = 0, lower_i <= (phi_i(a) - phi_i(b))/(a - b) <= upper_i, at all times.

    `odd`: phi_i(-q) = -phi_i(q). lower <= upper, (k,). A sector with more known of it: in discrete time it
    admits Zames and Falb's multipliers, in continuous time Popov's.
    """

    kind: ClassVar[str] = "slope"
    odd: bool = False

    def describe(self) -> str:
        return self._with_limits("odd" if self.odd else "any")


@dataclasses.dataclass(frozen=True, eq=False)
class Delay(AbstractBlock):
    """p(t) = q(t - tau), 0 <= tau <= bound, on `size` signals: seconds, or whole steps in discrete time.

    One unknown tau, `constant` or varying in time. Before time 0 the signals are 0. The signals q must not
    depend directly on inputs of the system (rows of D that are 0).
    """

    kind: ClassVar[str] = "delay"
    bound: float
    size: int = 1
    constant: bool = True

    def __post_init__(self) -> None:
        bound = as_number("bound", self.bound)
        if not bound >= 0.0 or self.size < 1:
            raise InputError(f"bound is {bound!r}; expected a number >= 0, and size >= 1.")
        object.__setattr__(self, "bound", bound)

    @property
    def inputs(self) -> int:
        return self.size

    @property
    def outputs(self) -> int:
        return self.size

    def describe(self) -> str:
        return f"delay {float(self.bound).hex()} {self.size} {'constant' if self.constant else 'varying'}"


@dataclasses.dataclass(frozen=True, eq=False)
class NormBlock(AbstractBlock):
    """Causal operators with an L2 (l2) gain of at most `bound`, from `inputs` to `outputs` signals."""

    kind: ClassVar[str] = "norm"
    bound: float
    inputs: int = 1
    outputs: int = 1

    def __post_init__(self) -> None:
        bound = as_number("bound", self.bound)
        if not bound >= 0.0 or self.inputs < 1 or self.outputs < 1:
            raise InputError(
                f"bound is {bound!r}; expected a number >= 0, and at least one input and output."
            )
        object.__setattr__(self, "bound", bound)

    def describe(self) -> str:
        return f"norm {float(self.bound).hex()} {self.inputs} {self.outputs}"


@dataclasses.dataclass(frozen=True, eq=False)
class RepeatedGain(AbstractBlock):
    """p = delta(t) q with one real delta(t), |delta(t)| <= bound, repeated on `size` signals."""

    kind: ClassVar[str] = "repeated"
    bound: float
    size: int = 1

    def __post_init__(self) -> None:
        bound = as_number("bound", self.bound)
        if not bound >= 0.0 or self.size < 1:
            raise InputError(f"bound is {bound!r}; expected a number >= 0, and size >= 1.")
        object.__setattr__(self, "bound", bound)

    @property
    def inputs(self) -> int:
        return self.size

    @property
    def outputs(self) -> int:
        return self.size

    def describe(self) -> str:
        return f"repeated {float(self.bound).hex()} {self.size}"


@dataclasses.dataclass(frozen=True, eq=False)
class UncertainLoop:
    """A system with inputs (p, d) and outputs (q, e), p = Delta(q) with Delta diagonal in `blocks`.

    The blocks take the first inputs and outputs of the system in their order; d and e are what
    remains. Raises InputError where the system has too few. Not checked: that the loop is well posed.
    """

    system: System
    blocks: tuple[AbstractBlock, ...]

    def __post_init__(self) -> None:
        blocks = (self.blocks,) if isinstance(self.blocks, AbstractBlock) else tuple(self.blocks)
        object.__setattr__(self, "blocks", blocks)
        if not all(isinstance(b, AbstractBlock) for b in self.blocks):
            raise InputError(
                "blocks holds something else; expected Sector, SlopeRestricted, NormBlock and so on."
            )
        row = 0
        for block in self.blocks:
            if isinstance(block, Delay) and self.system.D[row : row + block.inputs].any():
                raise InputError("a delayed signal depends directly on an input; expected D = 0 in its rows.")
            if isinstance(block, Delay) and self.system.discrete and block.bound % 1.0 > 0.0:
                raise InputError(f"a delay has bound {block.bound!r}; expected whole steps in discrete time.")
            row += block.inputs
        p, q = self.uncertain
        if p > self.system.inputs or q > self.system.outputs:
            raise InputError(
                f"the blocks give {p} signals and read {q}; the system has {self.system.inputs} inputs and "
                f"{self.system.outputs} outputs."
            )

    @property
    def uncertain(self) -> tuple[int, int]:
        """How many signals p and q there are."""
        return sum(b.outputs for b in self.blocks), sum(b.inputs for b in self.blocks)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the system and of the classes."""
        text = f"lmikit-uncertain 1 {self.system.digest} " + "; ".join(b.describe() for b in self.blocks)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def at(self, *gains: Any) -> System:
        """The system with p_i = gain_i q_i, one number or matrix per block, rounded: for simulation."""
        p, q = self.uncertain
        delta = np.zeros((p, q))
        row = column = 0
        for block, gain in zip(self.blocks, gains, strict=True):
            value = np.asarray(gain, dtype=np.float64)
            full = value if value.ndim == 2 else value * np.eye(block.outputs, block.inputs)
            delta[row : row + block.outputs, column : column + block.inputs] = full
            row, column = row + block.outputs, column + block.inputs
        S = self.system
        loop = np.linalg.solve(np.eye(p) - delta @ S.D[:q, :p], delta)  # p = loop (C_q x + D_qd d)
        A = S.A + S.B[:, :p] @ loop @ S.C[:q]
        B = S.B[:, p:] + S.B[:, :p] @ loop @ S.D[:q, p:]
        C = S.C[q:] + S.D[q:, :p] @ loop @ S.C[:q]
        return System(A, B, C, S.D[q:, p:] + S.D[q:, :p] @ loop @ S.D[:q, p:], S.dt)
