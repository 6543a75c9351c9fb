"""One convolution on a torus: its norm there is no smaller than that with zero padding.

With cells >= outputs and cells * stride >= size + reach, reach how far taps read outside the image (the
larger of both sides), the image embedded in zeros is read by a circular tap of an output inside its image at
the right position or at a zero: a position -r, 1 <= r <= reach, is cells * stride - r >= size on the torus.
So ||K x|| <= ||K_circular x|| for every image x. Adjoints have the same norm. The circular map is block
diagonal in the unitary Fourier transform of the cells, so that its norm is the largest one of a symbol.
Groups act on disjoint channels: the norm is the largest of theirs.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..maps import Convolution2d
from ._layout import Pair
from ._symbols import Symbol, half_grid, symbol_of

__all__ = ["SingleTorus", "groups_of", "single_tori"]

_MORE = 3  # larger tori that are looked at: any admissible one is valid, and norms differ by some per cent
_CHUNK = 2**23  # numbers of the symbols held at once
_STEPS, _FEW = 12, 3
_SMALL = 2**20  # numbers of all symbols up to which larger tori are looked at


@dataclasses.dataclass(frozen=True, eq=False)
class SingleTorus:
    """A convolution without groups on `cells`, and an estimate of its norm at each of `frequencies`.

    Estimates are lower ones from a few power iterations; they prove nothing and serve to sort.
    """

    conv: Convolution2d
    cells: Pair
    frequencies: np.ndarray
    estimates: np.ndarray

    def symbols(self) -> Iterator[tuple[np.ndarray, Symbol]]:
        """(frequencies, symbols) chunk by chunk, the largest estimates first."""
        order = np.argsort(-self.estimates, kind="stable")
        for chosen in _chunks(self.conv, len(order)):
            points = self.frequencies[order[chosen]]
            yield points, symbol_of(self.conv, (1, 1), points, self.cells)


def groups_of(conv: Convolution2d) -> list[Convolution2d]:
    """The convolutions of the groups, each kernel once."""
    if conv.groups == 1:
        return [conv]
    step, each = conv.kernel.shape[0] // conv.groups, conv.kernel.shape[1]
    kernels = np.unique(conv.kernel.reshape(conv.groups, step, *conv.kernel.shape[1:]), axis=0)
    shape = (each, *conv.input_shape[1:])
    return [
        dataclasses.replace(conv, kernel=np.ascontiguousarray(k), input_shape=shape, groups=1)
        for k in kernels
    ]


def single_tori(conv: Convolution2d) -> list[SingleTorus]:
    """Admissible tori of a convolution without groups, the one with the least estimate first."""
    least = [_least(conv, axis) for axis in range(2)]
    entries = conv.kernel.shape[0] * conv.input_shape[0] * conv.stride[0] * conv.stride[1]
    small = entries * least[0] * least[1] <= _SMALL
    found: list[SingleTorus] = []
    for more in range(1 + _MORE if small else 1):
        cells = least[0] + more * (least[0] > 1), least[1] + more * (least[1] > 1)
        if found and cells == found[-1].cells:
            break
        points, _ = half_grid(cells)
        parts = [
            _estimates(symbol_of(conv, (1, 1), points[c], cells), _STEPS if small else _FEW)
            for c in _chunks(conv, len(points))
        ]
        found.append(SingleTorus(conv, cells, points, np.concatenate(parts)))
    return sorted(found, key=lambda torus: float(torus.estimates.max()))


def _least(conv: Convolution2d, axis: int) -> int:
    line = conv.axes[axis]
    reads = line.reads()
    reach = max(0, -int(reads.min()), int(reads.max()) - (line.size - 1))
    return max(line.outputs, -(-(line.size + reach) // line.stride))


def _chunks(conv: Convolution2d, count: int) -> list[slice]:
    columns = conv.input_shape[0] * conv.stride[0] * conv.stride[1]
    step = max(1, _CHUNK // (conv.kernel.shape[0] * columns))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _estimates(symbol: Symbol, steps: int) -> np.ndarray:
    S = symbol.value
    rng = np.random.default_rng(0)
    x = rng.standard_normal((S.shape[2], 1)) + 1j * rng.standard_normal((S.shape[2], 1))
    x = np.broadcast_to(x, (len(S), *x.shape))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            y = S @ x
            size = np.linalg.norm(x, axis=(1, 2))
            value = np.linalg.norm(y, axis=(1, 2)) / size
            x = np.conj(S.swapaxes(1, 2)) @ (y / size[:, None, None])
    return np.where(np.isfinite(value), value, 0.0)
