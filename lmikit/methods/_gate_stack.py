"""The dual of `_gate_dual` for many chains of equal shapes: one call of the array module serves them all.

Small chains cost the interpreter more than the arithmetic; the arrays here have the chains as their first
axis, (chains, columns, neurons). Each chain has its own gates, its own mixing (Anderson, J. ACM 1965) and its
own multipliers, T_a = |g_a| / (2 r_a |u_a|), which are tilted into the feasible set as in `_burer_monteiro`.
They are tried when a chain's gates have nearly stopped to move: the multipliers are then off by as much.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import ArrayModule
from ._gates import FRESH, MIXED, REGULAR, RELATIVE_FLOOR, ROUNDING, SHORTEST, TINY
from ._recursion import COMPACT_RATIO, EliminatedChain

__all__ = ["GateStack", "StackAscent", "feasible_tilts"]

_PLAIN = 4  # steps before the first mixed one
_LEAST_TILT, _MOST_TILT, _TILT_FACTOR = 1e-12, 2.0, 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class StackPoint:
    """Per chain: gates and input of unit length, their value, and where the iteration goes."""

    x: Any  # (chains, columns, inputs + neurons)
    value: Any
    image: Any


class GateStack:
    """Chains of equal shapes on the device of an array module."""

    def __init__(self, am: ArrayModule, chains: Sequence[EliminatedChain]) -> None:
        self.am, self.chains = am, tuple(chains)
        dims = [chains[0].weights[0].shape[1], *(w.shape[0] for w in chains[0].weights)]
        ends = np.cumsum(dims[:-1])
        self._rows = [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        self.size = int(ends[-1])
        self.weights = [self._stacked([c.weights[k] for c in chains]) for k in range(len(dims) - 1)]
        hidden = range(len(dims) - 2)
        self.centre = [self._stacked([c.centre[k] for c in chains])[:, None] for k in hidden]
        self.radius = [self._stacked([c.radius[k] for c in chains])[:, None] for k in hidden]
        floors = [self._stacked([c.kappa[k] * c.gain[k] for c in chains])[:, None] for k in hidden]
        self.floored = [am.xp.maximum(r, f) for r, f in zip(self.radius, floors, strict=True)]

    def _stacked(self, parts: Sequence[np.ndarray]) -> Any:
        return self.am.asarray(np.stack(parts))

    def chosen(self, index: np.ndarray) -> "GateStack":
        """The chains with these numbers."""
        return self if index.size == len(self.chains) else GateStack(self.am, [self.chains[i] for i in index])

    def random(self, rank: int, rng: np.random.Generator) -> Any:
        """Gates of no preference, the same ones for every chain."""
        one = self.am.asarray(rng.standard_normal((1, rank, self.size)))
        return self.unit(one + self.am.xp.zeros((len(self.chains), 1, 1)))

    def unit(self, x: Any) -> Any:
        """Columns of length 1, those of the input together."""
        return x / self.am.xp.maximum(self._sizes(x), TINY)

    def at(self, x: Any) -> StackPoint:
        """Value and image of the point x."""
        xp = self.am.xp
        u, _, lengths, y = self._forward(x)
        g = xp.matmul(2.0 * y, self.weights[-1])
        image = xp.empty_like(x)
        for k in range(len(u) - 1, -1, -1):
            image[:, :, self._rows[k + 1]] = g
            g = xp.matmul(self._pulled(k, x, u[k], lengths[k], g), self.weights[k])
        image[:, :, self._rows[0]] = g
        sizes = self._sizes(image)
        # a gate that nothing depends on stays where it is
        image = xp.where(sizes > 0.0, image / xp.maximum(sizes, TINY), x)
        return StackPoint(x, (y * y).sum(axis=(1, 2)), image)

    def inverse_multipliers(self, x: Any) -> list[Any]:
        """Per layer d_a = rho / T_a = 2 rho r_a |u_a| / |g_a| of the point, (chains, neurons).

        |u_a| and |g_a| are kept away from 0, where rounding or a point of low rank decides about them.
        """
        xp = self.am.xp
        u, values, lengths, y = self._forward(x)
        value = (y * y).sum(axis=(1, 2))[:, None, None]
        behind, result = 2.0 * y, []
        for k in range(len(u) - 1, -1, -1):
            g = xp.matmul(behind, self.weights[k + 1])
            least_g = self._spread(behind, self.weights[k + 1])
            least_u = self._spread(values[k], self.weights[k].swapaxes(1, 2))
            size_u = xp.maximum(lengths[k], RELATIVE_FLOOR * least_u)
            size_g = xp.maximum(_lengths(xp, g), RELATIVE_FLOOR * least_g)
            result.append((2.0 * value * self.floored[k] * size_u / xp.maximum(size_g, TINY))[:, 0])
            behind = self._pulled(k, x, u[k], lengths[k], g)
        return result[::-1]

    def least_rho(self, d: Sequence[Any]) -> Any:
        """rho of Lemma 1 of `_recursion` for Lambda_k = 1/d[k-1], per chain; infinite where infeasible."""
        xp = self.am.xp
        good = xp.ones(len(self.chains), dtype=bool)
        gram = xp.matmul(self.weights[0], self.weights[0].swapaxes(1, 2))
        for k, d_k in enumerate(d):
            c, r, following = self.centre[k], self.radius[k], self.weights[k + 1]
            flipped = following.swapaxes(1, 2)
            matrix = gram * (-r) * r.swapaxes(1, 2)
            diagonal = xp.arange(d_k.shape[1])
            matrix[:, diagonal, diagonal] += d_k
            if bool((xp.abs(c) <= COMPACT_RATIO * r).all()):
                ratio = (c / xp.where(r > 0.0, r, 1.0))[:, 0]
                gram, positive = self._sandwiched(matrix, (d_k * ratio)[:, :, None] * flipped)
                rest = (1.0 - ratio * ratio) * d_k
                if bool(rest.any()):
                    gram = gram + xp.matmul(following * rest[:, None], flipped)
            else:
                inner, positive = self._sandwiched(matrix, r.swapaxes(1, 2) * gram * c)
                inner = inner + c.swapaxes(1, 2) * gram * c
                inner[:, diagonal, diagonal] += d_k
                gram = xp.matmul(xp.matmul(following, inner), flipped)
            good = good & positive
        good = good & xp.isfinite(gram).all(axis=(1, 2))
        gram = xp.where(good[:, None, None], gram, 0.0)
        rho = gram[:, 0, 0] if gram.shape[1] == 1 else xp.linalg.eigvalsh(gram)[:, -1]
        return xp.where(good & (rho > 0.0), rho, xp.inf)

    def _sandwiched(self, k: Any, b: Any) -> tuple[Any, Any]:
        """(B'K^-1 B per chain, whether K is positive definite there)."""
        am, xp = self.am, self.am.xp
        found, positive = xp.zeros((b.shape[0], b.shape[2], b.shape[2])), np.ones(b.shape[0], dtype=bool)
        for i in range(b.shape[0]):  # one that fails must not take the others with it
            factor = am.cholesky(k[i])
            positive[i] = factor is not None
            if factor is not None:
                half = am.solve_triangular(factor, b[i])
                found[i] = am.product(half.T, half)
        return found, xp.asarray(positive)

    def _forward(self, x: Any) -> tuple[list[Any], list[Any], list[Any], Any]:
        """(u_k, w_k from the input on, |u_k|, Y w_L)."""
        xp = self.am.xp
        u, values, lengths = [], [x[:, :, self._rows[0]]], []
        for k, rows in enumerate(self._rows[1:]):
            u.append(xp.matmul(values[-1], self.weights[k].swapaxes(1, 2)))
            lengths.append(_lengths(xp, u[-1]))
            values.append(self.centre[k] * u[-1] + (self.radius[k] * lengths[-1]) * x[:, :, rows])
        return u, values, lengths, xp.matmul(values[-1], self.weights[-1].swapaxes(1, 2))

    def _pulled(self, k: int, x: Any, u: Any, length: Any, g: Any) -> Any:
        """The derivative with respect to u_k: c g + r (g's) u/|u|."""
        along = (g * x[:, :, self._rows[k + 1]]).sum(axis=1)[:, None]
        return self.centre[k] * g + (self.radius[k] * along / self.am.xp.maximum(length, TINY)) * u

    def _sizes(self, x: Any) -> Any:
        sizes = _lengths(self.am.xp, x)
        first = self._rows[0]
        sizes[:, :, first] = self.am.xp.sqrt((sizes[:, :, first] ** 2).sum(axis=2))[:, :, None]
        return sizes

    def _spread(self, x: Any, w: Any) -> Any:
        """Lengths of the columns of X W if the columns of X were orthogonal to each other."""
        return self.am.xp.sqrt(self.am.xp.matmul((x * x).sum(axis=1)[:, None], w * w))


class StackAscent:
    """Anderson's mixing on s <- g/|g|, chain by chain; the value of no chain falls."""

    def __init__(self, stack: GateStack, rank: int, seed: int = 0) -> None:
        self.stack, self._rng = stack, np.random.default_rng(seed)
        self._begin(stack.at(stack.random(rank, self._rng)))

    def _begin(self, point: StackPoint) -> None:
        xp, (members, rank, size) = self.stack.am.xp, point.x.shape
        self.point = point
        self._differences = xp.zeros((members, MIXED, rank * size))
        self._images = xp.zeros((members, MIXED, rank * size))
        self._gram = xp.zeros((members, MIXED, MIXED))
        self._steps = xp.zeros(members, dtype=int)  # since the history of a chain was forgotten
        self._before: tuple[Any, Any] | None = None
        self._count = 0

    @property
    def rank(self) -> int:
        return int(self.point.x.shape[1])

    def moving(self) -> np.ndarray:
        """Per chain how far the gate that moves most would move."""
        xp = self.stack.am.xp
        apart = _lengths(xp, self.point.image - self.point.x)
        return self.stack.am.to_numpy(apart.max(axis=2))[:, 0]

    def step(self) -> None:
        """One iterate of every chain; a mixed one of lower value is replaced by the plain one."""
        xp, start = self.stack.am.xp, self.point
        residual = start.image - start.x
        self._remember(residual, start.image)
        trace = xp.trace(self._gram, axis1=1, axis2=2)
        mixing = (self._steps > _PLAIN) & (trace > 0.0)
        trial = start.image
        if bool(mixing.any()):
            mixed = self.stack.unit(start.image - self._correction(residual, trace))
            trial = xp.where(mixing[:, None, None], mixed, start.image)
        self.point = self.stack.at(trial)
        self._steps += 1
        fallen = self.point.value < start.value * xp.where(mixing, 1.0, 1.0 - ROUNDING)
        share = 1.0
        while bool(fallen.any()) and share > SHORTEST:
            index = np.flatnonzero(self.stack.am.to_numpy(fallen))
            self._forget(index)
            self._replace(index, self.stack.unit(start.x + share * residual)[index])
            fallen = self.point.value < start.value * (1.0 - ROUNDING)
            share *= 0.5

    def keep(self, index: np.ndarray) -> None:
        """Go on with these chains alone."""
        self.stack = self.stack.chosen(index)
        p = self.point
        self.point = StackPoint(p.x[index], p.value[index], p.image[index])
        self._differences, self._images = self._differences[index], self._images[index]
        self._gram, self._steps = self._gram[index], self._steps[index]
        if self._before is not None:
            self._before = self._before[0][index], self._before[1][index]

    def widen(self, rank: int) -> None:
        """More columns, small and random, so that a point that is stationary at its rank can go on."""
        fresh = FRESH * self.stack.random(rank - self.rank, self._rng)
        x = self.stack.am.xp.concatenate([self.point.x, fresh], axis=1)
        self._begin(self.stack.at(self.stack.unit(x)))

    def _remember(self, residual: Any, image: Any) -> None:
        xp, members = self.stack.am.xp, residual.shape[0]
        if self._before is not None:
            slot = self._count % MIXED
            known = (self._steps > 0)[:, None]
            change = xp.where(known, (residual - self._before[0]).reshape(members, -1), 0.0)
            self._differences[:, slot] = change
            self._images[:, slot] = xp.where(known, (image - self._before[1]).reshape(members, -1), 0.0)
            row = xp.matmul(self._differences, change[:, :, None])[:, :, 0]
            self._gram[:, slot] = row
            self._gram[:, :, slot] = row
            self._count += 1
        self._before = residual, image

    def _correction(self, residual: Any, trace: Any) -> Any:
        """sum_j gamma_j (differences of images), gamma least squares on those of residuals."""
        xp, members = self.stack.am.xp, residual.shape[0]
        right = xp.matmul(self._differences, residual.reshape(members, -1, 1))
        ridge = xp.where(trace > 0.0, REGULAR * trace, 1.0)[:, None, None]
        gamma = xp.linalg.solve(self._gram + ridge * xp.eye(MIXED), right)
        return xp.matmul(gamma.swapaxes(1, 2), self._images).reshape(residual.shape)

    def _forget(self, index: np.ndarray) -> None:
        self._differences[index] = 0.0
        self._images[index] = 0.0
        self._gram[index] = 0.0
        self._steps[index] = 0

    def _replace(self, index: np.ndarray, x: Any) -> None:
        found = self.stack.chosen(index).at(x)
        for whole, part in zip(
            (self.point.x, self.point.value, self.point.image),
            (found.x, found.value, found.image),
            strict=True,
        ):
            whole[index] = part


def feasible_tilts(stack: GateStack, d: Sequence[Any], first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per chain (the least rho found, its tilt e): Lambda_k (1 + e)^-k, from the tilt `first` on.

    Upwards until it is feasible, else downwards for as long as rho falls; infinite where nothing is.
    """
    am = stack.am

    def rho_at(index: np.ndarray, e: np.ndarray) -> np.ndarray:
        part = stack.chosen(index)
        tilts = am.asarray(1.0 + e)[:, None]
        return am.to_numpy(part.least_rho([x[index] * tilts**k for k, x in enumerate(d, start=1)]))

    tilt, everyone = first.copy(), np.arange(first.size)
    rho = rho_at(everyone, tilt)
    rising = ~np.isfinite(rho)
    active = everyone
    while active.size:
        trial = np.where(rising[active], _TILT_FACTOR, 1.0 / _TILT_FACTOR) * tilt[active]
        within = (trial <= _MOST_TILT) & (trial >= _LEAST_TILT)
        active, trial = active[within], trial[within]
        if not active.size:
            break
        found = rho_at(active, trial)
        better = found < rho[active]
        tilt[active] = np.where(better | rising[active], trial, tilt[active])
        rho[active] = np.minimum(found, rho[active])
        active = active[np.where(rising[active], ~np.isfinite(found), better)]
    return rho, tilt


def _lengths(xp: Any, x: Any) -> Any:
    return xp.sqrt((x * x).sum(axis=1))[:, None]
