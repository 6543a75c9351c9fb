"""`Eclipse`: the layers one after the other, each by a small semidefinite program."""

import dataclasses
import logging
import time
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from .._eigen import top_eigenvalue
from .._errors import OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from .._witness import Witness
from ..formulations import EclipseStep, asked_by_next, norm_product_witness
from ..network import Network
from ..reductions import reduce
from ..solvers import AbstractSolver
from ._base import AbstractMethod
from ._closed_form import closed_form
from ._eclipse_pass import dominated, fast_pass
from ._layer_scaling import layer_scaled
from ._lipsdp import default_solver
from ._proposal import Run as Ascent
from ._recursion import EliminatedChain, Evaluation, Step, advance, chain_of, finish, first_gram

__all__ = ["Eclipse"]

_LOG = logging.getLogger(__name__)
_MIXES = (0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
_CLOSE = 1e-7  # a point whose level is this close (relatively) to the solver's needs no mixing
_START_TOLERANCE = 1e-5
_TILTS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eclipse(AbstractMethod):
    """ECLipsE: forward elimination X_0 = I, X_1, ..., X_L, layer k by max c s.t. X_k >= c B_k.

    `criterion` "greedy" is the paper's B_k = W_k'W_k, exact for one hidden layer. "lookahead"
    starts from LayerScaling's multipliers and takes for B_k what the later layers, as they are,
    ask for: every layer's choice then improves the bound, which cannot end above LayerScaling's;
    `sweeps` > 1 repeats that from the result. A solver's inaccurate point is mixed with as little of
    the closed-form point as makes it feasible (at most a tenth). Raises OptionError for other
    options, SolveFailed, naming the layer, where a layer's problem has no usable point or time ran
    out before it; nothing is replaced silently. Assumes that the slopes hold globally; all slopes.

    Xu, Sivaranjani, ECLipsE: Efficient compositional Lipschitz constant estimation for deep neural
    networks, NeurIPS 2024, Theorem 1 and Algorithm 1.
    """

    criterion: Literal["greedy", "lookahead"] = "greedy"
    sweeps: int = 1
    tol: float | None = None
    name: ClassVar[str] = "eclipse"
    uses_solver: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.criterion not in ("greedy", "lookahead"):
            raise OptionError(f"criterion is {self.criterion!r}; expected 'greedy' or 'lookahead'.")
        if isinstance(self.sweeps, bool) or not isinstance(self.sweeps, int) or self.sweeps < 1:
            raise OptionError(f"sweeps is {self.sweeps!r}; expected an integer, at least 1.")
        if self.criterion == "greedy" and self.sweeps != 1:
            raise OptionError("sweeps is for criterion='lookahead'; the greedy choice makes one pass.")
        if self.tol is not None and not 0.0 < self.tol < 1.0:
            raise OptionError(f"tol is {self.tol!r}; expected a number between 0 and 1, or None.")

    @property
    def label(self) -> str:
        return "Eclipse" if self.criterion == "greedy" else f"Eclipse ({self.criterion})"

    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A witness; `time_limit` (seconds) holds for all layers together."""
        prepared = reduce(network)
        slopes = prepared.network.slopes
        chain, start = fast_pass(chain_of(prepared.network))
        if self.criterion == "lookahead" and chain.hidden_layers:
            ascent = Ascent(self.name, time_limit, progress)
            start = layer_scaled(chain, closed_form(chain, start, ascent), ascent, _START_TOLERANCE, 300)
        solver = default_solver(self.tol) if solver is None else solver
        run = _ForwardPasses(chain, slopes, solver, time_limit, progress, self.sweeps)
        found = run.once(_greedy(chain)) if self.criterion == "greedy" else start
        if self.criterion == "lookahead" and chain.hidden_layers:
            for _ in range(self.sweeps):
                following = run.once(_asked(chain, slopes, found))
                if following.rho >= found.rho:
                    break
                found = following
        witness = Witness(
            "lipsdp",
            found.rho,
            tuple(0.5 * found.rho / d for d in found.d),
            layer_pow2=chain.layer_pow2,
            produced_by=f"{self.label}, {type(solver).__name__}",
        )
        return prepared.undo(witness)


def _greedy(chain: EliminatedChain) -> Iterator[np.ndarray]:
    return (W.T @ W for W in chain.weights[1:])


def _asked(
    chain: EliminatedChain, slopes: tuple[tuple[np.ndarray, np.ndarray], ...], at: Evaluation
) -> Iterator[np.ndarray]:
    """B_1, ..., B_L for the multipliers of `at`, tilted as little as the elimination needs."""
    depth = chain.hidden_layers
    for tilt in _TILTS:
        B = [chain.weights[-1].T @ chain.weights[-1]]
        try:
            for k in range(depth, 1, -1):
                T = 0.5 * at.rho / at.d[k - 1] * (1.0 + tilt) ** (depth + 1 - k)
                B.append(asked_by_next(B[-1], chain.weights[k - 1], *slopes[k - 1], T))
        except np.linalg.LinAlgError:
            continue
        return reversed(B)
    raise SolveFailed("the closed-form start lost positivity; use criterion='greedy'.")


@dataclasses.dataclass
class _ForwardPasses:
    """The forward passes of one proposal, with its clock."""

    chain: EliminatedChain
    slopes: tuple[tuple[np.ndarray, np.ndarray], ...]
    solver: AbstractSolver
    time_limit: float | None
    progress: ProgressCallback | None
    sweeps: int
    started: float = dataclasses.field(default_factory=time.perf_counter)
    layers_done: int = 0

    def once(self, criteria: Iterator[np.ndarray]) -> Evaluation:
        gram, steps = first_gram(self.chain), []
        for k, B in enumerate(criteria, start=1):
            step, gram = self._layer(k, gram, B)
            steps.append(step)
        result = finish(gram, steps)
        if result is None:
            raise SolveFailed(
                "the elimination left a matrix that is not finite; use another solver or method."
            )
        return result

    def _layer(self, k: int, gram: np.ndarray, B: np.ndarray) -> tuple[Step, np.ndarray]:
        alpha, beta = self.slopes[k - 1]
        problem = EclipseStep(0.5 * (gram + gram.T), alpha, beta, 0.5 * (B + B.T))
        form = problem.inner
        warm = form.point(norm_product_witness(form.network), 0.5)
        solution = self.solver.solve(problem.sdp(), warm_start=warm, time_limit=self._left(k))
        try:
            d, level = problem.reciprocals(solution), problem.level(solution)
        except SolveFailed as error:
            raise SolveFailed(f"layer {k} of {self.chain.hidden_layers}: {error}") from error
        step, following = self._feasible(k, gram, d, problem.outgoing, level)
        self.layers_done += 1
        if self.progress is not None:
            total = self.chain.hidden_layers * self.sweeps
            seconds = time.perf_counter() - self.started
            self.progress(Progress("Eclipse", self.layers_done, total, seconds=seconds))
        return step, following

    def _left(self, k: int) -> float | None:
        if self.time_limit is None:
            return None
        left = self.time_limit - (time.perf_counter() - self.started)
        if left <= 0.0:
            raise SolveFailed(
                f"the time limit of {self.time_limit:g} s ended before layer {k} of "
                f"{self.chain.hidden_layers}; raise it, or use EclipseFast, which needs no solver."
            )
        return left

    def _feasible(
        self, k: int, gram: np.ndarray, d: np.ndarray, outgoing: np.ndarray, level: float
    ) -> tuple[Step, np.ndarray]:
        """The mix (1 - s) Lambda + s Lambda_closed with the best achieved level, s at most 1/10."""
        gain, kappa = self.chain.gain[k - 1], self.chain.kappa[k - 1]
        largest = top_eigenvalue(gain[:, None] * gram * gain)
        closed = 1.0 / dominated(kappa, np.full(d.shape, largest))
        probe = dataclasses.replace(
            self.chain, weights=(*self.chain.weights[:k], outgoing, *self.chain.weights[k + 1 :])
        )
        best: tuple[float, float, np.ndarray] | None = None
        for share in _MIXES:
            mixed = 1.0 / ((1.0 - share) / d + share * closed)
            found = advance(probe, k, gram, mixed)
            if found is None or not np.isfinite(found[1]).all():
                continue
            achieved = 1.0 / top_eigenvalue(found[1])
            if best is None or achieved > best[0]:
                best = achieved, share, mixed
            if best[0] >= level * (1.0 - _CLOSE):
                break
        result = None if best is None else advance(self.chain, k, gram, best[2])
        if best is None or result is None:
            raise SolveFailed(
                f"layer {k} of {self.chain.hidden_layers}: the solver's point is too far from feasible to "
                "repair; tighten the tolerance or use another solver."
            )
        if best[1] > 0.0:
            _LOG.info(
                "layer %d: mixed in %g of the closed-form point, level %g of %g", k, best[1], best[0], level
            )
        return result
