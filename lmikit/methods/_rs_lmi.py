"""`RSLMI`: norms of layers by random sketches and Krylov spaces, and the multipliers that they imply."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from .._arrays import ArrayModule, array_module
from .._errors import OptionError
from .._progress import Progress, ProgressCallback
from .._witness import Witness
from ..formulations.rs_lmi import (
    gain_product,
    layer_operator,
    loop_transformed_bound,
    loop_transformed_norms,
    network_operators,
    sketched_taus,
    slope_gains,
)
from ..network import DenseMap, Layer, Network
from ..reductions import LayerPowers, prepare
from ..sketching import (
    AbstractOperator,
    AbstractSketch,
    Estimate,
    PowerRefined,
    ProbabilisticBound,
    gram_bound,
    norm_bound,
)
from ..solvers import AbstractSolver
from ._base import AbstractMethod
from ._implied import implied_multipliers

__all__ = ["RSLMI"]

_GRAM_SIDE = 1024  # Gram iteration up to this side; Lanczos proposes beyond, and `verify` proves
_PROPOSAL_DELTA = 1e-12
_PROPOSAL_RTOL = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class RSLMI(AbstractMethod):
    """Layerwise norms by random subspaces: L <= prod_k |W_k| m_k, and tighter by the multipliers it implies.

    `propose` gives upper values tau_k >= |W_k|^2 (Gram iteration with running error, or Lanczos
    polynomials for wide layers). Where all widths are at most `dense_side` it gives the LipSDP
    multipliers d_k = kappa_k prod_{j<=k} m_j^2 tau_{j-1} that they imply, times the best common
    factor: rho is then at most prod tau_k m_k^2 (Lemma 2 of `_recursion`). Wider networks, and those
    without hidden layers, get a "layerwise" witness. `probabilistic` gives a bound with a failure
    probability and no proof; `estimate` gives the sketched values themselves, which bound nothing
    (arXiv 2506.23977).

    Options: `m` and `sketch` serve `estimate`; `certify` is "deterministic" or the failure
    probability of `probabilistic`, in (0, 1); `slopes` is how activations enter that bound ("gain",
    "loop", or "tighter", the smaller of both); `rtol` is where Lanczos stops; `array_module` and
    `dtype` say where and in what precision products run. Raises OptionError.
    """

    m: int | None = None
    sketch: AbstractSketch = dataclasses.field(default_factory=PowerRefined)
    certify: Literal["deterministic"] | float = "deterministic"
    slopes: Literal["gain", "loop", "tighter"] = "tighter"
    rtol: float = 1e-3
    seed: int = 0
    dense_side: int = 4096
    array_module: str = "numpy"
    dtype: Literal["float32", "float64"] = "float64"
    name: ClassVar[str] = "rs-lmi"
    uses_solver: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_options(self)

    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A witness at least as tight as the product of norms and slope gains, for `verify` to prove.

        Raises OptionError where `certify` is a probability: such a bound is no proof.
        """
        if self.certify != "deterministic":
            raise OptionError(
                f"certify={self.certify!r} asks for a probabilistic bound, which is no certificate; call "
                "probabilistic(network), or use certify='deterministic'."
            )
        prepared = prepare(network, [LayerPowers])
        scaled = prepared.network
        am = array_module(self.array_module)
        started, taus = time.monotonic(), []
        for k, layer in enumerate(scaled.layers):
            taus.append(self._upper_tau(layer, k, am))
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Progress("rs-lmi", k + 1, len(scaled.layers), taus[-1], seconds=seconds))
        wide = max(network.dims) > self.dense_side
        if network.hidden_layers and not wide and all(tau > 0.0 for tau in taus):
            implied = implied_multipliers(scaled, taus, time_limit=time_limit)
            if implied is not None:
                return prepared.undo(implied)
        rho = float(np.prod([*taus, *(g * g for g in slope_gains(network))]))
        arrays = tuple(np.array([tau]) for tau in taus)
        return prepared.undo(Witness("layerwise", rho, arrays, produced_by=self.name))

    def _upper_tau(self, layer: Layer, k: int, am: ArrayModule) -> float:
        """A number at or above |W|^2: proven in its own arithmetic, or probable and tight."""
        if (
            isinstance(layer.linear, DenseMap)
            and min(layer.linear.shape) <= _GRAM_SIDE
            and am.name == "numpy"
        ):
            value = gram_bound(layer.linear.matrix).value
        else:
            operator = layer_operator(layer.linear, am, self.dtype)
            value = norm_bound(operator, _PROPOSAL_DELTA, seed=self.seed + k, rtol=_PROPOSAL_RTOL).value
        return math.nextafter(value * value, math.inf)

    def estimate(self, network: Network) -> tuple[Estimate, ...]:
        """The sketched tau_k per layer: Rayleigh-Ritz values at or below |W_k|^2. They bound nothing."""
        am = array_module(self.array_module)
        operators = network_operators(network, am, self.dtype)
        return sketched_taus(operators, self.m, self.sketch, seed=self.seed)

    def probabilistic(self, network: Network) -> ProbabilisticBound:
        """P(L > value) <= delta for the whole network, delta = `certify`, by a union bound over its norms.

        Every norm gets delta / (number of norms). Raises OptionError where `certify` is "deterministic".
        """
        if self.certify == "deterministic":
            raise OptionError(
                "certify is 'deterministic'; a probabilistic bound needs RSLMI(certify=delta), say 1e-10."
            )
        operators = network_operators(network, array_module(self.array_module), self.dtype)
        count = {"gain": len(operators), "loop": loop_transformed_norms(network)}
        wanted = tuple(count) if self.slopes == "tighter" and network.hidden_layers else (self.slopes,)
        wanted = ("gain",) if not network.hidden_layers else wanted
        norms = _CountedNorms(float(self.certify) / sum(count[w] for w in wanted), self.seed, self.rtol)
        values = {w: _BOUNDS[w](network, operators, norms) for w in wanted}
        best = min(values, key=values.__getitem__)
        return ProbabilisticBound(
            value=values[best],
            delta=float(self.certify),
            seed=int(self.seed),
            method=f"lanczos, {best}",
            matvecs=norms.matvecs,
            quantity="Lipschitz constant",
        )


