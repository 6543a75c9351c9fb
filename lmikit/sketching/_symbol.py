"""Norm bounds of convolutions from their symbol: one small matrix per frequency, whatever the image.

With stride s the operator is part of a block circulant one, W W' of which has at frequency theta the block
H(theta) = sum_l C_l exp(i l theta), C_l = sum_a K_{a + s l} K_a' (a the taps; Sedghi, Gupta, Long,
ICLR 2019, for s = 1). Each tau I - H(theta) is factorised by Cholesky with its rounding errors
accounted for; frequencies between those of a coarse grid are covered by M. Riesz's inequality.
"""

import dataclasses
import math

import numpy as np
import scipy.linalg

from .._arrays import array_module
from .._errors import OptionError
from ._convolution import ConvolutionOperator
from ._random import random_stream
from ._threads import run_all, threads_for, workers_for
from ._types import DeterministicBound

__all__ = ["convolution_bound"]

_U = 2.0**-53
_UNDERFLOW = 2.0**-500  # far above every sum of underflows here, kernels being scaled to entries below 1
_BATCH = 32  # frequencies that are tested with one tau
_SAMPLE = 16  # frequencies that the first tau is estimated from
_MEMORY = 2**31  # bytes, for all threads
_HOST = array_module()
_ESTIMATE_STEPS = 24
_GRID_SHARE = 0.75  # of rtol, for the distance between frequencies; the rest for tau


def convolution_bound(operator: ConvolutionOperator, *, rtol: float = 1e-2) -> DeterministicBound:
    """sigma_max(W) <= value for a convolution W, rounding errors of its own computation included.

    Per axis the image of n pixels with padding p is embedded in a circulant of m steps of the
    stride s: m = n/s for circular padding where s divides n (else the stride is taken as 1: rows of
    W are some rows of that operator, at a looser value), m = ceil((n + p)/s) at least for zeros. The
    norm of that is the largest over its m frequencies of H(theta)^(1/2), and it is at most
    1/cos(pi w/(2 N)) times the largest over N > w equispaced ones, w + 1 the support of the symbol:
    u'K(theta)v times a unit phase is a real trigonometric polynomial of degree w/2 that stays above
    cos((w/2) (theta - theta_0)) times its maximum (M. Riesz, 1914). With N the number that makes the
    factor of all axes at most 1 + 0.75 rtol, an image of m <= 2 N keeps its own m frequencies and has no
    factor; tau is at most rtol/8 or so above the largest
    eigenvalue. The gap to the norm of W itself, a compression for zeros, is not part of rtol.

    Cost: about (4/3) c^3 operations per pair of opposite frequencies, c = out (or in, at stride 1,
    where smaller), in float64 on the host. Assumes IEEE binary64 with rounding to nearest, products
    that are sums of products (not Strassen-like), triangular solves without inverted blocks, and
    cos and sin within 4 units in the last place. Raises OptionError for rtol outside (0, 1).
    """
    if not 0.0 < rtol < 1.0:
        raise OptionError(f"rtol is {rtol!r}; expected a number strictly between 0 and 1.")
    kernel = np.asarray(operator.am.to_numpy(operator.kernel), dtype=np.float64)
    peak = float(np.abs(kernel).max())
    if peak == 0.0:
        return DeterministicBound(0.0, "symbol", 0)
    exponent = math.frexp(peak)[1]
    kernel = np.ldexp(kernel, -exponent)
    axes = _axes(operator, rtol)
    stride = (axes[0].stride, axes[1].stride)
    if stride == (1, 1) and kernel.shape[1] < kernel.shape[0]:
        kernel = kernel.transpose(1, 0, 2, 3)  # K' has the same singular values at every frequency
    shifts, even, odd = _autocorrelation(kernel, stride)
    error = _symbol_error(kernel, len(shifts))
    frequencies = _frequencies(axes[0].grid, axes[1].grid)
    tau = _proven_tau(_Symbol(shifts, even, odd, (axes[0].grid, axes[1].grid)), frequencies, error, rtol)
    square = _up(tau + error + _cholesky_error(tau + error, kernel.shape[0]) + _UNDERFLOW)
    factor = axes[0].factor * axes[1].factor * (1.0 + 16 * _U)
    value = _up(math.sqrt(square) * factor * (1.0 + 16 * _U)) + _UNDERFLOW
    with np.errstate(over="ignore"):
        return DeterministicBound(_up(float(np.ldexp(_up(value), exponent))), "symbol", len(frequencies))


