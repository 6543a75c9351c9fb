"""Options of RS-LMI training, checked where they are made."""

import dataclasses

from .._errors import OptionError
from ..formulations.rs_lmi import AbstractPenalty, SquaredHinge
from ..sketching import AbstractSketch
from ._checks import instance, positive, whole
from ._optimisers import AbstractOptimiser, Adam

__all__ = ["RSLMIOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RSLMIOptions:
    """loss + sum_k price_k [tau_k + alpha_k P_k(W_k, tau_k; S_k)], by first-order steps.

    `optimiser` moves the weights; `tau_rate` is Adam's rate for log tau_k; `price` is the price of tau where
    no target is given (with one it is 1, for prod tau_k is fixed). At every `every`-th step, on sketches of m
    columns on the smaller side of each W_k, the penalty acts with `every` times its weight. Sketches are
    drawn afresh from `sketch`, or (None) kept and refined by one subspace iteration S <- orth(W'W S) at each
    such step: cheaper, and they see the largest singular values. `decoupled`: the penalty moves the weights
    after the optimiser's step, at the learning rate and by no more than its own curvature bears, instead of
    adding to the gradient that Adam rescales (as weight decay does in AdamW); that is what `every` > 1
    wants. None: where there is a target and the penalty is SquaredHinge; without a target the gradients
    have to add up.

    After `window` sketched steps, alpha_k is doubled where the mean of max(lambda_max(S'(W'W - tau
    I)S), 0)/tau was above `tolerance` (up to `alpha_max`) and relaxed towards `alpha` where it was below a
    quarter of it; where tau_k grew by more than `growth` in a window, alpha_k is doubled too, and the price
    of tau_k where the sketched LMI held all the same, for then alpha has no say. A tau_k beyond
    `divergence` times its start ends the run.

    `certify_every` steps (None: never) a certificate of the current weights is proven; with a target
    and `tighten`, prod tau_k is then set to the target times product/bound, since the exact bound is
    what has to meet it. With a target the first weights are the nearest with |W_k|^2 <= tau_k, all tau_k
    equal (`clip`; a run that starts far outside spends its steps on shrinking). `seed` rules every sketch.
    """

    optimiser: AbstractOptimiser = dataclasses.field(default_factory=Adam)
    sketch: AbstractSketch | None = None
    m: int = 8
    penalty: AbstractPenalty = dataclasses.field(default_factory=SquaredHinge)
    price: float = 1e-2
    alpha: float = 10.0
    alpha_max: float = 1e5
    tolerance: float = 1e-2
    tau_rate: float = 1e-3
    every: int = 1
    decoupled: bool | None = None
    window: int = 50
    growth: float = 2.0
    divergence: float = 1e6
    certify_every: int | None = None
    tighten: bool = True
    clip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        positive(self, "price", "alpha", "alpha_max", "tolerance", "tau_rate", "divergence")
        for name in ("m", "every", "window"):
            whole(name, getattr(self, name))
        if self.certify_every is not None:
            whole("certify_every", self.certify_every)
        whole("seed", self.seed, 0)
        if not self.growth > 1.0 or self.alpha_max < self.alpha:
            raise OptionError(
                f"growth={self.growth!r}, alpha={self.alpha!r}, alpha_max={self.alpha_max!r}; expected "
                "growth > 1 and alpha <= alpha_max."
            )
        if self.decoupled and not isinstance(self.penalty, SquaredHinge):
            raise OptionError(
                f"decoupled steps take SquaredHinge(); with {self.penalty!r} pass decoupled=False."
            )
        instance(self, "optimiser", AbstractOptimiser)
        instance(self, "penalty", AbstractPenalty)
        if self.sketch is not None:
            instance(self, "sketch", AbstractSketch)
