"""The l2 gain of a graph as one LMI with levels: the general case of `JointLipSDP`."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ..._errors import InputError
from ...graph import Apply, Graph
from ...graph._form import EliminatedForm, eliminate
from ...graph._levels import factor_cost
from ...graph._witness import GraphWitness, Part
from ...lmi import SDP, Solution
from ...nonlinear import AbstractGroups
from .._point import lowest_gain, positive_theta
from ..iqc import Dissipation
from ._constraints import node_constraint
from ._feedback import DeadbeatFeedback, local_coordinates
from ._maps import EliminatedMaps, couples, linear_fractional_of, one_sided

__all__ = ["GraphGain", "gathered", "needs_signs", "spread"]

_LARGE = 1e6  # operations of one factorisation from which levels matter
_NARROW = 4.0  # times those with every node a level of its own: no coordinates are worth their search


@dataclasses.dataclass(frozen=True, eq=False)
class GraphGain:
    """Maximise F with |dx|^2 - F |dy|^2 + sum of sigma >= 0 on z = (x, w); L = F^(-1/2).

    Linear nodes and neurons are eliminated, the input is replaced by the coordinates that reach a node
    (an orthonormal basis of the rows), and `partition` comes from the levels of the nodes. With `row` and
    `column` it is the gain from one input to one output: what q = infinity and p = 1 need. `each_output`
    keeps the outputs as they are, for `by_rows`.
    """

    graph: Graph
    row: int | None = None
    column: int | None = None
    each_output: bool = False
    theorem: ClassVar[str] = Dissipation.theorem

    @functools.cached_property
    def form(self) -> EliminatedForm:
        """The eliminated form of the graph."""
        return eliminate(self.graph)

    @functools.cached_property
    def problem(self) -> Dissipation:
        """The dissipation; raises InputError where the output is exactly constant."""
        if not self.form.Y:
            raise InputError("the output does not depend on the input: the Lipschitz constant is 0.")
        maps = self.maps
        constraints = [node_constraint(self.form, k) for k in maps.nodes]
        return Dissipation(maps.as_fractional(), constraints, partition=maps.partition(lifted=False))

    @functools.cached_property
    def maps(self) -> EliminatedMaps:
        """The maps of the form, with as many inputs and outputs as their ranks."""
        maps = linear_fractional_of(self.form)
        return maps.restricted(self.row, self.column).compressed(outputs=not self.each_output)

    @property
    def moves(self) -> bool:
        """Whether the output depends on the input, by the maps' zeros."""
        return bool(self.form.Y) and bool(self.maps.N_yx.any() or self.maps.N_yw.nnz)

    @functools.cached_property
    def feedback(self) -> DeadbeatFeedback | None:
        """Coordinates in which linear skips are local, where the levels become much smaller by them."""
        plain = factor_cost(self.maps.partition(lifted=False))
        least = factor_cost([self.form.size(k) for k in self.form.sources])
        found = local_coordinates(self.maps) if plain > max(_LARGE, _NARROW * least) else None
        return found if found is not None and 2.0 * factor_cost(found.partition) < plain else None

    def sdp(self) -> SDP:
        """Minimise -F; variables are the multipliers node by node, then F.

        Where alpha beta <= 0 for every channel the diagonal of the LMI has the signs of the multipliers.
        """
        count = sum(_picked(self.form, k).size for k in self.maps.nodes)
        sdp = self.problem.sdp(None if needs_signs(self.form) else np.zeros(count, dtype=bool))
        local = self.feedback.apply(sdp.lmis[0]) if self.feedback else None
        return sdp if local is None else dataclasses.replace(sdp, lmis=(local,))

    def by_rows(self) -> tuple[SDP, np.ndarray]:
        """The LMI of one output, and the vectors (D, m) that its last term, that output, has for each.

        With `each_output`. The gains to single outputs differ in that term alone.
        """
        sdp = self.sdp()
        (lmi,) = sdp.lmis
        m = self.graph.output_dim
        keep = lmi.P.shape[1] - m + 1
        one = dataclasses.replace(lmi, P=lmi.P[:, :keep], Q=lmi.Q[:, :keep], E=lmi.E[:keep])
        return dataclasses.replace(sdp, lmis=(one,)), lmi.P[:, -m:].toarray()

    def witness(self, solution: Solution, row: int | None = None) -> GraphWitness:
        """rho = 1 / F on the input and 1 on the output; multipliers over F, halved for slopes."""
        y = positive_theta(solution)
        part = Part(
            np.array([1.0 / y[-1]]),
            np.ones(1),
            spread(self.form, y[:-1] / y[-1]),
            self.row if row is None else row,
            self.column,
        )
        return GraphWitness(
            "dissipation",
            parts=(part,),
            produced_by=solution.solver,
            optimum_at_least=lowest_gain(solution.bound_on_optimum),
        )


def needs_signs(form: EliminatedForm) -> bool:
    """Whether multipliers >= 0 has to be asked for."""
    for k in form.sources[1:]:
        node = form.graph.nodes[k]
        assert isinstance(node, Apply)
        if node.grouped or (couples(form, k) and not one_sided(form, k)):
            return True
    return False


def spread(form: EliminatedForm, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """The variables of the kept channels as multipliers of all nonlinear nodes; T of slopes is halved."""
    result, start = [], 0
    for k in form.graph.applied:
        node = form.graph.nodes[k]
        assert isinstance(node, Apply)
        full = np.zeros(node.multipliers)
        picked = _picked(form, k)
        own = values[start : start + picked.size]
        full[picked] = own if node.grouped else 0.5 * own
        start += picked.size
        result.append(full)
    return tuple(result)


def gathered(form: EliminatedForm, multipliers: Sequence[np.ndarray]) -> np.ndarray:
    """The inverse of `spread`."""
    found = [np.zeros(0)]
    for k, t in zip(form.graph.applied, multipliers, strict=True):
        node = form.graph.nodes[k]
        assert isinstance(node, Apply)
        found.append((1.0 if node.grouped else 2.0) * t[_picked(form, k)])
    return np.concatenate(found)


def _picked(form: EliminatedForm, k: int) -> np.ndarray:
    """Which of the node's multipliers belong to kept channels."""
    node = form.graph.nodes[k]
    assert isinstance(node, Apply)
    kept = form.kept[k]
    if isinstance(node.function, AbstractGroups):
        per = node.function.multipliers_per_group
        groups = kept[:: node.function.group_size] // node.function.group_size
        return np.asarray((groups[:, None] * per + np.arange(per)).reshape(-1))
    return kept
