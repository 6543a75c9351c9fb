"""Symbols: what the maps of the trunk do to one frequency of the torus.

With x^(w) = sum over cells C of x_C e^(-i w.C) per channel and phase, a convolution acts as the matrix

    S(w)[(o, phi), (c, psi)] = sum of K[o, c, a] e^(i w.Q)  over the taps a with  q = s phi + d a - p,
                               Q = floor(q / R), psi = q mod R,  R the phases of what it reads,

w = 2 pi (j_1 / m_1, j_2 / m_2). Rows are ordered by channel, then phase. Real and imaginary parts of a sum
of T products err by at most (T + 2) u sum|K| with roots of unity as floats within u = 2**-53 of the exact
ones; (T + 8) covers that radii are computed in floating point as well.
"""

import dataclasses

import numpy as np

from ..maps import Convolution2d
from ._layout import Pair
from ._roots import float_roots

__all__ = ["Symbol", "half_grid", "head_symbol", "phase_of", "symbol_of", "turns"]

_U = 2.0**-53
_UNDERFLOW = 2.0**-1060


@dataclasses.dataclass(frozen=True, eq=False)
class Symbol:
    """re + i im, both (J, rows, columns), and a radius (rows, columns) of each for all frequencies."""

    re: np.ndarray
    im: np.ndarray
    rad: np.ndarray

    @property
    def adjoint(self) -> "Symbol":
        """The conjugate transpose."""
        return Symbol(self.re.swapaxes(1, 2), -self.im.swapaxes(1, 2), self.rad.T)

    @property
    def value(self) -> np.ndarray:
        """Complex midpoints."""
        return np.asarray(self.re + 1j * self.im)


def half_grid(cells: Pair) -> tuple[np.ndarray, np.ndarray]:
    """(j (J, 2), weights): one of each pair +-j of Z_m1 x Z_m2, weight 2 where they differ.

    Real maps give conjugate symbols at opposite frequencies.
    """
    rows, columns = cells
    a, b = np.divmod(np.arange(rows * columns), columns)
    opposite = (-a % rows) * columns + (-b % columns)
    kept = np.flatnonzero(np.arange(rows * columns) <= opposite)
    return np.stack([a[kept], b[kept]], axis=1), np.where(opposite[kept] == kept, 1.0, 2.0)


def turns(frequencies: np.ndarray, cells: Pair, Q: Pair) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin) of w.Q at the frequencies, floats within 2**-53 of the exact ones."""
    m = int(np.lcm(*cells))
    index = (frequencies[:, 0] * (m // cells[0]) * Q[0] + frequencies[:, 1] * (m // cells[1]) * Q[1]) % m
    cos, sin = float_roots(m)
    return cos[index], sin[index]


def symbol_of(conv: Convolution2d, phases_out: Pair, frequencies: np.ndarray, cells: Pair) -> Symbol:
    """The symbol of a convolution whose output has `phases_out` phases, the input stride times as many."""
    out, _, rows, columns = conv.kernel.shape
    kernel = full_kernel(conv)
    read = phases_out[0] * conv.stride[0], phases_out[1] * conv.stride[1]
    shape = (out, *phases_out, kernel.shape[1], *read)
    re, im = (np.zeros((len(frequencies), *shape)) for _ in range(2))
    size, count = np.zeros(shape), np.zeros(shape)
    for phi in np.ndindex(*phases_out):
        by_phase: dict[Pair, list[tuple[Pair, Pair]]] = {}
        for a in np.ndindex(rows, columns):
            places = [phase_of(conv, phi, a, read, axis) for axis in range(2)]
            by_phase.setdefault((places[0][1], places[1][1]), []).append(((places[0][0], places[1][0]), a))
        for psi, taps in by_phase.items():
            weights = np.stack([kernel[:, :, a[0], a[1]] for _, a in taps])
            roots = [turns(frequencies, cells, Q) for Q, _ in taps]
            here = (slice(None), *phi, slice(None), *psi)
            for part, axis in ((re, 0), (im, 1)):
                terms = np.stack([root[axis] for root in roots], axis=1)
                part[:, *here] = np.tensordot(terms, weights, axes=1)
            size[here], count[here] = np.abs(weights).sum(axis=0), float(len(taps))
    full = out * phases_out[0] * phases_out[1], kernel.shape[1] * read[0] * read[1]
    rad = np.where(size > 0.0, (count + 8.0) * _U * size * (1.0 + 2.0**-20) + count * _UNDERFLOW, 0.0)
    return Symbol(re.reshape(-1, *full), im.reshape(-1, *full), rad.reshape(full))


def phase_of(conv: Convolution2d, phi: Pair, a: Pair, read: Pair, axis: int) -> tuple[int, int]:
    """(cell offset, phase) of what tap a of an output at phase phi reads."""
    line = conv.axes[axis]
    return divmod(line.stride * phi[axis] + line.dilation * a[axis] - line.before, read[axis])


def full_kernel(conv: Convolution2d) -> np.ndarray:
    """The kernel with the zeros of its groups, (out, in, kh, kw)."""
    out, each, rows, columns = conv.kernel.shape
    if conv.groups == 1:
        return np.asarray(conv.kernel)
    full = np.zeros((out, each * conv.groups, rows, columns))
    step = out // conv.groups
    for g in range(conv.groups):
        full[g * step : (g + 1) * step, g * each : (g + 1) * each] = conv.kernel[g * step : (g + 1) * step]
    return full


def head_symbol(
    mid: np.ndarray,
    rad: np.ndarray | None,
    shape: tuple[int, int, int],
    phases: Pair,
    frequencies: np.ndarray,
    cells: Pair,
) -> Symbol:
    """U(w) = sum_P U_P e^(i w.P) for the rows U (r, c h w) of a head, columns by channel, then phase."""
    channels, height, width = shape
    r = mid.shape[0]
    cell_rows, cell_columns = -(-height // phases[0]), -(-width // phases[1])
    padded, spread = (
        np.zeros((r, channels, cell_rows * phases[0], cell_columns * phases[1])) for _ in range(2)
    )
    padded[:, :, :height, :width] = mid.reshape(r, channels, height, width)
    if rad is not None:
        spread[:, :, :height, :width] = rad.reshape(r, channels, height, width)
    split = (r, channels, cell_rows, phases[0], cell_columns, phases[1])
    order = (0, 1, 3, 5, 2, 4)  # channel, phases, then cells
    n, count = channels * phases[0] * phases[1], cell_rows * cell_columns
    by_cell = padded.reshape(split).transpose(order).reshape(r, n, count)
    spread = spread.reshape(split).transpose(order).reshape(r, n, count).sum(axis=2)
    pairs = [turns(frequencies, cells, (p, q)) for p in range(cell_rows) for q in range(cell_columns)]
    cos, sin = (np.stack([pair[i] for pair in pairs]) for i in range(2))  # (count, J)
    re, im = (np.moveaxis(by_cell @ t, 2, 0) for t in (cos, sin))
    radius = (count + 8.0) * _U * np.abs(by_cell).sum(axis=2) + 2.0 * spread + count * _UNDERFLOW
    return Symbol(np.ascontiguousarray(re), np.ascontiguousarray(im), radius * (1.0 + 2.0**-20))
