"""Branch and bound on input boxes for one case of a VNN-LIB property.

An alternative {rows @ y <= bounds} has no point in a box where one of its rows is proven to stay above
its bound; a box with alternatives left is halved along the coordinate whose width times the
size of the derivative is largest. (Wang et al., "Formal security analysis of neural networks
using symbolic intervals", USENIX Security 2018, for input splitting.)
"""

import dataclasses
import heapq
import logging
import math
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ._errors import NotCertified, SolveFailed
from ._progress import Progress, ProgressCallback
from .adapters import OutputLimits, VnnlibCase
from .attacks import attack_conjunction, exact_outputs, sensitivities
from .certificates.point import (
    PointCertificate,
    PointWitness,
    proven_intervals,
    slopes_of_pieces,
    verify_point,
)
from .claims import Box
from .margins import PieceChain, Search, propose_best, propose_with_intervals
from .network import Network

__all__ = ["CaseSearch", "ProvenBox", "Satisfied"]

_log = logging.getLogger("lmikit")
_ROOT, _NODE = {"steps": 100, "restarts": 40}, {"steps": 5, "restarts": 8}
_FEW_INPUTS = 20  # up to here halving boxes is cheaper than the margin dual, which is tried once
_FREE_TRIES = 3  # of the margin dual beyond; then a third of the tries has to succeed


@dataclasses.dataclass(frozen=True, eq=False)
class Satisfied:
    """x (n_0,) of the case's box, rational, whose outputs satisfy every row of an alternative.

    `y` are the exact outputs, or the outputs computed in floating point for networks with
    activations that have no rational values; their rows are then proven by enclosure.
    """

    x: tuple[Fraction, ...]
    y: tuple[float, ...]
    alternative: int


@dataclasses.dataclass(frozen=True, eq=False)
class ProvenBox:
    """On `box` none of `alternatives` can be satisfied; `certificate` where one was asked for."""

    box: Box
    alternatives: tuple[int, ...]
    certificate: PointCertificate | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Open:
    """A box and the alternatives that are not refuted on it."""

    box: Box
    alternatives: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Bounds:
    """Per alternative the row that is best proven, and its lower bound."""

    alternatives: tuple[int, ...]
    rows: np.ndarray
    offsets: np.ndarray
    lower: np.ndarray

    def part(self, chosen: np.ndarray) -> "_Bounds":
        index = np.flatnonzero(chosen)
        kept = tuple(self.alternatives[i] for i in index)
        return _Bounds(kept, self.rows[index], self.offsets[index], self.lower[index])


