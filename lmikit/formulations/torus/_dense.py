"""The torus LMI of a network that ends in an image, dense per frequency, and its barrier's derivatives.

    maximise log F  s.t.  Z(w) = E_0'E_0 + sum_a T_a A_a(w) - F Y(w)'Y(w) > 0  at the frequencies,

A_a = sum over the phases of channel a of p q' + q p', p = e - alpha v, q = e - beta v, the form of the slope
constraint; L^2 = 1/F. With R = Z^-1 every derivative of log det Z comes from P'RP, P'RQ, Q'RQ and Y R.
"""

import dataclasses

import numpy as np

from ._model import TorusModel, conjugate

__all__ = ["Barrier", "DenseTorus"]


@dataclasses.dataclass(frozen=True, eq=False)
class Barrier:
    """The gradient and Hessian of -log det Z in (T, F), summed over the frequencies, and tr R_00 of each."""

    gradient: np.ndarray
    hessian: np.ndarray
    weights: np.ndarray


class DenseTorus:
    """Built once for a set of frequencies; a point is an array (T of all channels node by node, F)."""

    def __init__(self, model: TorusModel) -> None:
        form = model.form
        self.model, self.inputs = model, form.size(0)
        offsets = dict(
            zip(model.sources, np.cumsum([0, *(form.size(s) for s in model.sources)]), strict=False)
        )
        self.order = sum(form.size(s) for s in model.sources)
        count, J = self.order - self.inputs, len(model.frequencies)
        v = np.zeros((J, count, self.order), dtype=complex)
        self.Y = np.zeros((J, next(iter(model.Y.values())).shape[1], self.order), dtype=complex)
        channel, alphas, betas = ([np.zeros(0, dtype=kind)] for kind in (np.int64, float, float))
        for node, k in enumerate(form.nodes):
            top = offsets[k] - self.inputs
            for s, rows in model.V[k].items():
                v[:, top : top + form.size(k), offsets[s] : offsets[s] + form.size(s)] = rows
            first = sum(form.channels[:node])
            channel.append(np.repeat(np.arange(first, first + form.channels[node]), form.repeats(k)))
            for values, slopes in zip((alphas, betas), form.slopes(k), strict=True):
                values.append(np.repeat(slopes, form.repeats(k)))
        for s, rows in model.Y.items():
            self.Y[:, :, offsets[s] : offsets[s] + form.size(s)] = rows
        self.channel = np.concatenate(channel)
        self.size = sum(form.channels) + 1
        unit = np.zeros((count, self.order))
        unit[np.arange(count), np.arange(self.inputs, self.order)] = 1.0
        # rows p', q' of each channel and phase
        self.P, self.Q = (unit - np.concatenate(a)[:, None] * v for a in (alphas, betas))
        self.gram = conjugate(self.Y) @ self.Y
        self.degree = float(J * self.order)

    def matrix(self, point: np.ndarray) -> np.ndarray:
        """Z (J, n, n)."""
        T = point[:-1][self.channel]
        half = conjugate(self.P) @ (T[:, None] * self.Q)
        Z = half + conjugate(half) - point[-1] * self.gram
        index = np.arange(self.inputs)
        Z[:, index, index] += 1.0
        return np.asarray(Z)

    def factor(self, point: np.ndarray) -> np.ndarray | None:
        """The Cholesky factors, or None where a matrix is not definite or a multiplier not positive."""
        if not (point > 0.0).all():
            return None
        try:
            factor = np.linalg.cholesky(self.matrix(point))
        except np.linalg.LinAlgError:
            return None
        return factor if np.isfinite(factor.real).all() else None

    def log_det(self, factor: np.ndarray) -> float:
        """Of all matrices together."""
        return 2.0 * float(np.log(np.diagonal(factor, axis1=1, axis2=2).real).sum())

    def barrier(self, factor: np.ndarray) -> Barrier:
        """At the point of the factors."""
        inverse = np.linalg.inv(factor)
        R = conjugate(inverse) @ inverse
        RP, RQ, RY = (R @ conjugate(a) for a in (self.P, self.Q, self.Y))
        pp, pq, qq = self.P @ RP, self.P @ RQ, self.Q @ RQ
        yp, yq, yy = self.Y @ RP, self.Y @ RQ, self.Y @ RY
        H, g = np.zeros((self.size, self.size)), np.zeros(self.size)
        local = 2.0 * (pq * pq.swapaxes(1, 2) + qq * np.conj(pp)).real.sum(axis=0)
        side = -2.0 * (yp * np.conj(yq)).real.sum(axis=(0, 1))
        H[:-1, :-1] = self._by_channel(self._by_channel(local).T)
        H[:-1, -1] = H[-1, :-1] = self._by_channel(side)
        H[-1, -1] = float((yy * yy.swapaxes(1, 2)).real.sum())
        g[:-1] = -2.0 * self._by_channel(np.einsum("jaa->a", pq).real)
        g[-1] = float(np.einsum("jaa->", yy).real)
        weights = np.einsum("jaa->j", R[:, : self.inputs, : self.inputs]).real
        return Barrier(g, H, weights)

    def _by_channel(self, values: np.ndarray) -> np.ndarray:
        result = np.zeros((self.size - 1, *values.shape[1:]))
        np.add.at(result, self.channel, values)
        return result
