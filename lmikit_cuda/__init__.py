"""lmikit on NVIDIA GPUs through CuPy; found by lmikit through an entry point."""

from ._batched import batched_eigvalsh, batched_norm_margins, batched_norms, batched_penalties
from ._module import CupyModule, cupy_module

__all__ = [
    "CupyModule",
    "batched_eigvalsh",
    "batched_norm_margins",
    "batched_norms",
    "batched_penalties",
    "cupy_module",
]
