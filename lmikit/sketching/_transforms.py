"""Fast transforms along rows, with nothing but what NumPy and CuPy spell alike."""

from typing import Any

import numpy as np

__all__ = ["dct_rows", "hadamard_rows", "power_of_two_at_least"]


def power_of_two_at_least(n: int) -> int:
    """The smallest power of two that is >= n."""
    return 1 << max(0, n - 1).bit_length()


def hadamard_rows(x: Any) -> Any:
    """x H with H the symmetric +-1 Hadamard matrix in Sylvester's order; x (r, 2**p) is overwritten."""
    rows, n = x.shape
    half = 1
    while half < n:
        pairs = x.reshape(rows, n // (2 * half), 2, half)
        difference = pairs[:, :, 0] - pairs[:, :, 1]
        pairs[:, :, 0] += pairs[:, :, 1]
        pairs[:, :, 1] = difference
        half *= 2
    return x


def dct_rows(xp: Any, x: Any) -> Any:
    """x C with C the orthonormal cosine basis (DCT-II): C_ij = c_j cos(pi (2i + 1) j / (2n)).

    One complex FFT of length n per row (Makhoul, IEEE Trans. ASSP 28, 1980).
    """
    n = x.shape[1]
    order = xp.concatenate([xp.arange(0, n, 2), xp.arange(1, n, 2)[::-1]])
    spectrum = xp.fft.fft(x[:, order], axis=1)
    angle = np.pi / (2 * n) * xp.arange(n)
    scale = xp.full(n, np.sqrt(2.0 / n))
    scale[0] = np.sqrt(1.0 / n)
    result = (spectrum.real * xp.cos(angle) + spectrum.imag * xp.sin(angle)) * scale
    return result.astype(x.dtype, copy=False)
