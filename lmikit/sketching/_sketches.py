"""Random sketches S (n, m), all scaled so that E[S'S] = I and, if not refined, E[SS'] = (m/n) I.

Sources: Halko, Martinsson, Tropp, SIAM Review 53 (2011); Martinsson and Tropp, Acta Numerica 29
(2020), sections 8 and 9. Random numbers come from NumPy on the host, so that one seed gives one
sketch on every device.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._arrays import ArrayModule
from .._errors import OptionError
from ._operators import AbstractOperator
from ._projection import AbstractProjection, DenseProjection, SparseProjection, TransformProjection
from ._random import random_stream
from ._threads import threads_for
from ._transforms import power_of_two_at_least

__all__ = [
    "SKETCHES",
    "AbstractSketch",
    "Gaussian",
    "Haar",
    "PowerRefined",
    "SparseSign",
    "SubsampledCosine",
    "SubsampledHadamard",
    "orthonormal_columns",
]


@dataclasses.dataclass(frozen=True)
class AbstractSketch(abc.ABC):
    """A distribution of n x m matrices, with its options; immutable.

    Laws: equal seeds give equal sketches; E[S'S] = I_m for the oblivious ones.
    """

    name: ClassVar[str]

    def draw(
        self, operator: AbstractOperator, m: int, *, seed: int = 0, block: int = 0
    ) -> AbstractProjection:
        """S of shape (n, m) for an operator with n columns, on its array module and in its dtype.

        `block` selects one of many independent draws of the same seed. Raises OptionError unless
        m is an integer in 1..n and the seed is a non-negative integer.
        """
        n = operator.shape[1]
        check_size(m, n)
        check_seed(seed)
        return self._draw(operator, int(m), random_stream(1, seed, block))

    @abc.abstractmethod
    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection: ...


def check_size(m: Any, n: int) -> None:
    """Raises OptionError unless m is an integer in 1..n."""
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or not 1 <= m <= n:
        raise OptionError(
            f"sketch size m is {m!r}; expected an integer from 1 to {n}, the number of columns."
        )


def check_seed(seed: Any) -> None:
    """Raises OptionError unless seed is a non-negative integer."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise OptionError(f"seed is {seed!r}; expected a non-negative integer.")


def orthonormal_columns(am: ArrayModule, s: Any) -> Any:
    """Q with Q'Q = I from a QR factorisation, signs fixed so that R has a non-negative diagonal."""
    with threads_for(am, 4.0 * s.shape[0] * s.shape[1] ** 2):
        q, r = am.xp.linalg.qr(s)
    signs = am.xp.where(am.xp.diagonal(r) < 0, -1.0, 1.0).astype(s.dtype)
    return q * signs


def _gaussian(operator: AbstractOperator, m: int, rng: np.random.Generator) -> Any:
    # Filled row by row of S', so that a smaller m is a prefix of a larger one.
    values = rng.standard_normal((m, operator.shape[1]), dtype=operator.dtype.type)
    return operator.am.asarray(values, dtype=operator.dtype).T


@dataclasses.dataclass(frozen=True)
class Gaussian(AbstractSketch):
    """Independent normal entries of variance 1/n."""

    name: ClassVar[str] = "gaussian"

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        scale = operator.dtype.type(1.0 / np.sqrt(operator.shape[1]))
        return DenseProjection(_gaussian(operator, m, rng) * scale, operator.am)


@dataclasses.dataclass(frozen=True)
class Haar(AbstractSketch):
    """Orthonormal columns with Haar's distribution: the Q factor of a Gaussian matrix, R_ii > 0."""

    name: ClassVar[str] = "haar"

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        return DenseProjection(orthonormal_columns(operator.am, _gaussian(operator, m, rng)), operator.am)


@dataclasses.dataclass(frozen=True)
class SparseSign(AbstractSketch):
    """Each row of S (column of S') has `nonzeros` random signs at distinct random places.

    nonzeros = 1 is CountSketch. Raises OptionError unless nonzeros is at least 1; more than m is cut to m.
    """

    nonzeros: int = 8
    name: ClassVar[str] = "sparse_sign"

    def __post_init__(self) -> None:
        if not isinstance(self.nonzeros, (int, np.integer)) or self.nonzeros < 1:
            raise OptionError(f"nonzeros is {self.nonzeros!r}; expected an integer of at least 1.")

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        n, count = operator.shape[1], min(int(self.nonzeros), m)
        places = np.empty((n, count), dtype=np.int64)
        for step, top in enumerate(
            range(m - count, m)
        ):  # Floyd's sampling without replacement, all rows at once
            pick = rng.integers(0, top + 1, size=n)
            taken = (places[:, :step] == pick[:, None]).any(axis=1)
            places[:, step] = np.where(taken, top, pick)
        signs = rng.integers(0, 2, size=n * count) * 2.0 - 1.0
        data = (signs * np.sqrt(m / (n * count))).astype(operator.dtype)
        rows = np.repeat(np.arange(n), count)
        return SparseProjection(sp.csr_array((data, (rows, places.ravel())), shape=(n, m)), operator.am)


def _transform(
    kind: str, size: int, operator: AbstractOperator, m: int, rng: np.random.Generator
) -> AbstractProjection:
    signs = rng.integers(0, 2, size=operator.shape[1]) * 2.0 - 1.0
    columns = rng.permutation(size)[:m]
    flips = rng.integers(0, 2, size=m) * 2.0 - 1.0
    return TransformProjection(kind, signs, columns, flips, operator.am, operator.dtype)


@dataclasses.dataclass(frozen=True)
class SubsampledHadamard(AbstractSketch):
    """Random signs times m random columns of the Hadamard matrix, rows cut to n; W S in O(out n log n)."""

    name: ClassVar[str] = "hadamard"

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        return _transform("hadamard", power_of_two_at_least(operator.shape[1]), operator, m, rng)


@dataclasses.dataclass(frozen=True)
class SubsampledCosine(AbstractSketch):
    """Random signs times m random columns of the orthonormal cosine basis, for any n."""

    name: ClassVar[str] = "cosine"

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        return _transform("cosine", operator.shape[1], operator, m, rng)


@dataclasses.dataclass(frozen=True)
class PowerRefined(AbstractSketch):
    """S <- orth((W'W)^power S): subspace iteration from another sketch, orthonormalised at each step.

    (Halko, Martinsson, Tropp 2011, algorithm 4.4.) It depends on the layer, so it obeys no
    distribution law; its Rayleigh-Ritz value never falls when `power` grows.
    """

    base: AbstractSketch = dataclasses.field(default_factory=Gaussian)
    power: int = 4
    name: ClassVar[str] = "power_refined"

    def __post_init__(self) -> None:
        if not isinstance(self.power, (int, np.integer)) or self.power < 0:
            raise OptionError(f"power is {self.power!r}; expected an integer of at least 0.")
        if not isinstance(self.base, AbstractSketch):
            raise OptionError(f"base is {self.base!r}; expected a sketch such as Gaussian().")

    def _draw(self, operator: AbstractOperator, m: int, rng: np.random.Generator) -> AbstractProjection:
        start = self.base._draw(operator, m, rng)
        s = orthonormal_columns(operator.am, start.matrix)
        for _ in range(self.power):
            s = orthonormal_columns(operator.am, operator.gram(s))
        return DenseProjection(s, operator.am, start.matvecs + 2 * int(self.power) * m)


SKETCHES: dict[str, type[AbstractSketch]] = {
    s.name: s for s in (Gaussian, SparseSign, SubsampledHadamard, SubsampledCosine, Haar, PowerRefined)
}
