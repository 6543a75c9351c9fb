"""Branch and bound on input boxes for one case of a VNN-LIB property.

An alternative {rows @ y <= bounds} has no point in a box where one of its rows is proven to stay above
its bound; a box with alternatives left is halved along the coordinate whose width times the
size of the derivative is largest. (Wang et al., "Formal security analysis of neural networks
using symbolic intervals", USENIX Security 2018, for input splitting.)
"""

import dataclasses
import heapq
import itertools
import logging
import math
import time
from collections.abc import Callable

import numpy as np

from ._errors import NotCertified, SolveFailed
from ._progress import Progress, ProgressCallback
from ._vnnlib_cover import Closing, CoverNode
from ._vnnlib_points import Satisfied, rational_within, satisfied_at
from .adapters import OutputLimits, VnnlibCase
from .attacks import attack_conjunction, sensitivities
from .certificates.point import (
    PointCertificate,
    PointWitness,
    verify_point,
)
from .claims import Box
from .intervals import CrownOnBoxes
from .margins import PieceChain, Search, propose_best, propose_with_intervals
from .network import Network

__all__ = ["CaseSearch", "ProvenBox"]

_log = logging.getLogger("lmikit")
_ROOT, _NODE = {"steps": 100, "restarts": 40}, {"steps": 5, "restarts": 8}
_FEW_INPUTS = 20  # up to here halving boxes is cheaper than the margin dual, which is tried once
_BATCH, _NUMBERS = 32, 2**22  # boxes that are enclosed at once, and numbers in an array of theirs
_ROOM = 1e-11  # a row counts as refuted with this room, so that another computer finds the same
_FREE_TRIES = 3  # of the margin dual beyond; then a third of the tries has to succeed


