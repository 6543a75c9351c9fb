"""The convex sets of Lip-Loop: changes of variables in which "L <= target" is an LMI.

Slopes in [alpha, beta] per neuron, L the target, T > 0 diagonal; both by Schur complements from LipSDP.

chain. Y_k = T_k W_{k-1}, S = alpha + beta, P = sqrt(-2 alpha beta) (sectors with alpha beta > 0 are
widened to touch zero first):

    [[L I, -Y_1'S_1,   .,      .  ,   Y_1'P_1], ...
     [  . ,  2 T_1, -Y_2'S_2,  .  ,   Y_2'P_2], ...
     [  . ,    .  ,  2 T_l, W_l'  ,      .   ],
     [  . ,    .  ,    .  , L I   ,      .   ],
     [  . ,    .  ,    .  ,   .   ,     T_k  ]] >= 0

is jointly affine in (Y, T, W_l) and describes chains only.

joint. After the loop transformation u = psi(v), slopes of psi in [-1, 1], v = C x + D u, y = A x + B u,
with Gamma > 0 diagonal, B^ = B Gamma, D^ = D Gamma:

    [[L I, 0, A', C'], [0, Gamma, B^', D^'], [A, B^, L I, 0], [C, D^, 0, Gamma]] >= 0

is jointly affine in (A, B^, C, D^, Gamma) and describes networks with all forward skips: D strictly
block lower triangular. That a chain has no skips is a bilinear condition there, hence the first form.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import SolveFailed
from ..lmi import SDP, Problem, block, diag, epigraph_form
from ..lmi._expression import Expression
from ..solvers import AbstractSolver, Clarabel

__all__ = ["ConvexSet", "Point", "chain_set", "joint_set", "strictly_lower", "touching_sectors"]

Point = tuple[np.ndarray, ...]


def touching_sectors(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least sectors that hold [alpha, beta] and zero: a wider class, so every bound stays sound."""
    return np.minimum(alpha, 0.0), np.maximum(beta, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class ConvexSet:
    """{points : LMI(point) >= 0}, points being tuples of arrays of `shapes`, stacked row by row.

    `free` says which entries of each array are variables (the others are zero), None: all of them.
    """

    sdp: SDP
    shapes: tuple[tuple[int, ...], ...]
    free: tuple[np.ndarray | None, ...]

    def stack(self, point: Sequence[np.ndarray]) -> np.ndarray:
        """The variables of a point."""
        parts = [p.ravel() if f is None else p[f] for p, f in zip(point, self.free, strict=True)]
        return np.concatenate(parts)

    def split(self, y: np.ndarray) -> Point:
        """The point of these variables."""
        result, start = [], 0
        for shape, free in zip(self.shapes, self.free, strict=True):
            array = np.zeros(shape)
            count = array.size if free is None else int(free.sum())
            values = y[start : start + count]
            if free is None:
                array = values.reshape(shape).copy()
            else:
                array[free] = values
            result.append(array)
            start += count
        return tuple(result)

    def project(
        self,
        point: Sequence[np.ndarray],
        metric: Sequence[np.ndarray] | None = None,
        solver: AbstractSolver | None = None,
        warm: np.ndarray | None = None,
        *,
        fixed: int | None = None,
    ) -> tuple[Point, np.ndarray]:
        """(argmin sum metric (z - point)^2 over the set, its variables); metric None: ones.

        The arrays from number `fixed` on are held at those of `point` (None: none are).

        Raises SolveFailed where the solver has no point, OptionError where it does not take the problem.
        """
        solver = Clarabel() if solver is None else solver
        goal = self.stack(point)
        scale = np.ones_like(goal) if metric is None else self.stack(metric)
        sdp = dataclasses.replace(self.sdp, c=-scale * goal, H=sp.csc_array(sp.diags_array(scale)))
        if fixed is not None:
            sizes = [p.size if f is None else int(f.sum()) for p, f in zip(point, self.free, strict=True)]
            held = np.arange(sum(sizes[:fixed]), goal.size)
            A = sp.csc_array(sp.eye_array(goal.size, format="csr")[held])
            sdp = dataclasses.replace(sdp, A=A, b=goal[held])
        if solver.suits(sdp) is not None:
            sdp, warm = epigraph_form(sdp), None
        solution = solver.solve(sdp, warm_start=warm)
        if solution.y is None or not solution.status.has_point:
            raise SolveFailed(
                f"the projection onto the LMI set ended as {solution.status.name} with "
                f"{solution.solver or type(solver).__name__}; try another solver, or Clarabel()."
            )
        y = solution.y[: goal.size]
        return self.split(y), y


def chain_set(
    dims: Sequence[int], slopes: Sequence[tuple[np.ndarray, np.ndarray]], target: float
) -> ConvexSet:
    """Points (Y_1, ..., Y_l, W_l, t_1, ..., t_l) of chains with L <= target; dims = (n_0, ..., n_l, m)."""
    hidden = len(dims) - 2
    problem = Problem()
    Y: list[Any] = [problem.matrix(dims[k + 1], dims[k], f"Y{k + 1}") for k in range(hidden)]
    last: Any = problem.matrix(dims[-1], dims[-2], f"W{hidden}")
    T: list[Any] = [problem.diagonal(dims[k + 1], f"T{k + 1}") for k in range(hidden)]
    diagonal = [target * np.eye(dims[0]), *(2.0 * t for t in T), target * np.eye(dims[-1])]
    size = hidden + 2
    below: dict[tuple[int, int], Any] = {(size - 1, size - 2): last}
    for k, (alpha, beta) in enumerate(slopes):
        alpha, beta = touching_sectors(alpha, beta)
        below[k + 1, k] = sp.diags_array(-(alpha + beta)) @ Y[k]
        root = np.sqrt(-2.0 * alpha * beta)
        rows = np.flatnonzero(root)
        if rows.size:  # neurons whose sector reaches both sides
            pick = sp.csr_array((root[rows], (np.arange(rows.size), rows)), shape=(rows.size, root.size))
            choose = sp.csr_array((np.ones(rows.size), (np.arange(rows.size), rows)), shape=pick.shape)
            below[len(diagonal), k] = pick @ Y[k]
            diagonal.append(choose @ T[k] @ choose.T)
    problem.add(_symmetric_block(diagonal, below) >> 0)
    problem.minimise(T[0].trace() if hidden else last[0, 0])
    shapes: list[tuple[int, ...]] = [*((dims[k + 1], dims[k]) for k in range(hidden)), (dims[-1], dims[-2])]
    shapes += [(dims[k + 1],) for k in range(hidden)]
    return ConvexSet(problem.compile(), tuple(shapes), (None,) * len(shapes))


def joint_set(inputs: int, hidden: Sequence[int], outputs: int, target: float) -> ConvexSet:
    """Points (A, B^, C, D^, gamma) of networks with all forward skips and L <= target."""
    total, mask = sum(hidden), strictly_lower(hidden)
    problem = Problem()
    A: Any = problem.matrix(outputs, inputs, "A")
    B: Any = problem.matrix(outputs, total, "B")
    C: Any = problem.matrix(total, inputs, "C")
    rows, cols = np.nonzero(mask)
    count = rows.size
    D: Any = np.zeros((total, total))
    if count:
        entries: Any = problem.vector(count, "D")
        left = sp.csc_array((np.ones(count), (rows, np.arange(count))), shape=(total, count))
        right = sp.csc_array((np.ones(count), (np.arange(count), cols)), shape=(count, total))
        D = left @ diag(entries) @ right
    gamma: Any = problem.diagonal(total, "Gamma")
    diagonal = [target * np.eye(inputs), gamma, target * np.eye(outputs), gamma]
    below = {(2, 0): A, (3, 0): C, (2, 1): B, (3, 1): D}
    problem.add(_symmetric_block(diagonal, below) >> 0)
    problem.minimise(gamma.trace())
    shapes = ((outputs, inputs), (outputs, total), (total, inputs), (total, total), (total,))
    return ConvexSet(problem.compile(), shapes, (None, None, None, mask, None))


def strictly_lower(hidden: Sequence[int]) -> np.ndarray:
    """The entries of D (N, N) that a network with these hidden layers may use."""
    layer = np.repeat(np.arange(len(hidden)), hidden)
    return layer[:, None] > layer[None, :]


def _symmetric_block(diagonal: Sequence[Any], below: dict[tuple[int, int], Any]) -> Expression:
    size = len(diagonal)
    grid: list[list[Any]] = [[None] * size for _ in range(size)]
    for i, item in enumerate(diagonal):
        grid[i][i] = item
    for (i, j), item in below.items():
        grid[i][j], grid[j][i] = item, item.T
    return block(grid)
