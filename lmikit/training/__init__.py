"""Training with Lipschitz penalties and constraints, through a callback on weight arrays."""

from ._attack import AdversarialMinibatches, pgd_attack
from ._baselines_admm import ADMMResult, ADMMStep, admm_pauli
from ._baselines_sgd import SGDResult, SGDState, sgd, with_weight_decay
from ._callback import LossAndGrad, TrainingDiverged
from ._reference import MLP, Minibatches
from ._shallow import convex_shallow
from ._shallow_result import ShallowResult, ShallowStep

__all__ = [
    "MLP",
    "ADMMResult",
    "ADMMStep",
    "AdversarialMinibatches",
    "LossAndGrad",
    "Minibatches",
    "SGDResult",
    "SGDState",
    "ShallowResult",
    "ShallowStep",
    "TrainingDiverged",
    "admm_pauli",
    "convex_shallow",
    "pgd_attack",
    "sgd",
    "with_weight_decay",
]