def _up(x: float) -> float:
    return float(np.nextafter(x, np.inf))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis: the stride of the symbol, the number of frequencies, and the factor upon their maximum.

    `exact` says that they are all the frequencies of the circulant.
    """

    stride: int
    grid: int
    factor: float
    exact: bool


def _axes(operator: ConvolutionOperator, rtol: float) -> tuple[_Axis, _Axis]:
    sizes = list(zip(operator.input_shape, operator.output_shape, operator.kernel.shape[2:], strict=True))

    def axis(k: int, target: float) -> _Axis:
        circular = operator.mode == "circular"
        return _axis(*sizes[k], operator.stride[k], operator.padding[k], circular, target)

    allowed = 1.0 + _GRID_SHARE * rtol
    found = [axis(k, math.sqrt(allowed)) for k in range(2)]
    if found[0].exact != found[1].exact:  # the other one gets the share of both
        k = int(found[0].exact)
        found[k] = axis(k, allowed)
    return found[0], found[1]


def _axis(n: int, out: int, taps: int, stride: int, pad: int, circular: bool, target: float) -> _Axis:
    repeats = 1
    if circular and n % stride == 0:
        period = n // stride
        repeats = -(-out // period)
    elif circular:
        period, repeats = n, -(-(stride * (out - 1) + 1) // n)
        stride = 1
    else:
        period = max(-(-(n + pad) // stride), out)
    offsets = [(a - pad) // stride for a in range(taps)]
    width = max(offsets) - min(offsets)
    repeated = math.sqrt(repeats) * (1.0 + 4 * _U)
    if width == 0:
        return _Axis(stride, 1, repeated, True)
    grid = math.ceil(0.5 * width * math.pi / math.acos(1.0 / target)) + 1
    if 2 * grid >= period:
        return _Axis(stride, period, repeated, True)
    lower = math.cos(0.5 * math.pi * width / grid) - 16 * _U
    return _Axis(stride, grid, repeated / lower * (1.0 + 4 * _U), False)


def _frequencies(rows: int, columns: int) -> np.ndarray:
    """One of each pair +-(a, b) of Z_rows x Z_columns, shape (count, 2): opposite symbols are conjugate."""
    a, b = np.divmod(np.arange(rows * columns), columns)
    opposite = (-a % rows) * columns + (-b % columns)
    kept = np.flatnonzero(np.arange(rows * columns) <= opposite)
    return np.stack([a[kept], b[kept]], axis=1)


def _autocorrelation(
    kernel: np.ndarray, stride: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts l of a half plane, 0 first, with C_0 and C_l + C_l' (even) and C_l - C_l' (odd, l != 0)."""
    out, channels, rows, columns = kernel.shape
    taps = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))
    down, right = (rows - 1) // stride[0], (columns - 1) // stride[1]
    shifts = [(a, b) for a in range(down + 1) for b in range(-right, right + 1) if (a, b) >= (0, 0)]
    even = np.empty((len(shifts), out, out))
    odd = np.empty((len(shifts) - 1, out, out))
    with threads_for(_HOST, 2.0 * channels * out * out):
        for k, (a, b) in enumerate(shifts):
            product = np.zeros((out, out))
            for far in np.ndindex(rows, columns):
                near = (far[0] - a * stride[0], far[1] - b * stride[1])
                if 0 <= near[0] < rows and 0 <= near[1] < columns:
                    product += taps[far] @ taps[near].T
            if k == 0:
                even[0] = product
            else:
                np.add(product, product.T, out=even[k])
                np.subtract(product, product.T, out=odd[k - 1])
    return np.array(shifts), even, odd


def _symbol_error(kernel: np.ndarray, shifts: int) -> float:
    """A bound on |computed - exact| H(theta) in the spectral norm.

    |C_l| <= sum_a |K_{a+sl}|_F |K_a|_F, and over all l that sums to at most S^2, S = sum_a |K_a|_F. Sums
    of m products err by m u relatively to that (Jeannerod and Rump, 2013), m = in taps; adding and
    combining the 2 shifts - 1 terms by 2 shifts + 4 more, each exponential by at most 64 u.
    """
    taps = kernel.shape[2] * kernel.shape[3]
    squares = (kernel * kernel).sum(axis=(0, 1))
    length = kernel.shape[0] * kernel.shape[1]
    total = float(np.sqrt(squares).sum()) * (1.0 + (2.0 * length + taps + 8) * _U)
    return _up((kernel.shape[1] * taps + 4.0 * shifts + 80.0) * _U * total * total * 1.01)


def _cholesky_error(trace_entry: float, n: int) -> float:
    """lambda_max(H) - tau where Cholesky of tau I - H completes, at most.

    R*R = B + E with |E_ij| <= g |r_i| |r_j|, so |E|_2 <= g/(1 - g) tr B (Higham, Accuracy and Stability,
    theorem 10.3; Rump, BIT 46, 2006); complex arithmetic is within g = 8 (n + 8) u.
    """
    g = 8.0 * (n + 8.0) * _U
    return _up((g / (1.0 - g) * n + 4 * _U) * trace_entry * (1.0 + 16 * _U))


