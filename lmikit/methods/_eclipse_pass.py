"""ECLipsE-Fast as one pass of the recursion, which also brings every layer's gain near 1."""

import math

import numpy as np

from .._eigen import top_eigenvalue
from .._errors import SolveFailed
from ._recursion import EliminatedChain, Evaluation, advance, exact_shift, finish, first_gram, rescaled

__all__ = ["dominated", "fast_pass"]

# Keeps K of Lemma 1 positive where kappa = 1 (slopes [-m, m]), whose margin 1 - kappa is zero.
_MARGIN = 1e-9
# Entries of a rescaled Gram matrix stay below 2 to this power, so that their sums stay finite.
_LARGEST_EXPONENT = 960


def dominated(kappa: np.ndarray, e: np.ndarray) -> np.ndarray:
    """d = kappa E of Lemma 2, kept strictly inside the feasible set."""
    return np.maximum(kappa, kappa * kappa * (1.0 + _MARGIN)) * e


def fast_pass(chain: EliminatedChain) -> tuple[EliminatedChain, Evaluation]:
    """(chain rescaled by exact powers of two, its ECLipsE-Fast evaluation): E = lambda_max(m G m) I.

    After it every m G m has its largest eigenvalue in [1/4, 2), so that products over many
    layers neither overflow nor underflow. Raises SolveFailed where entries leave the range.
    """
    gram, steps, extra = first_gram(chain), [], [0] * len(chain.weights)
    for k in range(1, len(chain.weights)):
        m = chain.gain[k - 1]
        largest = top_eigenvalue(m[:, None] * gram * m)
        shift = exact_shift(chain.weights[k - 1], max(_half_exponent(largest), _least_shift(gram)))
        extra[k - 1] = shift
        gram, largest = np.ldexp(gram, -2 * shift), math.ldexp(largest, -2 * shift)
        d = dominated(chain.kappa[k - 1], np.full(m.shape, largest if largest > 0.0 else 1.0))
        result = advance(chain, k, gram, d)
        if result is None:
            raise _out_of_range(k)
        steps.append(result[0])
        gram = result[1]
    shift = exact_shift(chain.weights[-1], _half_exponent(float(np.trace(gram))))
    extra[-1] = shift
    evaluation = finish(np.ldexp(gram, -2 * shift), steps)
    if evaluation is None:
        raise _out_of_range(len(chain.weights))
    return rescaled(chain, extra), evaluation


def _half_exponent(value: float) -> int:
    return math.frexp(value)[1] // 2 if value > 0.0 and math.isfinite(value) else 0


def _least_shift(gram: np.ndarray) -> int:
    """The least p at which 2**(-2 p) gram stays finite: saturated neurons ask for less (gains of 1e-300)."""
    exponent = math.frexp(float(np.abs(gram).max(initial=0.0)))[1]
    return -((_LARGEST_EXPONENT - exponent) // 2)


def _out_of_range(k: int) -> SolveFailed:
    return SolveFailed(
        f"the closed-form multipliers of layer {k} left the range of float64; expected slopes and, within "
        "one layer, weights that span fewer powers of ten. Rescale the layer."
    )
