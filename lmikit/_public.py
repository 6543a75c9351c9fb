"""The names of `lmikit` itself; a name is added by one line here.

`lmikit/__init__.py` imports this module when the first of them is used; `as` marks what it exports.
"""

from ._api import compare as compare
from ._api import lipschitz as lipschitz
from ._api import solve as solve
from ._batch import Job as Job
from ._batch import JobResult as JobResult
from ._batch import certify_many as certify_many
from ._comparison import Comparison as Comparison
from ._comparison import ComparisonRow as ComparisonRow
from ._errors import BackendMissing as BackendMissing
from ._errors import InputError as InputError
from ._errors import LmikitError as LmikitError
from ._errors import NotCertified as NotCertified
from ._errors import OptionError as OptionError
from ._errors import SolveFailed as SolveFailed
from ._load import load_network as load_network
from ._progress import Progress as Progress
from ._radius import CertifiedAccuracy as CertifiedAccuracy
from ._radius import PairwiseBounds as PairwiseBounds
from ._radius import certified_accuracy as certified_accuracy
from ._radius import certified_radius as certified_radius
from ._radius import pairwise_bounds as pairwise_bounds
from ._witness import Witness as Witness
from .certificates import Certificate as Certificate
from .certificates import check as check
from .certificates import verify as verify
from .methods import RSLMI as RSLMI
from .methods import ClosedForm as ClosedForm
from .methods import Eclipse as Eclipse
from .methods import EclipseFast as EclipseFast
from .methods import LayerScaling as LayerScaling
from .methods import LipSDP as LipSDP
from .methods import NeuronScaling as NeuronScaling
from .methods import SpectralProduct as SpectralProduct
from .network import ELU as ELU
from .network import GELU as GELU
from .network import Abs as Abs
from .network import Hardswish as Hardswish
from .network import Hardtanh as Hardtanh
from .network import Identity as Identity
from .network import LeakyReLU as LeakyReLU
from .network import Mish as Mish
from .network import Network as Network
from .network import PReLU as PReLU
from .network import ReLU as ReLU
from .network import Sigmoid as Sigmoid
from .network import SiLU as SiLU
from .network import Sin as Sin
from .network import Slopes as Slopes
from .network import Softplus as Softplus
from .network import Tanh as Tanh
from .network import lower_bound as lower_bound
