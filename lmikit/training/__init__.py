"""Training with Lipschitz penalties and constraints, through a callback on weight arrays."""

from ..attacks import pgd_attack
from . import layers
from ._adapters import JaxLoss, TorchLoss
from ._baselines_admm import ADMMResult, ADMMStep, admm_pauli
from ._callback import CallbackError, LossAndGrad, TrainingDiverged
from ._dense import dense_forward, dense_network, initial_weights
from ._dense_loss import DenseLoss
from ._early_stopping import EarlyStopped, early_stopped_sgd
from ._lip_loop import lip_loop
from ._lip_loop_options import LipLoopOptions
from ._losses import CrossEntropy, SquaredError
from ._margin_losses import AbstractMarginLoss, CertifiedHinge, WorstCaseLogits
from ._mlp import MLP, AbstractMinibatches, AdversarialMinibatches, Minibatches
from ._optimisers import AbstractOptimiser, Adam, Momentum
from ._pair_multipliers import TrainableMultipliers
from ._pairwise_gains import AbstractPairwiseGain, NonexpansiveGain, ProductGain
from ._pairwise_gradient import PairwiseGradient, pairwise_gradient
from ._parameter_sensitivity import ParameterSensitivity, parameter_sensitivity
from ._penalties import with_norm_penalty, with_sketched_penalty, with_weight_decay
from ._projection import ProjectionResult, project_weights
from ._result import TrainingResult
from ._retraction import AbstractRetraction, Orthogonal
from ._row_attack import TRADES, RowAttack
from ._rs_lmi import rs_lmi
from ._rs_lmi_options import RSLMIOptions
from ._sgd import SGDResult, sgd
from ._state import TrainingState
from ._traced_gains import pairwise_gains, product_gains
from .shallow import ShallowResult, ShallowStep, convex_shallow, reduce_lipschitz

__all__ = [
    "MLP",
    "TRADES",
    "ADMMResult",
    "ADMMStep",
    "AbstractMarginLoss",
    "AbstractMinibatches",
    "AbstractOptimiser",
    "AbstractPairwiseGain",
    "AbstractRetraction",
    "Adam",
    "AdversarialMinibatches",
    "CallbackError",
    "CertifiedHinge",
    "CrossEntropy",
    "DenseLoss",
    "EarlyStopped",
    "JaxLoss",
    "LipLoopOptions",
    "LossAndGrad",
    "Minibatches",
    "Momentum",
    "NonexpansiveGain",
    "Orthogonal",
    "PairwiseGradient",
    "ParameterSensitivity",
    "ProductGain",
    "ProjectionResult",
    "RSLMIOptions",
    "RowAttack",
    "SGDResult",
    "ShallowResult",
    "ShallowStep",
    "SquaredError",
    "TorchLoss",
    "TrainableMultipliers",
    "TrainingDiverged",
    "TrainingResult",
    "TrainingState",
    "WorstCaseLogits",
    "admm_pauli",
    "convex_shallow",
    "dense_forward",
    "dense_network",
    "early_stopped_sgd",
    "initial_weights",
    "layers",
    "lip_loop",
    "pairwise_gains",
    "pairwise_gradient",
    "parameter_sensitivity",
    "pgd_attack",
    "product_gains",
    "project_weights",
    "reduce_lipschitz",
    "rs_lmi",
    "sgd",
    "with_norm_penalty",
    "with_sketched_penalty",
    "with_weight_decay",
]
