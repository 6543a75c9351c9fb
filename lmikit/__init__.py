"""lmikit: Lipschitz bounds of neural networks that are tight, fast and proven."""

import logging

from . import adapters, certificates, formulations, lmi, methods, network, sketching, solvers
from ._api import compare, lipschitz, solve
from ._batch import Job, JobResult, certify_many
from ._comparison import Comparison, ComparisonRow
from ._errors import BackendMissing, InputError, LmikitError, NotCertified, OptionError, SolveFailed
from ._load import load_network
from ._progress import Progress
from ._radius import CertifiedAccuracy, PairwiseBounds, certified_accuracy, certified_radius, pairwise_bounds
from ._version import __version__
from ._witness import Witness
from .certificates import Certificate, check, verify
from .methods import (
    RSLMI,
    ClosedForm,
    Eclipse,
    EclipseFast,
    LayerScaling,
    LipSDP,
    NeuronScaling,
    SpectralProduct,
)
from .network import (
    ELU,
    GELU,
    Abs,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    Network,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Slopes,
    Softplus,
    Tanh,
    lower_bound,
)

logging.getLogger("lmikit").addHandler(logging.NullHandler())

__all__ = [
    "ELU",
    "GELU",
    "RSLMI",
    "Abs",
    "BackendMissing",
    "Certificate",
    "CertifiedAccuracy",
    "ClosedForm",
    "Comparison",
    "ComparisonRow",
    "Eclipse",
    "EclipseFast",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InputError",
    "Job",
    "JobResult",
    "LayerScaling",
    "LeakyReLU",
    "LipSDP",
    "LmikitError",
    "Mish",
    "Network",
    "NeuronScaling",
    "NotCertified",
    "OptionError",
    "PReLU",
    "PairwiseBounds",
    "Progress",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Sin",
    "Slopes",
    "Softplus",
    "SolveFailed",
    "SpectralProduct",
    "Tanh",
    "Witness",
    "__version__",
    "adapters",
    "certificates",
    "certified_accuracy",
    "certified_radius",
    "certify_many",
    "check",
    "compare",
    "formulations",
    "lipschitz",
    "lmi",
    "load_network",
    "lower_bound",
    "methods",
    "network",
    "pairwise_bounds",
    "sketching",
    "solve",
    "solvers",
    "verify",
]
