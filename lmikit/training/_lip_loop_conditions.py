"""What ADMM needs of a condition: K(weights, multipliers), its adjoint, and the projection onto the set."""

import abc
import itertools
from collections.abc import Sequence

import numpy as np

from .._errors import InputError
from ..methods import LipSDP
from ..network import Network, Slopes
from ..reductions import as_stored
from ..solvers import AbstractSolver
from ._callback import Arrays, read_only
from ._lip_loop_sets import ConvexSet, Point, chain_set, joint_set, strictly_lower
from ._weights import Layout

__all__ = ["AbstractCondition", "ChainCondition", "JointCondition"]

_FLOOR = 1e-9  # least multiplier, relative to the largest of its array


class AbstractCondition(abc.ABC):
    """A convex set of points and the change of variables K(weights, t) into it, affine in t.

    Laws: <R, dK> = <pull(R), d weights>; `best` minimises |K(weights, t) - V| over t > 0; a
    point of the set at t > 0 belongs to weights whose network has L <= target.
    """

    layout: Layout
    set: ConvexSet

    @abc.abstractmethod
    def network(self, weights: Sequence[np.ndarray]) -> Network:
        """The network that is certified."""

    def with_scaled_output(self, weights: Sequence[np.ndarray], factor: float) -> Arrays:
        """The weights of factor * f."""
        return self.layout.with_scaled_output(weights, factor)

    @abc.abstractmethod
    def start(self, weights: Sequence[np.ndarray]) -> Point:
        """Positive multipliers to begin with."""

    @abc.abstractmethod
    def image(self, weights: Sequence[np.ndarray], t: Point) -> Point:
        """K(weights, t)."""

    @abc.abstractmethod
    def metric(self, t: Point) -> Point:
        """Weights of the entries of a point, so that distances are about those of the weights at t."""

    @abc.abstractmethod
    def pull(self, t: Point, residual: Point) -> list[np.ndarray | None]:
        """The adjoint of dK/dweights at t applied to a point; None where a weight plays no part."""

    @abc.abstractmethod
    def best(self, weights: Sequence[np.ndarray], point: Point) -> Point:
        """The multipliers whose image is nearest to `point`, in any metric of `metric`."""

    @abc.abstractmethod
    def recover(self, weights: Sequence[np.ndarray], point: Point) -> Arrays:
        """Weights whose image at the point's own multipliers is `point`; biases are those of `weights`."""

    @abc.abstractmethod
    def project(
        self, point: Point, metric: Point, solver: AbstractSolver | None, warm: np.ndarray | None
    ) -> tuple[Point, np.ndarray]:
        """(the nearest point of the set, variables to start the next projection from)."""


def _inverse_squares(t: np.ndarray) -> np.ndarray:
    """1/t^2, for t down to a thousandth of the largest."""
    return 1.0 / np.maximum(t, 1e-3 * float(t.max(initial=1e-300))) ** 2


def _positive(t: np.ndarray) -> np.ndarray:
    return np.maximum(t, _FLOOR * max(float(t.max(initial=0.0)), 1e-300))


