"""Detection of the floating-point environment of this thread; a proof outside IEEE defaults is refused.

Every theorem used in this room assumes binary64 with round to nearest, ties to even, and gradual
underflow. Flush-to-zero and denormals-are-zero are flags of the running thread (PyTorch's
`set_flush_denormal` sets them for NumPy too), and so is the rounding mode (C's `fesetround`), hence
the test is made at run time, in the thread that computes, in scalar code and through the BLAS.
"""

import numpy as np
import scipy.linalg.blas

from .._errors import NotCertified

__all__ = ["environment_fault", "require_ieee"]

_TINY = np.array([2.0**-1022, 2.0**-1074, 1.0, 2.0**-53, 2.0**-60, 3 * 2.0**-53, 0.5, 2.0**60])


def environment_fault() -> str:
    """What is wrong with this thread's binary64 arithmetic; the empty string if nothing is."""
    normal, denormal, one, half_ulp, small, three_halves, half, large = _TINY
    with np.errstate(all="ignore"):
        if not normal * half > 0.0 or not (normal - normal * half) > 0.0:
            return "results below 2**-1022 are flushed to zero"
        if denormal * large != 2.0**-1014 or not denormal + denormal > 0.0:
            return "subnormal operands are taken as zero"
        if _vector_faulty():
            return "the vector or BLAS kernels flush subnormal numbers"
        nearest = (
            one + small == 1.0
            and -one - small == -1.0
            and one - small == 1.0
            and one + half_ulp == 1.0
            and -one - half_ulp == -1.0
            and one + three_halves == 1.0 + 2.0**-51
            and -one - three_halves == -1.0 - 2.0**-51
        )
    return "" if nearest else "the rounding mode is not 'to nearest, ties to even'"


def _vector_faulty() -> bool:
    values = np.full((16, 16), _TINY[1])
    scale = np.diag(np.full(16, _TINY[7]))
    wanted = np.full((16, 16), 2.0**-1014)
    product = scipy.linalg.blas.dgemm(1.0, values, scale)
    halves = np.full(16, _TINY[0]) * np.full(16, _TINY[6])
    return not (np.array_equal(product, wanted) and np.array_equal(values @ scale, wanted) and halves.all())


def require_ieee() -> None:
    """Raise NotCertified where this thread's arithmetic is not the one that the proofs assume."""
    fault = environment_fault()
    if fault:
        raise NotCertified(
            f"the floating-point environment of this thread is not IEEE 754's default: {fault}; expected "
            "gradual underflow and round-to-nearest. Reset it (torch.set_flush_denormal(False), "
            "fesetround(FE_TONEAREST)) and verify again."
        )