class CaseSearch:
    """One case of a property: `run` answers "unsat", "sat" or "unknown".

    `chain` None (activations that are not of two pieces) leaves CROWN's enclosures as the only
    proof; with `certify` every refuted box gets a certificate, without which it is split.
    """

    def __init__(
        self,
        network: Network,
        chain: PieceChain | None,
        case: VnnlibCase,
        *,
        certify: bool,
        deadline: float,
        keep: Callable[[ProvenBox], None],
        progress: ProgressCallback | None = None,
    ) -> None:
        self.network, self.chain, self.case = network, chain, case
        self.certify, self.deadline, self.keep, self.progress = certify, deadline, keep, progress
        self.satisfied: Satisfied | None = None
        self.boxes = self.unsplit = 0
        self.tries = self.successes = 0
        self.heap: list[tuple[float, int, _Open]] = []

    def run(self) -> str:
        """Search until the case is decided or the time is over."""
        root = _Open(Box(self.case.box.lower, self.case.box.upper), tuple(range(len(self.case.alternatives))))
        if self._attack(root, _ROOT):
            return "sat"
        heapq.heappush(self.heap, (0.0, 0, root))
        while self.heap:
            if time.monotonic() > self.deadline:
                return "unknown"
            if self._visit(heapq.heappop(self.heap)[2]):
                return "sat"
        return "unknown" if self.unsplit else "unsat"

    @property
    def undecided(self) -> int:
        """Boxes that are neither refuted nor split."""
        return len(self.heap) + self.unsplit

    def _visit(self, node: _Open) -> bool:
        """Refute what can be refuted on the box and split the rest; True where a point was found."""
        self.boxes += 1
        if self.progress is not None:
            self.progress(Progress("boxes", self.boxes, None))
        bounds = self._enclose(node)
        closed = self._close(node.box, bounds)
        rest = bounds.part(~closed)
        if not rest.alternatives:
            return False
        left = _Open(node.box, rest.alternatives)
        if self._attack(left, _NODE):
            return True
        self._split(left, rest)
        return False

    def _enclose(self, node: _Open) -> _Bounds:
        """CROWN's proven bounds: the best row of every alternative."""
        parts = [self.case.alternatives[a] for a in node.alternatives]
        rows = np.vstack([p.coefficients for p in parts])
        offsets = np.concatenate([p.offsets for p in parts])
        found = proven_intervals(self.network, node.box).margins(rows)
        lower = np.nextafter(found + offsets, -np.inf)
        lower = np.where(np.isnan(lower), -np.inf, lower)
        best, first = [], 0
        for p in parts:
            best.append(first + int(lower[first : first + len(p.bounds)].argmax()))
            first += len(p.bounds)
        return _Bounds(node.alternatives, rows[best], offsets[best], lower[best])

    def _close(self, box: Box, bounds: _Bounds) -> np.ndarray:
        """Which alternatives are refuted on the box, the proofs handed to `keep`."""
        closed = bounds.lower > 0.0
        if closed.any():
            part = bounds.part(closed)
            if not self.certify:
                self.keep(ProvenBox(box, part.alternatives, None))
            else:
                closed[closed] = self._certified(box, part, propose_with_intervals)
        if not closed.all() and self._dual_pays():
            few = self.network.input_dim <= _FEW_INPUTS
            won = self._certified(box, bounds.part(~closed), propose_with_intervals if few else propose_best)
            self.tries += 1
            self.successes += int(won.any())
            closed[~closed] = won
        return closed

    def _dual_pays(self) -> bool:
        free = 1 if self.network.input_dim <= _FEW_INPUTS else _FREE_TRIES
        return self.chain is not None and self.tries < free + 3 * self.successes

    def _certified(self, box: Box, part: _Bounds, propose: Callable[..., PointWitness | None]) -> np.ndarray:
        """Which of the rows are proven positive by a certificate."""
        assert self.chain is not None, "verify_vnnlib has seen to it"
        nothing = np.zeros(len(part.alternatives), dtype=bool)
        search = Search(time_limit=max(0.01, min(self.deadline - time.monotonic(), 30.0)))
        try:
            witness = propose(self.chain, box, part.rows, part.offsets, search)
            if witness is None:
                return nothing
            certificate = verify_point(self.network, witness)
        except (SolveFailed, NotCertified) as error:
            _log.info("no certificate for a box: %s", error)
            return nothing
        proven = certificate.claim.lower > 0.0
        if proven.any():
            self.keep(ProvenBox(box, part.part(proven).alternatives, certificate))
        return proven

    def _attack(self, node: _Open, effort: dict[str, int]) -> bool:
        for a in node.alternatives:
            rows = self.case.alternatives[a]
            x, value = node.box.anchor, -math.inf
            if len(rows.bounds):
                limits = (node.box.lower, node.box.upper)
                x, value = attack_conjunction(
                    self.network, limits, rows.coefficients, rows.offsets, seed=self.boxes, **effort
                )
            if value <= 1e-9 * (1.0 + float(np.abs(rows.offsets).max(initial=0.0))):
                self.satisfied = self._satisfied(x, a, rows)
            if self.satisfied is not None or time.monotonic() > self.deadline:
                break
        return self.satisfied is not None

    def _satisfied(self, x: np.ndarray, alternative: int, rows: OutputLimits) -> Satisfied | None:
        """x moved into the box as the file states it, if its rows hold there beyond doubt."""
        inside = tuple(map(_within, x.tolist(), self.case.lower, self.case.upper))
        if all(
            slopes_of_pieces(layer.activation, layer.linear.shape[0]) is not None
            for layer in self.network.layers[:-1]
        ):
            y = exact_outputs(self.network, inside)
            held = all(
                sum((Fraction(c) * v for c, v in zip(row, y, strict=True) if c), Fraction(0)) <= bound
                for row, bound in zip(rows.coefficients.tolist(), rows.bounds, strict=True)
            )
            return Satisfied(inside, tuple(map(float, y)), alternative) if held else None
        near = np.array([float(v) for v in inside])
        if not rows.bounds:
            return Satisfied(inside, tuple(self.network(near).tolist()), alternative)
        around = Box(np.nextafter(near, -np.inf), np.nextafter(near, np.inf))
        least = proven_intervals(self.network, around).margins(-rows.coefficients)
        held = all(
            math.isfinite(v) and Fraction(v) + bound >= 0
            for v, bound in zip(least.tolist(), rows.bounds, strict=True)
        )
        return Satisfied(inside, tuple(self.network(near).tolist()), alternative) if held else None

    def _split(self, node: _Open, bounds: _Bounds) -> None:
        """Halve the box along the coordinate that matters most."""
        lower, upper = node.box.lower, node.box.upper
        middle = lower + (upper - lower) / 2.0
        points = np.vstack([middle, lower, upper])
        worst = int(bounds.lower.argmin())
        slope = sensitivities(self.network, points, bounds.rows[worst])
        columns = np.linalg.norm(self.network.weights[0], axis=0)
        size = slope + 0.1 * columns * (slope.max() / max(float(columns.max()), 1e-300)) + 1e-12 * columns
        score = np.where((lower < middle) & (middle < upper), (upper - lower) * size + 1e-300, -1.0)
        i = int(score.argmax())
        if score[i] < 0.0:
            self.unsplit += 1
            return
        for side in (0, 1):
            low, high = lower.copy(), upper.copy()
            (high if side == 0 else low)[i] = middle[i]
            child = _Open(Box(low, high), node.alternatives)
            heapq.heappush(self.heap, (float(bounds.lower[worst]), 2 * self.boxes + side, child))


def _within(x: float, lower: Fraction, upper: Fraction) -> Fraction:
    """A rational of [lower, upper] near x, a float64 where the interval has one near x."""
    value = Fraction(x)
    for inner in (x, math.nextafter(x, math.inf), math.nextafter(x, -math.inf)):
        if lower <= Fraction(inner) <= upper:
            return Fraction(inner)
    return min(max(value, lower), upper)
