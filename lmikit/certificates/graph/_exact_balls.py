"""Matrices of integers with radii, for numbers that are not rational: symbols on a torus.

mid and rad are `ExactMatrix`; the ball holds every matrix A with |A - mid| <= rad, entry by entry. Sums and
products follow from |A B - mid_A mid_B| <= |mid_A| rad_B + rad_A |mid_B| + rad_A rad_B, without rounding.
Roots of unity come as integers over 2**BITS within one unit (`lmikit.torus._roots`).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ...maps import Convolution2d
from ...torus._roots import integer_roots
from ...torus._single import groups_of, single_tori
from ...torus._symbols import full_kernel, phase_of
from ._exact_dominance import matrix_margin
from ._exact_matrix import ExactMatrix

__all__ = ["ExactBall", "exact_convolution_margin", "exact_symbol", "exact_turn"]

BITS = 96
_FAR = 1e-6
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class ExactBall:
    """Every matrix within rad of mid; rad None is zero."""

    mid: ExactMatrix
    rad: ExactMatrix | None = None

    @property
    def T(self) -> "ExactBall":
        return ExactBall(self.mid.T, None if self.rad is None else self.rad.T)

    def __add__(self, other: "ExactBall") -> "ExactBall":
        if self.rad is None or other.rad is None:
            return ExactBall(self.mid + other.mid, self.rad or other.rad)
        return ExactBall(self.mid + other.mid, self.rad + other.rad)

    def __neg__(self) -> "ExactBall":
        return ExactBall(-self.mid, self.rad)

    def __matmul__(self, other: "ExactBall") -> "ExactBall":
        parts = []
        if other.rad is not None:
            parts.append(_size(self.mid) @ other.rad)
        if self.rad is not None:
            parts.append(self.rad @ _size(other.mid))
        if self.rad is not None and other.rad is not None:
            parts.append(self.rad @ other.rad)
        rad = None if not parts else sum(parts[1:], start=parts[0])
        return ExactBall(self.mid @ other.mid, rad)

    def rows_times(self, factors: ExactMatrix) -> "ExactBall":
        """diag(factors) times this, factors (n, 1)."""
        mid = ExactMatrix(self.mid.values * factors.values, self.mid.power + factors.power)
        if self.rad is None:
            return ExactBall(mid)
        return ExactBall(
            mid, ExactMatrix(self.rad.values * abs(factors.values), self.rad.power + factors.power)
        )


def _size(e: ExactMatrix) -> ExactMatrix:
    return ExactMatrix(abs(e.values), e.power)


def exact_turn(point: Pair, cells: Pair, Q: Pair) -> tuple[int, int]:
    """(cos, sin) of w.Q times 2**BITS, within one unit."""
    m = int(np.lcm(*cells))
    turn = (point[0] * (m // cells[0]) * Q[0] + point[1] * (m // cells[1]) * Q[1]) % m
    return integer_roots(m, BITS)[turn]


def exact_symbol(conv: Convolution2d, phases_out: Pair, point: Pair, cells: Pair) -> ExactBall:
    """[[re, -im], [im, re]] of the symbol at one frequency."""
    kernel = ExactMatrix.of(full_kernel(conv).reshape(-1, 1))
    out, each = conv.kernel.shape[0], conv.input_shape[0]
    taps = kernel.values.reshape(out, each, *conv.kernel.shape[2:])
    read = phases_out[0] * conv.stride[0], phases_out[1] * conv.stride[1]
    shape = (out, *phases_out, each, *read)
    re, im, rad = (np.zeros(shape, dtype=object) for _ in range(3))
    for phi in np.ndindex(*phases_out):
        for a in np.ndindex(*conv.kernel.shape[2:]):
            places = [phase_of(conv, phi, a, read, axis) for axis in range(2)]
            cos, sin = exact_turn(point, cells, (places[0][0], places[1][0]))
            here = (slice(None), *phi, slice(None), places[0][1], places[1][1])
            weights = taps[:, :, a[0], a[1]]
            re[here] = re[here] + weights * cos
            im[here] = im[here] + weights * sin
            rad[here] = rad[here] + abs(weights)
    full = out * phases_out[0] * phases_out[1], each * read[0] * read[1]
    return as_real(re.reshape(full), im.reshape(full), rad.reshape(full), kernel.power + BITS)


def as_real(re: np.ndarray, im: np.ndarray, rad: np.ndarray, power: int) -> ExactBall:
    """The real form of re + i im, each within rad."""
    mid = np.vstack([np.hstack([re, -im]), np.hstack([im, re])])
    return ExactBall(ExactMatrix(mid, power), ExactMatrix(np.tile(rad, (2, 2)), power))


def exact_convolution_margin(conv: Convolution2d, gain: float) -> float:
    """The margin for ||K||_2 <= gain on one of the tori, nonnegative where proven."""
    return min((_group_margin(group, gain) for group in groups_of(conv) if group.kernel.any()), default=0.0)


def _group_margin(group: Convolution2d, gain: float) -> float:
    best = -np.inf
    for torus in single_tori(group):
        if float(torus.estimates.max()) > gain * (1.0 + _FAR):
            continue
        order = np.argsort(-torus.estimates, kind="stable")
        margin = np.inf
        for found in _margins(group, torus.cells, torus.frequencies[order], gain):
            margin = min(margin, found)
            if margin < 0.0:
                break
        best = max(best, float(margin))
        if best >= 0.0:
            break
    return best


def _margins(conv: Convolution2d, cells: Pair, points: np.ndarray, gain: float) -> Iterator[float]:
    for point in points:
        S = exact_symbol(conv, (1, 1), (int(point[0]), int(point[1])), cells)
        rows, columns = S.mid.shape
        assert S.rad is not None
        blocks = {
            (0, 0): ExactMatrix.of(np.diag(np.full(columns, gain))),
            (1, 1): ExactMatrix.of(np.diag(np.full(rows, gain))),
            (1, 0): S.mid,
        }
        yield matrix_margin(blocks, [0, 1], {(1, 0): S.rad})