@dataclasses.dataclass(frozen=True, eq=False)
class ProvenBox:
    """On `box` none of `alternatives` can be satisfied; `certificate` where one was asked for."""

    box: Box
    alternatives: tuple[int, ...]
    certificate: PointCertificate | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Open:
    """A box, the alternatives that are not refuted on it, and its node of the cover."""

    lower: np.ndarray
    upper: np.ndarray
    alternatives: tuple[int, ...]
    record: CoverNode

    @property
    def box(self) -> Box:
        return Box(self.lower, self.upper)


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
    proof; with `certify` every refuted box gets a certificate, without which it is split. `keep` takes
    a refuted box and gives the number of its file, if it wrote one; `root` is the cover of the case.
    """

    def __init__(
        self,
        network: Network,
        chain: PieceChain | None,
        case: VnnlibCase,
        *,
        certify: bool,
        deadline: float,
        keep: Callable[[ProvenBox], int | None],
        progress: ProgressCallback | None = None,
    ) -> None:
        self.network, self.chain, self.case = network, chain, case
        self.certify, self.deadline, self.keep, self.progress = certify, deadline, keep, progress
        self.crown = CrownOnBoxes(network)
        self.satisfied: Satisfied | None = None
        self.boxes = self.unsplit = 0
        self.tries = self.successes = 0
        self.root = CoverNode()
        self.columns = np.linalg.norm(network.weights[0], axis=0)
        self.ticket = itertools.count(1)
        self.heap: list[tuple[float, int, _Open]] = []

    def run(self) -> str:
        """Search until the case is decided or the time is over."""
        box = self.case.box
        root = _Open(box.lower, box.upper, tuple(range(len(self.case.alternatives))), self.root)
        if self._attack(root, _ROOT):
            return "sat"
        heapq.heappush(self.heap, (0.0, 0, root))
        while self.heap:
            if time.monotonic() > self.deadline:
                return "unknown"
            batch = [heapq.heappop(self.heap)[2] for _ in range(min(self._batch_size(), len(self.heap)))]
            if self._visit(batch):
                return "sat"
        return "unknown" if self.unsplit else "unsat"

    @property
    def undecided(self) -> int:
        """Boxes that are neither refuted nor split."""
        return len(self.heap) + self.unsplit

    def _batch_size(self) -> int:
        """As many boxes as keep the arrays of CROWN small."""
        dims = self.network.dims
        widest = max(2 * n * max(dims[: k + 1]) for k, n in enumerate(dims[1:], 1))
        return max(1, min(_BATCH, _NUMBERS // widest))

    def _visit(self, batch: list[_Open]) -> bool:
        """Refute what can be refuted on the boxes and split the rest; True where a point was found."""
        self.boxes += len(batch)
        if self.progress is not None:
            self.progress(Progress("boxes", self.boxes, None))
        left = []
        for node, bounds in zip(batch, self._enclose(batch), strict=True):
            closed = self._close(node, bounds)
            rest = bounds.part(~closed)
            if rest.alternatives:
                left.append((dataclasses.replace(node, alternatives=rest.alternatives), rest))
            else:
                node.record.open = False
        if left and self._attacked([node for node, _ in left], min(left, key=lambda p: p[1].lower.min())[0]):
            return True
        if left:
            self._split(left)
        return False

    def _enclose(self, batch: list[_Open]) -> list[_Bounds]:
        """CROWN's proven bounds, all boxes at once: the best row of every alternative."""
        wanted = sorted({a for node in batch for a in node.alternatives})
        parts = [self.case.alternatives[a] for a in wanted]
        rows = np.vstack([p.coefficients for p in parts])
        offsets = np.concatenate([p.offsets for p in parts])
        lower, upper = (np.array([getattr(node, side) for node in batch]) for side in ("lower", "upper"))
        found = self.crown.margins(lower, upper, rows)
        margins = np.nextafter(found + offsets, -np.inf)
        ends = np.cumsum([0, *(len(p.bounds) for p in parts)])
        result = []
        for b, node in enumerate(batch):
            best = []
            for a in node.alternatives:
                first, last = ends[wanted.index(a)], ends[wanted.index(a) + 1]
                best.append(first + int(margins[b, first:last].argmax()) if last > first else -1)
            result.append(self._chosen(node, np.array(best), rows, offsets, margins[b]))
        return result

    @staticmethod
    def _chosen(
        node: _Open,
        best: np.ndarray,
        rows: np.ndarray,
        offsets: np.ndarray,
        margins: np.ndarray,
    ) -> _Bounds:
        lower = np.where(best < 0, -np.inf, margins[best])  # an alternative without rows always holds
        return _Bounds(node.alternatives, rows[best], offsets[best], lower)

    def _close(self, node: _Open, bounds: _Bounds) -> np.ndarray:
        """Which alternatives are refuted on the box, the proofs handed to `keep`."""
        closed = bounds.lower > _ROOM * (1.0 + np.abs(bounds.offsets))
        if closed.any():
            part = bounds.part(closed)
            if not self.certify:
                self._kept(node, ProvenBox(node.box, part.alternatives, None))
            else:
                closed[closed] = self._certified(node, part, propose_with_intervals)
        if not closed.all() and self._dual_pays():
            few = self.network.input_dim <= _FEW_INPUTS
            propose = propose_with_intervals if few else propose_best
            won = self._certified(node, bounds.part(~closed), propose)
            self.tries += 1
            self.successes += int(won.any())
            closed[~closed] = won
        return closed

    def _kept(self, node: _Open, proof: ProvenBox) -> None:
        node.record.closings.append(Closing(proof.alternatives, self.keep(proof)))

    def _dual_pays(self) -> bool:
        free = 1 if self.network.input_dim <= _FEW_INPUTS else _FREE_TRIES
        return self.chain is not None and self.tries < free + 3 * self.successes

    def _certified(
        self, node: _Open, part: _Bounds, propose: Callable[..., PointWitness | None]
    ) -> np.ndarray:
        """Which of the rows are proven positive by a certificate."""
        assert self.chain is not None, "verify_vnnlib has seen to it"
        nothing = np.zeros(len(part.alternatives), dtype=bool)
        search = Search(time_limit=max(0.01, min(self.deadline - time.monotonic(), 30.0)))
        try:
            witness = propose(self.chain, node.box, part.rows, part.offsets, search)
            if witness is None:
                return nothing
            certificate = verify_point(self.network, witness)
        except (SolveFailed, NotCertified) as error:
            _log.info("no certificate for a box: %s", error)
            return nothing
        proven = certificate.claim.lower > 0.0
        if proven.any():
            self._kept(node, ProvenBox(node.box, part.part(proven).alternatives, certificate))
        return proven

    def _attacked(self, nodes: list[_Open], worst: _Open) -> bool:
        """Look at the middle of every box, and attack on the worst one."""
        middles = np.array([node.box.anchor for node in nodes])
        outputs = self.network(middles)
        for node, x, y in zip(nodes, middles, outputs, strict=True):
            for a in node.alternatives:
                rows = self.case.alternatives[a]
                if self._holds(float((rows.coefficients @ y + rows.offsets).max(initial=-math.inf)), rows):
                    self.satisfied = self._satisfied(x, a, rows)
                if self.satisfied is not None:
                    return True
        return self._attack(worst, _NODE)

    def _attack(self, node: _Open, effort: dict[str, int]) -> bool:
        for a in node.alternatives:
            rows = self.case.alternatives[a]
            x, value = node.box.anchor, -math.inf
            if len(rows.bounds):
                x, value = attack_conjunction(
                    self.network,
                    (node.lower, node.upper),
                    rows.coefficients,
                    rows.offsets,
                    seed=self.boxes,
                    **effort,
                )
            if self._holds(value, rows):
                self.satisfied = self._satisfied(x, a, rows)
            if self.satisfied is not None or time.monotonic() > self.deadline:
                break
        return self.satisfied is not None

    @staticmethod
    def _holds(value: float, rows: OutputLimits) -> bool:
        """Whether the largest row is so small that it is worth to decide it exactly."""
        return value <= 1e-9 * (1.0 + float(np.abs(rows.offsets).max(initial=0.0)))

    def _satisfied(self, x: np.ndarray, alternative: int, rows: OutputLimits) -> Satisfied | None:
        """x moved into the box as the file states it, if its rows hold there beyond doubt."""
        inside = tuple(map(rational_within, x.tolist(), self.case.lower, self.case.upper))
        return satisfied_at(self.network, inside, rows, alternative)

    def _split(self, left: list[tuple[_Open, _Bounds]]) -> None:
        """Halve every box along the coordinate that matters most: width times derivative of the worst row."""
        lower, upper = (np.array([getattr(node, side) for node, _ in left]) for side in ("lower", "upper"))
        middle = lower + (upper - lower) / 2.0
        worst = [int(bounds.lower.argmin()) for _, bounds in left]
        rows = np.array([bounds.rows[w] for w, (_, bounds) in zip(worst, left, strict=True)])
        slopes = sensitivities(self.network, np.vstack([middle, lower, upper]), np.tile(rows, (3, 1)))
        slopes = slopes.reshape(3, *lower.shape).mean(axis=0)
        steepest = slopes.max(axis=1, keepdims=True) / max(float(self.columns.max()), 1e-300)
        size = slopes + self.columns * (0.1 * steepest + 1e-12)
        score = np.where((lower < middle) & (middle < upper), (upper - lower) * size + 1e-300, -1.0)
        for b, (node, bounds) in enumerate(left):
            i = int(score[b].argmax())
            if score[b, i] < 0.0:
                self.unsplit += 1
                continue
            self._halve(node, i, float(middle[b, i]), float(bounds.lower[worst[b]]))

    def _halve(self, node: _Open, i: int, at: float, bound: float) -> None:
        for side, record in enumerate(node.record.halved(i, at)):
            low, high = node.lower.copy(), node.upper.copy()
            (high if side == 0 else low)[i] = at
            child = _Open(low, high, node.alternatives, record)
            heapq.heappush(self.heap, (bound, next(self.ticket), child))
