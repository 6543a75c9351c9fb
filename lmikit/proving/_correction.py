"""Multipliers corrected to stationarity in floating point, in their own metric.

x <- x + P(x) T'w with (T P(x) T') w = c + H u - T x: for a block X the step is X F*(w) X, which keeps
small eigenvalues positive where X + F*(w) would not. Nothing here is a proof.
"""

import functools
import warnings

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..certificates.sdp._data import Cone

__all__ = ["Corrector", "onto_equalities"]

_LARGEST_WORK = 4e9  # m times the sum of cubed orders, beyond which the plain step has to do

_LARGEST_IMAGES = 3e7  # entries of P(x) T'


class Corrector:
    """Corrections for one cone (one set of equations `keep`)."""

    def __init__(self, cone: Cone, keep: np.ndarray) -> None:
        self.cone, self.keep = cone, keep
        self.T = sp.csr_array(cone.T[keep])

    @functools.cached_property
    def blocks(self) -> list[list[tuple[int, sp.csr_array]]]:
        """Per block, the equations that it enters with their symmetric matrices."""
        result = []
        for n, part in zip(self.cone.layout.psd, self.cone.layout.psd_slices(), strict=True):
            rows = sp.csr_array(self.T[:, part])
            high = np.floor((np.sqrt(8.0 * np.arange(part.stop - part.start) + 1) - 1) / 2).astype(np.int64)
            low = np.arange(part.stop - part.start) - high * (high + 1) // 2
            own = []
            for i in np.flatnonzero(np.diff(rows.indptr)).tolist():
                entries = slice(rows.indptr[i], rows.indptr[i + 1])
                r, q, v = low[rows.indices[entries]], high[rows.indices[entries]], rows.data[entries]
                off = r != q
                index = (np.r_[r, q[off]], np.r_[q, r[off]])
                own.append((i, sp.csr_array((np.r_[v, v[off]], index), shape=(n, n))))
            result.append(own)
        return result

    def defect(self, x: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of the equations that are kept."""
        return right[self.keep] - self.T @ (self.cone.weight * x)

    def __call__(self, x: np.ndarray, right: np.ndarray, steps: int = 3) -> np.ndarray:
        """The corrected point; `right` is c + H u."""
        if self.affordable():
            for _ in range(steps):
                moved = self._own_metric(x, right)
                if moved is None:
                    break
                x = moved
        return x

    def affordable(self) -> bool:
        """Whether the images of all equations fit into memory and time."""
        m, shape = self.T.shape[0], self.cone.layout
        work = m * sum(float(n) ** 3 for n in shape.psd)
        return work <= _LARGEST_WORK and m * shape.total <= _LARGEST_IMAGES

    def images(self, left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
        """Columns: (L F_i R + R F_i L)/2 on the blocks, zero elsewhere; (total, m)."""
        shape = self.cone.layout
        images = np.zeros((shape.total, self.T.shape[0]))
        for k, part in enumerate(shape.psd_slices()):
            for i, F in self.blocks[k]:
                Y = left[k] @ (F @ right[k])
                images[part, i] = shape.pack([(Y + Y.T) / 2], [])
        return images

    def _own_metric(self, x: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        d = self.defect(x, right)
        if not np.abs(d).max(initial=0.0) > 0:
            return None
        cone, shape = self.cone, self.cone.layout
        blocks = [shape.matrix(x, k) for k in range(len(shape.psd))]
        images = self.images(blocks, blocks)
        line = shape.linear_slice
        images[line] = (x[line] ** 2)[:, None] * self.T.T[line].toarray()
        for part in shape.soc_slices():
            s, C = x[part], self.T.T[part].toarray()
            if s.size:
                flip = np.r_[1.0, -np.ones(s.size - 1)]
                images[part] = 2 * np.outer(s, s @ C) - (s[0] ** 2 - s[1:] @ s[1:]) * flip[:, None] * C
        free = float(np.abs(x).max(initial=0.0)) ** 2 + 1.0
        images[shape.zero_slice] = free * self.T.T[shape.zero_slice].toarray()
        M = self.T @ (cone.weight[:, None] * images)
        w = _solve((M + M.T) / 2, d)
        return None if w is None else x + images @ w


def _solve(M: np.ndarray, d: np.ndarray) -> np.ndarray | None:
    diagonal = np.diagonal(M)
    if not (np.isfinite(M).all() and (diagonal > 0).all()):
        return None
    scale = 1.0 / np.sqrt(diagonal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            w = scale * scipy.linalg.solve(M * scale[:, None] * scale, scale * d, assume_a="sym")
        except (np.linalg.LinAlgError, ValueError):
            return None
    return w if np.isfinite(w).all() else None


def onto_equalities(A: sp.csc_array, b: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y moved to A y = b by least squares, twice."""
    if not b.size:
        return y
    dense = A.toarray()
    for _ in range(2):
        y = y + np.linalg.lstsq(dense, b - A @ y, rcond=None)[0]
    return y