class ChainCondition(AbstractCondition):
    """K = (T_k W_{k-1}, W_l, t): chains stay chains."""

    def __init__(self, layout: Layout, network: Network, target: float) -> None:
        self.layout, self.target = layout, target
        self.dims = network.dims
        self.hidden = len(self.dims) - 2
        # The set sees Y_1 only through Y_1 Y_1': a QR factor of fewer columns stands for it, exactly.
        inputs = min(self.dims[0], self.dims[1])
        self.set = chain_set((inputs, *self.dims[1:]), network.slopes, target)

    def network(self, weights: Sequence[np.ndarray]) -> Network:
        return self.layout.network(weights)

    def start(self, weights: Sequence[np.ndarray]) -> Point:
        """LipSDP's own multipliers of these weights, in the scale of L on both ends."""
        network = self.network(weights)
        if not self.hidden:
            return ()
        witness = as_stored(LipSDP().propose(network))
        root = max(float(np.sqrt(witness.rho)), 1e-300)
        return tuple(_positive(t / root) for t in witness.multipliers)

    def image(self, weights: Sequence[np.ndarray], t: Point) -> Point:
        maps = self.layout.maps(weights)
        return (*(s[:, None] * w for s, w in zip(t, maps[:-1], strict=True)), maps[-1], *t)

    def metric(self, t: Point) -> Point:
        rows = [_inverse_squares(s) for s in t]
        wide = [np.repeat(r[:, None], n, axis=1) for r, n in zip(rows, self.dims[:-2], strict=True)]
        return (*wide, np.ones(self.dims[:-3:-1]), *rows)

    def pull(self, t: Point, residual: Point) -> list[np.ndarray | None]:
        result: list[np.ndarray | None] = [None] * len(self.layout.shapes)
        for i, s, r in zip(self.layout.matrices, t, residual, strict=False):
            result[i] = s[:, None] * r
        result[self.layout.matrices[-1]] = residual[self.hidden]
        return result

    def best(self, weights: Sequence[np.ndarray], point: Point) -> Point:
        maps = self.layout.maps(weights)[:-1]
        goals = zip(maps, point[: self.hidden], point[self.hidden + 1 :], strict=True)
        return tuple(_positive(((w * y).sum(1) + s) / ((w * w).sum(1) + 1.0)) for w, y, s in goals)

    def recover(self, weights: Sequence[np.ndarray], point: Point) -> Arrays:
        result = list(weights)
        for i, y, t in zip(self.layout.matrices, point, point[self.hidden + 1 :], strict=False):
            result[i] = read_only(y / _positive(t)[:, None])
        result[self.layout.matrices[-1]] = read_only(np.array(point[self.hidden]))
        return tuple(result)

    def project(
        self, point: Point, metric: Point, solver: AbstractSolver | None, warm: np.ndarray | None
    ) -> tuple[Point, np.ndarray]:
        if point[0].shape == self.set.shapes[0]:
            return self.set.project(point, metric, solver, warm)
        q, r = np.linalg.qr(point[0].T)  # Y_1 = r'q', and the metric is one number per row
        metric = (metric[0][:, : q.shape[1]], *metric[1:])
        found, y = self.set.project((r.T, *point[1:]), metric, solver, warm)
        return (found[0] @ q.T, *found[1:]), y

    def nearest(
        self, ideal: Point, own: Point, t: Point, solver: AbstractSolver | None
    ) -> tuple[Point, np.ndarray]:
        """argmin sum_k |Y_k/t_k - W_k|^2 at multipliers fixed to t; `ideal` is the image of W_k at `own`."""
        ratio = [b / a for a, b in zip(own, t, strict=True)]
        hidden = self.hidden
        goal = (*(r[:, None] * y for r, y in zip(ratio, ideal, strict=False)), ideal[hidden], *t)
        rows = [1.0 / b**2 for b in t]
        wide = [np.repeat(r[:, None], n, axis=1) for r, n in zip(rows, self.dims[:-2], strict=True)]
        metric = (*wide, np.ones_like(ideal[hidden]), *(np.zeros_like(b) for b in t))
        if goal[0].shape == self.set.shapes[0]:
            return self.set.project(goal, metric, solver, fixed=hidden + 1)
        q, r = np.linalg.qr(goal[0].T)
        metric = (metric[0][:, : q.shape[1]], *metric[1:])
        found, y = self.set.project((r.T, *goal[1:]), metric, solver, fixed=hidden + 1)
        return (found[0] @ q.T, *found[1:]), y


