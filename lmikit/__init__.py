"""lmikit: Lipschitz bounds of neural networks that are tight, fast and proven."""

import logging

from . import certificates, formulations, lmi, methods, network, sketching, solvers
from ._api import compare, lipschitz, solve
from ._comparison import Comparison, ComparisonRow
from ._errors import BackendMissing, InputError, LmikitError, NotCertified, OptionError, SolveFailed
from ._progress import Progress
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
    "ClosedForm",
    "Comparison",
    "ComparisonRow",
    "Eclipse",
    "EclipseFast",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InputError",
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
    "certificates",
    "check",
    "compare",
    "formulations",
    "lipschitz",
    "lmi",
    "lower_bound",
    "methods",
    "network",
    "sketching",
    "solve",
    "solvers",
    "verify",
]
