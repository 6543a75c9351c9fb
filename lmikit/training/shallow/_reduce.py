"""A smaller proven bound for a shallow network at no larger loss, by one call."""

import dataclasses
import logging
import time
from typing import Any, Literal

import numpy as np

from ..._errors import InputError, SolveFailed
from ..._progress import ProgressCallback
from ...network import Network
from .._checks import whole
from ._convex import convex_shallow
from ._model import read_model
from ._result import ShallowResult, ShallowStep
from ._tasks import proven_bound

_log = logging.getLogger(__name__)

__all__ = ["reduce_lipschitz"]


def reduce_lipschitz(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: Literal["squared", "cross_entropy"] = "squared",
    max_loss: float | None = None,
    programs: int = 6,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> ShallowResult:
    """A network with a smaller proven Lipschitz bound whose loss on the data is not larger.

    minimise L^2 subject to loss(f(X), y) <= max_loss (None: that of the given network), approximately: by
    the minimisers of loss + w L^2 (`convex_shallow` with `free_outputs`) for `programs` weights w > 0, each
    interpolated from those before and begun at the best network so far: about three find where to look.
    `network` has one hidden layer of ReLU units, from any source (`lmikit.adapters`); X, y and `loss` as
    for `convex_shallow`. In the result `objective` is L^2 and `certificate` proves L; `history` holds the
    given network and each one that was taken, with a smaller bound than the one before and a loss of at
    most `max_loss`. Where no program helped, the given network comes back; `reason` says how often the
    bound fell. Raises InputError (also where the given network's loss is above `max_loss`), OptionError,
    NotCertified.
    """
    whole("programs", programs)
    began, best = time.perf_counter(), network
    fits = _loss(network, X, y, loss)
    limit = fits if max_loss is None else float(max_loss)
    if not fits <= limit:
        raise InputError(f"the network's loss is {fits:.6g}, above max_loss={max_loss!r}; train it on first.")
    certificate = proven_bound(network)
    history = [_step("start", fits, certificate.bound, began)]
    # the weight at which loss and penalty are equal, and from there a factor 10 until both sides are known
    weight, light, heavy = (max(limit, 1e-9) / max(certificate.bound**2, 1e-300), None, None)
    late = False
    for _ in range(programs if certificate.bound > 0 else 0):
        left = None if time_limit is None else time_limit - (time.perf_counter() - began)
        if late := left is not None and left <= 0:
            break
        options: dict[str, Any] = {"pattern_updates": 1, "free_outputs": True, "time_limit": left}
        try:
            found = convex_shallow(best, X, y, lipschitz=weight, loss=loss, progress=progress, **options)
        except SolveFailed as error:
            _log.info("no network for the weight %g: %s", weight, error)
            heavy = _Tried(weight)
        else:
            fits = _loss(found.network, X, y, loss)
            tried = _Tried(weight, fits, found.certificate.bound)
            light, heavy = (light, tried) if fits > limit else (tried, heavy)
            if fits <= limit and found.certificate.bound < certificate.bound:
                best, certificate = found.network, found.certificate
                history.append(_step("joint", fits, certificate.bound, began))
        weight = _next_weight(weight, light, heavy, limit, certificate.bound)
    return ShallowResult(
        network=best,
        objective=history[-1].objective,
        initial_objective=history[0].objective,
        certificate=certificate,
        history=tuple(history),
        reason=_reason(len(history) - 1, certificate.bound, programs, late),
        seconds=time.perf_counter() - began,
    )


@dataclasses.dataclass(frozen=True)
class _Tried:
    """A weight and what its program came to; infinite where it failed."""

    weight: float
    loss: float = np.inf
    bound: float = 0.0


def _next_weight(
    weight: float, light: _Tried | None, heavy: _Tried | None, limit: float, bound: float
) -> float:
    """A weight between one that kept the limit and one that did not, by interpolation in log weight.

    The loss grows with the weight and the bound falls: where the light one's bound is not below the best so
    far, the middle of the weights at which one equals `bound` and the other `limit`.
    """
    if light is None or heavy is None:
        return weight * 10.0 if heavy is None else weight / 10.0
    share = 0.5
    if np.isfinite(heavy.loss):  # a little below the limit: a program above it is lost
        share = 0.9 * (limit - light.loss) / (heavy.loss - light.loss)
        if light.bound > bound > heavy.bound > 0:
            share = 0.5 * (share + float(np.log(light.bound / bound) / np.log(light.bound / heavy.bound)))
    return float(light.weight * (heavy.weight / light.weight) ** min(max(share, 0.1), 0.9))


def _reason(fell: int, bound: float, programs: int, late: bool) -> str:
    if fell == 0:
        reason = f"none of at most {programs} programs lowered the bound at no larger loss; more may"
        reason = "the bound is 0" if bound == 0 else reason
    else:
        reason = "the bound fell once" if fell == 1 else f"the bound fell {fell} times"
    return f"{reason}; the time limit was reached" if late else reason


def _loss(network: Network, X: Any, y: Any, loss: Any) -> float:
    model = read_model(network, X, y, loss)
    return model.loss(model.V)


def _step(stage: str, fits: float, bound: float, began: float) -> ShallowStep:
    return ShallowStep(stage, fits, bound**2, bound**2, time.perf_counter() - began)
