"""The dual of LipSDP in factored form for any graph: `_gate_dual` with maps that are applied, not multiplied.

A pass reads every map twice, by its product and its adjoint with R columns: convolutions are never unrolled.

Nodes with slopes are as in chains, a gate for each channel with alpha < beta. A nonlinearity on groups has
|N'dw| <= |N'dv| and B'(dw - dv) = 0, multipliers of the latter being free. With C an orthonormal basis of
what is orthogonal to B, and |N'(B-part + C z)|^2 = |N'(B-part)|^2 + sigma |z|^2 (which sorting, pairs and
reflections have),

    W = (I - C C') U + C |C'U|_F S,   |S|_F = 1, S with R columns and a row for each column of C,

satisfies <|N'W|^2 - |N'U|^2> = 0 and B'(W - U) = 0, so that every S is feasible in the dual as well.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.linalg

from .._arrays import array_module
from .._errors import InputError
from ..graph import Apply, Graph
from ..nonlinear import AbstractGroups
from ._gates import AbstractGates, GatePoint

__all__ = ["GateGraph"]

_TINY = 1e-290
_RELATIVE_FLOOR = 1e-11  # of the largest |u| and |g| of a node, whose neurons may differ as widely in scale
_LEAST_SHARE = 1e-12  # of a node in rho, below which its multipliers are not read off
_EXACT = 1e-12  # to which N'C and B fit each other


@dataclasses.dataclass(frozen=True, eq=False)
class _Bend:
    """Where a node's gates act: on `channels` (None: all) one by one, or in groups in the directions `basis`.

    `radius` is r of these channels, 1 for groups; `centre` c of all channels, None for groups.
    """

    rows: slice
    depth: int
    radius: np.ndarray  # (gates, 1, 1)
    centre: np.ndarray | None  # (size, 1)
    channels: np.ndarray | None
    basis: np.ndarray | None  # (g, d)

    @property
    def width(self) -> int:
        """d."""
        return 1 if self.basis is None else int(self.basis.shape[1])

    def read(self, u: np.ndarray) -> np.ndarray:
        """The part of u (size, R) that gates turn, (gates, d, R)."""
        if self.basis is not None:
            return np.asarray(self.basis.T @ u.reshape(-1, len(self.basis), u.shape[1]))
        return (u if self.channels is None else u[self.channels])[:, None, :]

    def turned(self, u: np.ndarray, part: np.ndarray, gates: np.ndarray) -> np.ndarray:
        """u with c u in its place, or without its `part` that was read; `gates` (gates, d, R) are added."""
        if self.basis is not None:
            return np.asarray(u + (self.basis @ (gates - part)).reshape(u.shape))
        assert self.centre is not None
        result = self.centre * u
        if self.channels is None:
            result += gates[:, 0]
        else:
            result[self.channels] += gates[:, 0]
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class _GatePass:
    """A forward and a backward pass: per node what gates turn, its lengths, what arrives; both ends."""

    before: dict[int, np.ndarray]
    lengths: dict[int, np.ndarray]
    behind: dict[int, np.ndarray]
    first: np.ndarray
    value: float


class GateGraph(AbstractGates):
    """The gates of a graph, on the host."""

    def __init__(self, graph: Graph) -> None:
        """Raises InputError for a nonlinearity on groups whose N and B do not fit each other."""
        self.am, self.graph = array_module(), graph
        self.bends: dict[int, _Bend] = {}
        self.size = graph.input_dim
        depths: list[int] = []
        counts = [graph.input_dim]  # rows of each gate, those of the input first
        for k, node in enumerate(graph.nodes):
            depths.append(max((depths[p] for p in node.parents), default=0))
            if isinstance(node, Apply):
                depths[k] += 1
                bend = _bend(node, self.size, depths[k])
                self.bends[k] = bend
                self.size = bend.rows.stop
                counts += [bend.width] * len(bend.radius)
        self._counts = np.array(counts)
        self._starts = np.cumsum([0, *counts[:-1]])

    def unit(self, x: Any) -> Any:
        """Gates of length 1, the rows of the input together."""
        return np.asarray(x / np.maximum(self._sizes(x), _TINY))

    def _sizes(self, x: np.ndarray) -> np.ndarray:
        """Per row the length of the gate that it belongs to, (size, 1)."""
        squares = np.add.reduceat(np.einsum("nr,nr->n", x, x), self._starts)
        return np.repeat(np.sqrt(squares), self._counts)[:, None]

    def at(self, x: Any) -> GatePoint:
        """Value and image of the point x."""
        found = self._passed(x)
        image = np.zeros_like(x)
        image[: self.graph.input_dim] = found.first
        for k, g in found.behind.items():
            image[self.bends[k].rows] = g.reshape(-1, x.shape[1])
        sizes = self._sizes(image)
        # a gate that nothing depends on stays where it is
        image = np.where(sizes > 0.0, image / np.maximum(sizes, _TINY), x)
        return GatePoint(x, found.value, image)

    def multipliers(self, x: Any) -> tuple[float, dict[int, np.ndarray]]:
        """The value rho, and per node with slopes Lambda = |g| / (2 rho r |u|) of its gated channels.

        |u| and |g| are kept away from 0, where rounding or a point of low rank decides about them; a node
        that the output does not depend on, or that does not move, gets what costs next to nothing.
        """
        found, result = self._passed(x), {}
        for k, bend in self.bends.items():
            u = found.lengths[k][:, 0, 0]
            g = _lengths(found.behind[k])[:, 0, 0] if k in found.behind else np.zeros_like(u)
            u, g = (np.maximum(v, max(_RELATIVE_FLOOR * v.max(initial=0.0), _TINY)) for v in (u, g))
            result[k] = _weighed(u, g / (2.0 * found.value), bend.radius[:, 0, 0])
        return found.value, result

    def _own(self, bend: _Bend, x: np.ndarray) -> np.ndarray:
        """The gates of a node, (gates, d, R)."""
        return x[bend.rows].reshape(len(bend.radius), bend.width, x.shape[1])

    def _passed(self, x: np.ndarray) -> _GatePass:
        before: dict[int, np.ndarray] = {}
        lengths: dict[int, np.ndarray] = {}
        behind: dict[int, np.ndarray] = {}

        def forward(node: Apply, k: int, u: np.ndarray) -> np.ndarray:
            bend = self.bends[k]
            part = before[k] = bend.read(u)
            lengths[k] = _lengths(part)
            return bend.turned(u, part, (bend.radius * lengths[k]) * self._own(bend, x))

        def backward(node: Apply, k: int, g: np.ndarray) -> np.ndarray:
            bend, part = self.bends[k], before[k]
            own = behind[k] = bend.read(g)
            along = np.einsum("gdr,gdr->g", own, self._own(bend, x))[:, None, None]
            return bend.turned(g, own, (bend.radius * along / np.maximum(lengths[k], _TINY)) * part)

        y = self.graph.pushed(x[: self.graph.input_dim], forward)[-1]
        first = self.graph.pulled(2.0 * y, backward)
        return _GatePass(before, lengths, behind, first, float((y * y).sum()))


def _weighed(u: np.ndarray, g: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """g / (r u), where that is not of a node with a negligible share in the optimum, g r u in units of rho.

    There neither the one nor the other is known: the multipliers' forms get a share of their own, or where u
    is nothing what bounds the node's part of the output by such a share.
    """
    if (g * radius * u).max(initial=1.0 if not u.size else 0.0) > _LEAST_SHARE:
        return np.asarray(g / (radius * u))
    if u.max() > math.sqrt(_TINY):
        return np.asarray(_LEAST_SHARE / np.square(radius * u))
    return np.square(g) / _LEAST_SHARE if g.max() > math.sqrt(_TINY) else np.ones_like(g)


def _bend(node: Apply, start: int, depth: int) -> _Bend:
    if isinstance(node.function, AbstractGroups):
        basis = _free_directions(node.function)
        groups = node.size // node.function.group_size
        rows = slice(start, start + groups * basis.shape[1])
        return _Bend(rows, depth, np.ones((groups, 1, 1)), None, None, basis)
    gated = np.flatnonzero(node.alpha != node.beta)
    centre, radius = 0.5 * node.alpha + 0.5 * node.beta, 0.5 * node.beta - 0.5 * node.alpha
    return _Bend(
        slice(start, start + gated.size),
        depth,
        radius[gated, None, None],
        centre[:, None],
        None if gated.size == node.size else gated,
        None,
    )


def _free_directions(function: AbstractGroups) -> np.ndarray:
    """C; raises InputError where N does not measure it as the gates take for granted."""
    N, B = function.norm_directions, function.identities
    C = scipy.linalg.null_space(B.T) if B.shape[1] else np.eye(function.group_size)
    measured, kept = N.T @ C, N.T @ (np.eye(len(C)) - C @ C.T)
    square = measured.T @ measured
    scale = float(np.trace(square)) / max(C.shape[1], 1)
    wrong = np.abs(square - scale * np.eye(C.shape[1])).max(initial=0.0)
    wrong = max(wrong, np.abs(measured.T @ kept).max(initial=0.0))
    if not wrong <= _EXACT * max(float(np.square(N).sum()), _TINY):
        raise InputError(
            f"{function.name} bounds its outputs in directions that no gates stand for; expected N and B as "
            "SortGroups has them."
        )
    return np.asarray(C)


def _lengths(part: np.ndarray) -> np.ndarray:
    """(gates, 1, 1)."""
    return np.sqrt(np.einsum("gdr,gdr->g", part, part))[:, None, None]
