"""The eliminated maps of a graph in floating point: N_vx, N_vw, N_yx, N_yw and levels for solvers."""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ...graph import Apply
from ...graph._form import EliminatedForm
from ...graph._levels import levels
from ...network import LinearFractional

__all__ = ["EliminatedMaps", "couples", "linear_fractional_of", "one_sided"]


@dataclasses.dataclass(frozen=True, eq=False)
class EliminatedMaps:
    """v = N_vx x + N_vw w, y = N_yx x + N_yw w in the order of `nodes`; x may have been replaced by fewer."""

    form: EliminatedForm
    N_vx: np.ndarray
    N_vw: sp.csr_array
    N_yx: np.ndarray
    N_yw: sp.csr_array

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nonlinear nodes with channels."""
        return self.form.sources[1:]

    @property
    def inputs(self) -> int:
        return int(self.N_vx.shape[1])

    def compressed(self, *, outputs: bool = True) -> "EliminatedMaps":
        """With the same l2 gain and fewer inputs and outputs where the maps have a smaller rank.

        x is replaced by its coordinates in a basis of the rows that read it, y by the triangular factor
        of its map (where `outputs` says so).
        """
        reading = np.vstack([self.N_vx, self.N_yx])
        reading = reading[reading.any(axis=1)]
        vx, yx, yw = self.N_vx, self.N_yx, self.N_yw
        if reading.shape[0] < self.inputs:
            basis = (
                scipy.linalg.qr(reading.T, mode="economic")[0] if reading.size else np.zeros((self.inputs, 1))
            )
            vx, yx = vx @ basis, yx @ basis
        read = np.hstack([yx, yw.toarray()])
        used = read.any(axis=0)
        if outputs and read.shape[0] > used.sum() > 0:
            smaller = np.zeros((int(used.sum()), read.shape[1]))
            smaller[:, used] = np.linalg.qr(read[:, used], mode="r")
            yx, yw = smaller[:, : yx.shape[1]], sp.csr_array(smaller[:, yx.shape[1] :])
        return dataclasses.replace(self, N_vx=vx, N_yx=yx, N_yw=yw)

    def restricted(self, row: int | None, column: int | None) -> "EliminatedMaps":
        """One output and one input; None keeps them all."""
        vx, yx, yw = self.N_vx, self.N_yx, self.N_yw
        if row is not None:
            yx, yw = yx[[row]], sp.csr_array(yw[[row]])
        if column is not None:
            vx, yx = vx[:, [column]], yx[:, [column]]
        return dataclasses.replace(self, N_vx=vx, N_yx=yx, N_yw=yw)

    def as_fractional(self) -> LinearFractional:
        """With slopes [0, 1] in the place of those that the constraints hold."""
        zeros = np.zeros(self.N_vx.shape[0])
        sizes = tuple(self.form.size(k) for k in self.nodes)
        return LinearFractional(self.N_vx, self.N_vw, self.N_yx, self.N_yw, zeros, zeros + 1.0, sizes)

    def partition(self, *, lifted: bool) -> tuple[int, ...]:
        """Level sizes for z, and for (z, y) where the output is `lifted`."""
        form, order = self.form, self.form.sources
        place = {s: i for i, s in enumerate(order)}
        ends = [place[s] for s in form.Y]
        pairs = [(len(order), a) for a in ends] if lifted else [(a, b) for a in ends for b in ends]
        for k in order[1:]:
            read = [place[s] for s in form.V[k]]
            pairs += [(place[k], a) for a in read]
            if couples(form, k):
                pairs += [(a, b) for a in read for b in read]
        sizes = [self.inputs, *(form.size(k) for k in order[1:])]
        sizes += [int(self.N_yx.shape[0])] if lifted else []
        return tuple(sum(sizes[i] for i in level) for level in levels(sizes, pairs))


def linear_fractional_of(form: EliminatedForm) -> EliminatedMaps:
    """The midpoints of V and Y."""
    nodes, m, inputs = form.sources[1:], form.graph.output_dim, form.graph.input_dim
    sizes = [form.size(k) for k in nodes]
    vx = [
        form.V[k][0].mid if 0 in form.V[k] else np.zeros((n, inputs))
        for k, n in zip(nodes, sizes, strict=True)
    ]
    vw = [[form.V[k][s].mid if s in form.V[k] else None for s in nodes] for k in nodes]
    yx = form.Y[0].mid if 0 in form.Y else np.zeros((m, inputs))
    yw = [[form.Y[s].mid if s in form.Y else None for s in nodes]]
    return EliminatedMaps(
        form,
        np.vstack([np.zeros((0, inputs)), *vx]),
        _stacked(vw, sizes, sizes),
        yx,
        _stacked(yw, [m], sizes),
    )


def _stacked(blocks: list[list[np.ndarray | None]], heights: list[int], widths: list[int]) -> sp.csr_array:
    tops, lefts = (np.cumsum([0, *sizes]) for sizes in (heights, widths))
    data, rows, columns = [np.zeros(0)], [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for top, row in zip(tops, blocks, strict=False):
        for left, block in zip(lefts, row, strict=False):
            if block is not None:
                at = np.nonzero(block)
                data.append(block[at])
                rows.append(at[0] + top)
                columns.append(at[1] + left)
    entries = np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_array(entries, shape=(int(tops[-1]), int(lefts[-1])))


def couples(form: EliminatedForm, k: int) -> bool:
    """Whether the form of node k has a term in v alone."""
    node = form.graph.nodes[k]
    assert isinstance(node, Apply)
    kept = form.kept[k]
    return node.grouped or bool(((node.alpha[kept] != 0.0) & (node.beta[kept] != 0.0)).any())


def one_sided(form: EliminatedForm, k: int) -> bool:
    """Whether alpha beta <= 0 for every channel of node k."""
    node = form.graph.nodes[k]
    assert isinstance(node, Apply)
    kept = form.kept[k]
    return bool((node.alpha[kept] * node.beta[kept] <= 0.0).all())