class JointCondition(AbstractCondition):
    """K = (A, B Gamma, C, D Gamma, gamma) of v = C x + D u + b, u = psi(v), y = A x + B u + c.

    Weights are [A (m, n_0), B (m, N), C (N, n_0), D (N, N)], then b (N,), then c (m,) if there are any;
    slopes of psi lie in [-1, 1] (for ReLU, psi = |.|, after the loop transformation). D is strictly
    block lower triangular in the sizes `hidden`: a network with all forward skips, not a chain.
    """

    def __init__(self, weights: Sequence[np.ndarray], hidden: Sequence[int], target: float) -> None:
        self.hidden, self.target = tuple(int(n) for n in hidden), target
        arrays = [np.asarray(w) for w in weights]
        total = sum(self.hidden)
        if len(arrays) not in (4, 5, 6) or arrays[0].ndim != 2 or min(self.hidden, default=0) < 1:
            raise InputError(
                f"the joint form takes [A, B, C, D], then b and c if any, and hidden sizes; got "
                f"{len(arrays)} arrays and hidden={self.hidden}."
            )
        m, n = arrays[0].shape
        expected = ((m, n), (m, total), (total, n), (total, total), (total,), (m,))[: len(arrays)]
        for i, (w, shape) in enumerate(zip(arrays, expected, strict=True)):
            if w.shape != shape:
                raise InputError(f"weights[{i}] has shape {w.shape}; expected {shape}.")
        self._mask = strictly_lower(self.hidden)
        if arrays[3][~self._mask].any():
            raise InputError(
                "D has entries on or above its block diagonal; expected a strictly lower D (no loops)."
            )
        self.layout = Layout(
            expected, (np.dtype(np.float64),) * len(arrays), (0, 1, 2, 3), (None,) * 4, (None,) * 4, (0, 1, 5)
        )
        self.set = joint_set(n, self.hidden, m, target)

    def network(self, weights: Sequence[np.ndarray]) -> Network:
        """The chain that carries x and all u along: same function, same Lipschitz constant.

        Its slopes are [-1, 1] for u and [1, 1] for what is carried, so it has bounds and no forward pass.
        """
        A, B, C, D = (np.asarray(w) for w in weights[:4])
        n, starts = C.shape[1], np.cumsum([0, *self.hidden])
        maps, slopes = [], []
        for a, b in itertools.pairwise(starts):
            carried = n + int(a)
            maps.append(np.vstack([np.eye(carried), np.hstack([C[a:b], D[a:b, :a]])]))
            ones = np.ones(int(b - a))
            slopes.append(
                Slopes(np.concatenate([np.ones(carried), -ones]), np.concatenate([np.ones(carried), ones]))
            )
        return Network.from_arrays([*maps, np.hstack([A, B])], None, slopes)

    def start(self, weights: Sequence[np.ndarray]) -> Point:
        return (np.ones(sum(self.hidden)),)

    def image(self, weights: Sequence[np.ndarray], t: Point) -> Point:
        A, B, C, D = weights[:4]
        return A, B * t[0], C, D * t[0], t[0]

    def metric(self, t: Point) -> Point:
        A, B, C, D, _ = self.set.shapes
        row = _inverse_squares(t[0])
        return np.ones(A), np.ones(B) * row, np.ones(C), np.ones(D) * row, row

    def pull(self, t: Point, residual: Point) -> list[np.ndarray | None]:
        A, B, C, D, _ = residual
        return [A, B * t[0], C, D * t[0] * self._mask, None, None][: len(self.layout.shapes)]

    def best(self, weights: Sequence[np.ndarray], point: Point) -> Point:
        _, B, _, D = weights[:4]
        top = (B * point[1]).sum(0) + (D * point[3]).sum(0) + point[4]
        return (_positive(top / ((B * B).sum(0) + (D * D).sum(0) + 1.0)),)

    def recover(self, weights: Sequence[np.ndarray], point: Point) -> Arrays:
        A, B, C, D, gamma = point
        gamma = _positive(gamma)
        return (*(read_only(np.array(w)) for w in (A, B / gamma, C, D / gamma)), *weights[4:])

    def project(
        self, point: Point, metric: Point, solver: AbstractSolver | None, warm: np.ndarray | None
    ) -> tuple[Point, np.ndarray]:
        return self.set.project(point, metric, solver, warm)