@dataclasses.dataclass(frozen=True)
class _Symbol:
    """H at points of the grid."""

    shifts: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    grid: tuple[int, int]

    def at(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(real, imaginary) parts of H at one point, each (n, n)."""
        real, imaginary = self.at_all(point[None])
        return real[0], imaginary[0]

    def at_all(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(real, imaginary) parts of H, each (count, n, n)."""
        n = self.even.shape[1]
        turns = [np.outer(points[:, k], self.shifts[:, k]) % self.grid[k] / self.grid[k] for k in range(2)]
        angles = 2.0 * np.pi * ((turns[0] + turns[1]) % 1.0)
        real = np.cos(angles) @ self.even.reshape(len(self.shifts), n * n)
        imaginary = np.sin(angles[:, 1:]) @ self.odd.reshape(len(self.shifts) - 1, n * n)
        return real.reshape(-1, n, n), imaginary.reshape(-1, n, n)


def _proven_tau(symbol: _Symbol, points: np.ndarray, error: float, rtol: float) -> float:
    """tau with tau I - H computed, factorised at every point: in order, and raised where one fails."""
    n = symbol.even.shape[1]
    step = 1.0 + 0.25 * rtol
    flops = 4.0 / 3.0 * n**3
    workers = min(_BATCH, workers_for(_HOST, flops * _BATCH), max(1, _MEMORY // (96 * n * n)))
    with threads_for(_HOST, flops if workers == 1 else 0.0):
        sample = points[:: max(1, len(points) // _SAMPLE)]
        tau = step * max(_top_estimate(*symbol.at(point)) for point in sample)
        tau = max(tau, error)
        for first in range(0, len(points), _BATCH):
            batch = points[first : first + _BATCH]
            for k in np.flatnonzero(~_all_positive(symbol, batch, tau, workers)):
                real, imaginary = symbol.at(batch[k])
                while not _is_positive(tau, real, imaginary):
                    tau = step * max(tau, _top_estimate(real, imaginary))
    return tau


def _all_positive(symbol: _Symbol, points: np.ndarray, tau: float, workers: int) -> np.ndarray:
    """`_is_positive` at each point, on threads of its own."""
    result = np.zeros(len(points), dtype=bool)

    def test(first: int, last: int) -> None:
        real, imaginary = symbol.at_all(points[first:last])
        for k in range(first, last):
            result[k] = _is_positive(tau, real[k - first], imaginary[k - first])

    n = symbol.even.shape[1]
    together = min(8, max(1, 2**25 // (16 * n * n)))  # symbols from one product
    parts = [(k, min(k + together, len(points))) for k in range(0, len(points), together)]
    run_all(test, parts, workers)
    return result


def _top_estimate(real: np.ndarray, imaginary: np.ndarray) -> float:
    """A value near lambda_max of the Hermitian real + i imaginary: plain Lanczos. It bounds nothing."""
    matrix = real + 1j * imaginary
    vector = random_stream(3, 0).standard_normal(len(real)).astype(np.complex128)
    vector /= np.linalg.norm(vector)
    before, beta = np.zeros_like(vector), 0.0
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(_ESTIMATE_STEPS):
        image = matrix @ vector - beta * before
        diagonal.append(float(np.vdot(vector, image).real))
        image -= diagonal[-1] * vector
        beta = float(np.linalg.norm(image))
        if beta <= 1e-10 * abs(diagonal[0]) or len(diagonal) == len(real):
            break
        off.append(beta)
        before, vector = vector, image / beta
    size = len(diagonal)
    top = (
        scipy.linalg.eigvalsh_tridiagonal(np.array(diagonal), np.array(off[: size - 1]))
        if size > 1
        else diagonal
    )
    return float(top[-1])


def _is_positive(tau: float, real: np.ndarray, imaginary: np.ndarray) -> bool:
    """Whether Cholesky of tau I - H completes; its lower triangle is read."""
    matrix = np.empty(real.shape, dtype=np.complex128)
    np.negative(real, out=matrix.real)
    np.negative(imaginary, out=matrix.imag)
    diagonal = np.arange(len(real))
    matrix[diagonal, diagonal] = tau - real[diagonal, diagonal]
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    # An entry that is not finite makes the diagonal entry of its row NaN or infinite.
    pivots = factor[diagonal, diagonal].real
    return bool(np.isfinite(pivots).all() and (pivots > 0.0).all())