class _CountedNorms:
    """Norm bounds with one failure probability each, independent seeds, and their total cost."""

    def __init__(self, delta: float, seed: int, rtol: float) -> None:
        self._delta, self._seed, self._rtol = delta, seed, rtol
        self._calls, self.matvecs = 0, 0

    def __call__(self, operator: AbstractOperator) -> float:
        seed = int(np.random.SeedSequence([self._seed, self._calls]).generate_state(1)[0])
        bound = norm_bound(operator, self._delta, seed=seed, rtol=self._rtol)
        self._calls += 1
        self.matvecs += bound.matvecs
        return bound.value


def _by_gains(
    network: Network, operators: list[AbstractOperator], norms: Callable[[AbstractOperator], float]
) -> float:
    return gain_product([norms(op) for op in operators], slope_gains(network))


_BOUNDS: dict[str, Callable[..., float]] = {"gain": _by_gains, "loop": loop_transformed_bound}


def _is_probability(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and 0.0 < float(value) < 1.0


def _check_options(o: RSLMI) -> None:
    if o.m is not None and not (_is_integer(o.m) and o.m >= 1):
        raise OptionError(f"m is {o.m!r}; expected None or an integer of at least 1, the sketch size.")
    if not isinstance(o.sketch, AbstractSketch):
        raise OptionError(
            f"sketch is {o.sketch!r}; expected an object of lmikit.sketching such as Gaussian()."
        )
    if o.certify != "deterministic" and not _is_probability(o.certify):
        raise OptionError(
            f"certify is {o.certify!r}; expected 'deterministic' or a failure probability delta "
            "strictly between 0 and 1."
        )
    if o.slopes not in ("gain", "loop", "tighter"):
        raise OptionError(f"slopes is {o.slopes!r}; expected 'gain', 'loop' or 'tighter'.")
    if not o.rtol > 0:
        raise OptionError(f"rtol is {o.rtol!r}; expected a positive number.")
    if not (_is_integer(o.seed) and o.seed >= 0):
        raise OptionError(f"seed is {o.seed!r}; expected a non-negative integer.")
    if not (_is_integer(o.dense_side) and o.dense_side >= 0):
        raise OptionError(f"dense_side is {o.dense_side!r}; expected an integer of at least 0.")
    if o.dtype not in ("float32", "float64"):
        raise OptionError(f"dtype is {o.dtype!r}; expected 'float32' or 'float64'.")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
