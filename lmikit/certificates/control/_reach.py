"""`ReachSets`: states of a loop, or outputs of a network, lie in sets that are proven one after another."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ..._errors import InputError
from ...claims import Box
from ...intervals import local_intervals
from ...intervals._enclosure import above, below
from ...network import Network
from ...systems import NetworkLoop, StateSet
from ..graph._exact_matrix import ExactMatrix
from ._arithmetic import AbstractArithmetic, Floats, Matrix
from ._balls import BallMatrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim
from ._loops import loop_maps
from ._reach_terms import PAIRS, NeuronFacts, neuron_matrix, set_matrix
from ._walk import network_maps

__all__ = ["ReachSets", "ReachStep", "preactivation_bounds", "reach_network"]

Reachable = Network | NetworkLoop
_M = TypeVar("_M", BallMatrix, ExactMatrix)


def reach_network(subject: Any) -> Network:
    """The network of a subject; raises InputError for anything but a Network or a loop in discrete time."""
    if isinstance(subject, Network):
        return subject
    if not isinstance(subject, NetworkLoop):
        raise InputError(
            f"the subject is a {type(subject).__name__}; expected a NetworkLoop or an lmikit.Network."
        )
    if not subject.discrete:
        raise InputError("the loop is in continuous time; expected discrete time: sample the plant first.")
    if not isinstance(subject.network, Network):
        raise InputError("the loop's network has skips; expected a chain: its facts are per layer.")
    return subject.network


def preactivation_bounds(subject: Reachable, given: StateSet) -> tuple[np.ndarray, np.ndarray]:
    """Proven bounds (N,) of every hidden preactivation on the box of a set."""
    network = reach_network(subject)
    low, high = given.lower, given.upper
    if isinstance(subject, NetworkLoop) and subject.measured is not None:
        middle = 0.5 * low + 0.5 * high
        half = above(np.maximum(high - middle, middle - low))
        seen = BallMatrix.of(subject.wiring.measurement()[0]) @ BallMatrix(middle[:, None], half[:, None])
        low, high = below(seen.mid - seen.rad)[:, 0], above(seen.mid + seen.rad)[:, 0]
    found = local_intervals(network, Box(low, high))
    none = [np.zeros(0)]
    return np.concatenate(none + list(found.lower[:-1])), np.concatenate(none + list(found.upper[:-1]))


class ReachStep(Generic[_M]):
    """One step from a set: the matrices of z = (x, w, 1) that have to be positive definite."""

    def __init__(
        self, ops: AbstractArithmetic[_M], subject: Reachable, given: StateSet, facts: NeuronFacts
    ) -> None:
        self.given, self.facts = given, facts
        self.ops: AbstractArithmetic[_M] = ops
        V, Y = _affine_maps(ops, subject)
        self.V: _M = V
        self.Y: _M = Y
        self.one: _M = ops.of(np.eye(self.V.shape[1])[[-1]])

    def facts_matrix(self, witness: Arrays, which: tuple[int, ...]) -> _M:
        """The sum of all facts with the multipliers of one facet; names as in `multiplier_shapes`."""
        w = {name: array[which] for name, array in witness.items()}
        first = set_matrix(self.ops, self.given, self.V.shape[1], w["domain"], float(w["ball"]))
        rest = neuron_matrix(self.ops, self.facts, self.V, w["neurons"], w["sector"], w["coupling"])
        return first + rest

    def half_space(self, row: np.ndarray, offset: float) -> _M:
        """offset - row y."""
        line = self.ops.scaled(0.5, self.ops.of(row[None, :]) @ self.Y)
        cross = self.one.T @ line
        return self.one.T @ self.ops.number(offset) @ self.one - cross - cross.T

    def ellipsoid(self, shape: np.ndarray, shift: np.ndarray) -> _M:
        """1 - |shape y - shift|^2."""
        curve = self.ops.of(shape) @ self.Y - self.ops.of(shift[:, None]) @ self.one
        return self.one.T @ self.one - curve.T @ curve


def _affine_maps(ops: AbstractArithmetic[Matrix], subject: Reachable) -> tuple[Matrix, Matrix]:
    """(V, Y): preactivations and the next state, or outputs, as maps of z = (x, w, 1), biases included."""
    network: Network = reach_network(subject)
    biases: list[np.ndarray] = [np.zeros(0), *(layer.bias for layer in network.layers)]
    hidden = np.concatenate(biases[:-1])[:, None]
    last = ops.of(biases[-1][:, None])
    if isinstance(subject, NetworkLoop):
        Y, _, V = loop_maps(ops, subject, inputs=False)
        last = ops.of(subject.plant.B[:, list(subject.control)]) @ last
    else:
        n = network.input_dim
        V, Y = network_maps(ops, network, ops.of(np.eye(n)), ops.zeros(n, 0))
    return ops.block([[V, ops.of(hidden)]]), ops.block([[Y, last]])


def multiplier_shapes(given: StateSet, facts: NeuronFacts) -> dict[str, tuple[int, ...]]:
    """The multipliers of one facet by name."""
    f, N = 1 + 2 * given.dim + given.offsets.size, facts.lower.size
    coupled = facts.couplings[0].size
    return {"domain": (f, f), "ball": (), "neurons": (len(PAIRS), N), "sector": (N,), "coupling": (coupled,)}


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class ReachSets(AbstractControlClaim):
    """States that start in X_0 are in X_k after k steps; for a network, f(x) is in X_1 for x in X_0.

    Every set is a `StateSet`. For each facet row y <= offset of X_{k+1}, y the next state, the quadratic form
    offset - row y - (sum of multipliers >= 0 times facts on X_k) of (x, w, 1) is positive definite;
    for its ellipsoid 1 - |shape y - shift|^2 - (...) is. The facts hold on the box of X_k, on which the
    preactivations are enclosed by intervals (`lmikit.certificates.control._reach_terms`).
    Source: Fazlyab, Morari, Pappas, IEEE Trans. Automat. Control 67 (2022), Theorem 2; Hu, Fazlyab,
    Morari, Pappas, IEEE CDC 2020, Theorem 1 (closed loops).
    """

    kind: ClassVar[str] = "reach-sets"
    start_lower: np.ndarray
    start_upper: np.ndarray
    start_rows: np.ndarray
    start_offsets: np.ndarray
    start_shape: np.ndarray
    start_shift: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    offsets: np.ndarray
    shape: np.ndarray
    shift: np.ndarray
    start: str = "intersection"

    @classmethod
    def of(cls, sets: tuple[StateSet, ...]) -> "ReachSets":
        """From X_0, X_1, ..., X_K; X_1 to X_K have the same rows."""
        first, rest = sets[0], sets[1:]
        names = ("lower", "upper", "offsets", "shape", "shift")
        later = {name: np.stack([getattr(s, name) for s in rest]) for name in names}
        start = "whole ellipsoid" if in_box(Floats(), first) else "intersection"
        return cls(
            first.lower, first.upper, first.rows, first.offsets, first.shape, first.shift,
            rows=rest[0].rows, start=start, **later,
        )  # fmt: skip

    @property
    def sets(self) -> tuple[StateSet, ...]:
        """X_0, X_1, ..., X_K; raises InputError where arrays do not fit."""
        first = StateSet(
            self.start_lower, self.start_upper, self.start_rows, self.start_offsets, self.start_shape,
            self.start_shift,
        )  # fmt: skip
        parts = (self.lower, self.upper, self.offsets, self.shape, self.shift)
        if any(part.ndim < 1 or len(part) != len(self.lower) for part in parts) or not len(self.lower):
            raise InputError("lower, upper, offsets, shape and shift need one entry per step, at least one.")
        rest = (StateSet(a, b, self.rows, c, d, e) for a, b, c, d, e in zip(*parts, strict=True))
        return (first, *rest)

    def statement(self) -> str:
        start = ", which contains the whole ellipsoid of X_0" if self.start == "whole ellipsoid" else ""
        steps = self.lower.shape[0] if self.lower.ndim else 0
        return (
            "for a loop without inputs: every state that starts in the set X_0 of this file is in X_k after "
            f"k steps, for k = 1 to {steps}; for a network: f(x) is in X_1 for every x in X_0; "
            "X = {x : lower <= x <= upper, rows x <= offsets, |shape x - shift| <= 1}; the box is that of "
            f"lower and upper{start}"
        )

    def _fitting(self, subject: Any) -> Network:
        network, sets = reach_network(subject), self.sets
        loop = isinstance(subject, NetworkLoop)
        dims = (subject.plant.states,) * 2 if loop else (network.input_dim, network.output_dim)
        if (sets[0].dim, sets[1].dim) != dims or not (loop or len(sets) == 2):
            raise InputError(
                f"X_0 has dimension {sets[0].dim}, the {len(sets) - 1} sets after it {sets[1].dim}; expected "
                f"{dims[0]} and {dims[1]}" + ("." if loop else ", and one set after X_0.")
            )
        return network

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        network, sets = self._fitting(subject), self.sets
        N, K = network.hidden_neurons, len(sets) - 1
        facets = 2 * sets[1].dim + sets[1].offsets.size + 1
        facts = NeuronFacts(network, np.zeros(N), np.zeros(N))
        found: dict[str, tuple[int, ...]] = {"lower": (K, N), "upper": (K, N)}
        for place, given, count in (("first", sets[0], 1), ("later", sets[1], K - 1)):
            shapes = multiplier_shapes(given, facts) if count else dict.fromkeys(_NAMES, ())
            for name, shape in shapes.items():
                found[f"{place} {name}"] = (count, facets, *shape) if count else (0,)
        return found

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        network, sets = self._fitting(subject), self.sets
        if self.start == "whole ellipsoid":
            yield "the box contains the ellipsoid of X_0", in_box(ops, sets[0])
        else:
            yield "start is 'whole ellipsoid' or 'intersection'", self.start == "intersection"
        for k, (given, goal) in enumerate(itertools.pairwise(sets)):
            low, high = witness["lower"][k], witness["upper"][k]
            proven = preactivation_bounds(subject, given)
            inside = bool((low <= proven[0]).all() and (proven[1] <= high).all())
            yield f"step {k + 1}: the preactivations are within their bounds", inside
            facts = NeuronFacts(network, low, high)
            step = ReachStep(ops, subject, given, facts)
            place, row = ("first", 0) if k == 0 else ("later", k - 1)
            mine = {name: witness[f"{place} {name}"][row] for name in _NAMES}
            yield f"step {k + 1}: the multipliers are nonnegative", _nonnegative(mine, facts)
            for name, proof in _facets(step, goal, mine):
                yield f"step {k + 1}: {name}", ops.definite(proof)


_NAMES = ("domain", "ball", "neurons", "sector", "coupling")


def _nonnegative(witness: Arrays, facts: NeuronFacts) -> bool:
    unusable = ~facts.sectors[2]
    symmetric = np.array_equal(witness["domain"], np.swapaxes(witness["domain"], -1, -2))
    signs = all(bool((array >= 0.0).all()) for array in witness.values())
    return symmetric and signs and not witness["sector"][..., unusable].any()


def _facets(step: ReachStep[Matrix], goal: StateSet, witness: Arrays) -> Iterator[tuple[str, Matrix]]:
    """Each facet of a set with the matrix whose definiteness proves it."""
    eye = np.eye(goal.dim)
    rows = np.vstack([-eye, eye, goal.rows])
    offsets = np.concatenate([-goal.lower, goal.upper, goal.offsets])
    for i, (row, offset) in enumerate(zip(rows, offsets.tolist(), strict=True)):
        yield f"facet {i}", step.half_space(row, offset) - step.facts_matrix(witness, (i,))
    if goal.round:
        left = step.ellipsoid(goal.shape, goal.shift)
        yield "the ellipsoid", left - step.facts_matrix(witness, (offsets.size,))


def in_box(ops: AbstractArithmetic[Matrix], given: StateSet) -> bool:
    """u_i - x_i - m (1 - |shape x - shift|^2) > 0 everywhere, m half its reach; below likewise."""
    if not given.round or given.offsets.size:
        return False
    n = given.dim
    try:
        inverse = np.linalg.inv(given.shape)
    except np.linalg.LinAlgError:
        return False
    reach = np.sqrt((inverse**2).sum(axis=1))
    one = ops.of(np.eye(n + 1)[[-1]])
    curve = ops.of(np.hstack([given.shape, -given.shift[:, None]]))
    round_part = one.T @ one - curve.T @ curve
    for i in range(n):
        for side, end in ((1.0, float(given.upper[i])), (-1.0, -float(given.lower[i]))):
            line = ops.of(0.5 * side * np.eye(n + 1)[[i]])
            cross = one.T @ line
            left = one.T @ ops.number(end) @ one - cross - cross.T
            if not ops.definite(left - ops.times(ops.number(0.5 * float(reach[i])), round_part)):
                return False
    return True
