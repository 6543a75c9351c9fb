"""The torus form in floating point, all frequencies at once: V, Y as batched complex matrices, levels."""

import dataclasses
import functools

import numpy as np

from ...graph._levels import levels
from ...torus import TorusForm

__all__ = ["TorusModel", "conjugate", "torus_model"]

Rows = dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class TorusModel:
    """`V[k][s]` (J, size of k, size of s) and `Y[s]` (J, rows, size of s) at the chosen frequencies.

    `reads[k]` are the sources of nonlinear node k. Without a head Y is the output; with one, the U of
    what the head reads. `weights` counts each frequency and its opposite.
    """

    form: TorusForm
    frequencies: np.ndarray
    weights: np.ndarray
    V: dict[int, Rows]
    Y: Rows

    @functools.cached_property
    def sources(self) -> tuple[int, ...]:
        """The input and the nonlinear nodes."""
        return (0, *self.form.nodes)

    @functools.cached_property
    def partition(self) -> tuple[tuple[int, ...], ...]:
        """Sources by level, those that the output reads in the last one."""
        sources = self.sources
        first = min(sources.index(s) for s in self.Y)
        groups = [*([s] for s in sources[:first]), list(sources[first:])]
        place = {s: i for i, group in enumerate(groups) for s in group}
        pairs = []
        for k, rows in self.V.items():
            read = [place[s] for s in rows]
            pairs += [(place[k], a) for a in read]
            alpha, beta = self.form.slopes(k)
            pairs += [(a, b) for a in read for b in read] if (alpha * beta).any() else []
        sizes = [sum(self.form.size(s) for s in group) for group in groups]
        return tuple(tuple(s for i in level for s in groups[i]) for level in levels(sizes, pairs))

    def at(self, indices: np.ndarray) -> "TorusModel":
        """Some of the frequencies."""
        V = {k: {s: a[indices] for s, a in rows.items()} for k, rows in self.V.items()}
        Y = {s: a[indices] for s, a in self.Y.items()}
        return TorusModel(self.form, self.frequencies[indices], self.weights[indices], V, Y)


def torus_model(form: TorusForm, frequencies: np.ndarray | None = None) -> TorusModel:
    """The model at the frequencies (None: one of every pair of opposite ones)."""
    points, weights = form.grid
    if frequencies is not None:
        points, weights = points[frequencies], weights[frequencies]
    values: dict[int, Rows] = {}
    for k in form.images.phases:
        if k not in form.linear:
            eye = np.broadcast_to(np.eye(form.size(k)), (len(points), form.size(k), form.size(k)))
            values[k] = {k: eye}
            continue
        total: Rows = {}
        for parent, symbol in form.map_symbols(k, points):
            for s, rows in values[parent].items():
                inner = s != parent and symbol is not None
                value = rows if symbol is None else symbol.value
                term = value @ rows if inner else value
                total[s] = total[s] + term if s in total else term
        values[k] = total
    V = {k: values[form.graph.nodes[k].parents[0]] for k in form.nodes}
    if form.head is None:
        Y = values[len(form.graph.nodes) - 1]
    else:
        Y = {s: symbol.value for s, symbol in form.head_symbols(points).items()}
    return TorusModel(form, points, weights, V, Y)


def conjugate(a: np.ndarray) -> np.ndarray:
    """The conjugate transpose of each."""
    return np.asarray(np.conj(a.swapaxes(-1, -2)))
