"""`ClosedForm`: the Syed-Hu family, the best member per layer, then one common rescaling."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .._eigen import top_eigenvalue
from .._errors import OptionError
from ._closed_form_members import member_shapes, refined_member, scaled_members, sensitivities
from ._eclipse_pass import dominated
from ._proposal import AbstractChainMethod, Run
from ._recursion import EliminatedChain, Evaluation, advance, evaluate, finish, first_gram, gradient

__all__ = ["ClosedForm", "better", "closed_form"]

_DEEP = 4  # hidden layers from which a smaller overshoot wins, on random and on trained networks
_DEEP_OVERSHOOTS = (0.55,)
_SHALLOW_OVERSHOOTS = (1.0, 0.6)
_MOST_RESCALINGS = 5
_LONGEST = 0.7  # of one rescaling, in log(d)
_WORTHWHILE = 5e-3  # decrease of log(rho) that is worth one more evaluation
_CAUTIOUS_KAPPA = 0.75  # beyond it the feasible set leaves no room for an inexact eigenvalue


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm(AbstractChainMethod):
    """Diagonal D_k >= m W_{k-1} X_{k-1}^-1 W_{k-1}' m in closed form, then Lambda_k = 1/(kappa D_k).

    ||f(x) - f(x')||^2 <= rho ||x - x'||^2 with rho = lambda_max(W_L X_L^-1 W_L'). Per layer the member of
    the family (multiples of I, powers of the diagonal, Gershgorin's and weighted row sums)
    that costs least further on: the sum over neurons of D times their squared gain to the
    output, times the largest eigenvalue that D leads to in the next layer. `overshoots`:
    D = lambda_max(S^-1/2 A S^-1/2) S needs only the part 1/(1 + (1/kappa - 1) s) of its size to keep the
    recursion positive; every s in (0, 1] given is tried (None: by depth). All multipliers are then
    scaled by one factor with rho minimised. ECLipsE-Fast is a candidate throughout, so the
    bound is never above it. Raises OptionError for overshoots outside (0, 1].
    Source: Syed and Hu, arXiv 2503.14297 (the family, slopes [0, 1]); Lemmas 1 and 2 of
    `_recursion` (other slopes, smaller D). Assumed, not checked: the slopes hold globally.
    """

    name: ClassVar[str] = "closed-form"
    overshoots: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for s in self.overshoots or ():
            if not 0.0 < s <= 1.0:
                raise OptionError(f"overshoots holds {s!r}; expected numbers in (0, 1].")

    def _improved(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> Evaluation:
        return closed_form(chain, fast, run, self.overshoots)


def closed_form(
    chain: EliminatedChain, fast: Evaluation, run: Run, overshoots: Sequence[float] | None = None
) -> Evaluation:
    """The best of ECLipsE-Fast and one pass per overshoot, rescaled; rho at most that of `fast`."""
    if overshoots is None:
        overshoots = _DEEP_OVERSHOOTS if chain.hidden_layers >= _DEEP else _SHALLOW_OVERSHOOTS
    best, ahead = fast, sensitivities(chain)
    for s in overshoots:
        if run.over:
            return best
        best = better(best, _family_pass(chain, ahead, s))
        run.report(math.sqrt(best.rho))
    return _commonly_rescaled(chain, best, run)


def better(first: Evaluation, second: Evaluation | None) -> Evaluation:
    """The one with the smaller rho; the first if they are equal or the second is infeasible."""
    return second if second is not None and second.rho < first.rho else first


def _family_pass(chain: EliminatedChain, ahead: Sequence[np.ndarray], overshoot: float) -> Evaluation | None:
    gram, steps = first_gram(chain), []
    for k in range(1, chain.hidden_layers + 1):
        m, kappa = chain.gain[k - 1], chain.kappa[k - 1]
        e = _member(m[:, None] * gram * m, ahead[k - 1], chain.weights[k], float(kappa.max()))
        result = advance(chain, k, gram, _overshot(kappa, e, overshoot))
        if result is None:  # the eigenvalue was too small for this overshoot
            result = advance(chain, k, gram, dominated(kappa, 2.0 * e))
        if result is None:
            return None
        steps.append(result[0])
        gram = result[1]
    return finish(gram, steps)


def _overshot(kappa: np.ndarray, e: np.ndarray, s: float) -> np.ndarray:
    """kappa^2 E (1 + (1/kappa - 1) s): d = kappa E of Lemma 2 at s = 1, the edge of K >= 0 at s = 0."""
    return np.maximum(kappa * kappa * (1.0 - s) + kappa * s, kappa * kappa * (1.0 + 1e-6)) * e


def _member(a: np.ndarray, ahead: np.ndarray, following: np.ndarray, kappa: float) -> np.ndarray:
    """The dominating diagonal of least cost among the members of one layer."""
    shapes = member_shapes(a, ahead)
    diagonals, vectors = scaled_members(a, shapes)
    if not diagonals.any():
        return np.ones(a.shape[0])
    chosen = int(np.argmin((diagonals @ ahead) * _next_norms(following, diagonals)))
    if kappa <= _CAUTIOUS_KAPPA:
        return refined_member(a, shapes[chosen], vectors[:, chosen])
    scale = 1.0 / np.sqrt(shapes[chosen])
    return np.asarray(top_eigenvalue(scale[:, None] * a * scale) * shapes[chosen])


def _next_norms(w: np.ndarray, diagonals: np.ndarray) -> np.ndarray:
    """Estimates of lambda_max(W D_j W'), by power iteration on all at once."""
    x = np.ones((w.shape[1], diagonals.shape[0]))
    norm = np.ones(diagonals.shape[0])
    for _ in range(2):
        x = diagonals.T * (w.T @ (w @ x))
        norm = np.sqrt(np.einsum("ij,ij->j", x, x))
        if not norm.all():
            return np.ones(norm.shape)
        x /= norm
    return norm


def _commonly_rescaled(chain: EliminatedChain, best: Evaluation, run: Run) -> Evaluation:
    """All d times one factor e^t, rho minimised by the secant rule on d log(rho)/dt."""
    base, t, slope, infeasible = best.d, 0.0, _slope(chain, best), -math.inf
    step = max(-_LONGEST, min(_LONGEST, -slope))
    for _ in range(_MOST_RESCALINGS):
        if abs(step * slope) < _WORTHWHILE or run.over:
            break
        trial = evaluate(chain, [math.exp(t + step) * d for d in base])
        if trial is None:
            infeasible = t + step
            step *= 0.3
            continue
        best = better(best, trial)
        new_slope = _slope(chain, trial)
        curvature = (new_slope - slope) / step
        t, slope = t + step, new_slope
        newton = -slope / curvature if curvature > 0.0 else -math.copysign(_LONGEST, slope)
        step = max(-_LONGEST, min(_LONGEST, newton))
        if t + step <= infeasible:
            step = 0.5 * (infeasible - t)
    return best


def _slope(chain: EliminatedChain, at: Evaluation) -> float:
    return float(sum(g.sum() for g in gradient(chain, at)))
