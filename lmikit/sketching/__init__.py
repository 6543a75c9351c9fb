"""Random sketches, norm estimates and norm bounds of linear operators, on any array module."""

from ._convolution import ConvolutionOperator
from ._gram import gram_bound, gram_values
from ._norms import PROBABILISTIC_METHODS, norm_bound
from ._operators import (
    AbstractOperator,
    DenseOperator,
    DiagonalOperator,
    MatrixFreeOperator,
    ProductOperator,
    SparseOperator,
    as_operator,
    check_adjoint,
)
from ._projection import AbstractProjection, DenseProjection
from ._ritz import NestedEstimate, largest_pencil_value, nested_estimate, sketched_estimate
from ._sketches import (
    SKETCHES,
    AbstractSketch,
    Gaussian,
    Haar,
    PowerRefined,
    SparseSign,
    SubsampledCosine,
    SubsampledHadamard,
)
from ._symbol import convolution_bound
from ._types import DeterministicBound, Estimate, ProbabilisticBound

__all__ = [
    "PROBABILISTIC_METHODS",
    "SKETCHES",
    "AbstractOperator",
    "AbstractProjection",
    "AbstractSketch",
    "ConvolutionOperator",
    "DenseOperator",
    "DenseProjection",
    "DeterministicBound",
    "DiagonalOperator",
    "Estimate",
    "Gaussian",
    "Haar",
    "MatrixFreeOperator",
    "NestedEstimate",
    "PowerRefined",
    "ProbabilisticBound",
    "ProductOperator",
    "SparseOperator",
    "SparseSign",
    "SubsampledCosine",
    "SubsampledHadamard",
    "as_operator",
    "check_adjoint",
    "convolution_bound",
    "gram_bound",
    "gram_values",
    "largest_pencil_value",
    "nested_estimate",
    "norm_bound",
    "sketched_estimate",
]
