"""What to call instead of a numpy function that is given an expression."""

from collections.abc import Callable
from typing import Any, NoReturn

from .._errors import InputError

__all__ = ["answer"]

_INSTEAD = {
    "kron": "lmikit.lmi.kron",
    "diag": "lmikit.lmi.diag",
    "diagonal": ".diagonal()",
    "trace": ".trace()",
    "sum": ".sum()",
    "transpose": ".T",
    "vstack": "lmikit.lmi.vstack",
    "hstack": "lmikit.lmi.hstack",
    "concatenate": "lmikit.lmi.vstack or hstack",
    "block": "lmikit.lmi.block",
    "reshape": ".reshape(rows, columns)",
    "ravel": "lmikit.lmi.vec",
    "norm": "lmikit.lmi.norm",
    "real": ".real",
    "imag": ".imag",
    "dot": "@",
    "eigvalsh": "lmikit.lmi.lambda_max or lambda_min",
    "slogdet": "lmikit.lmi.log_det",
}


_ANSWERED: dict[str, Callable[[Any], Any]] = {
    "shape": lambda e: e.shape,
    "ndim": lambda e: 2,
    "size": lambda e: e.shape[0] * e.shape[1],
    "iscomplexobj": lambda e: e.is_complex,
}


def answer(func: Any, args: tuple[Any, ...]) -> Any:
    """Shapes are told; for all else raise InputError with the lmikit name for the same."""
    name = getattr(func, "__name__", str(func))
    if name in _ANSWERED and len(args) == 1:
        return _ANSWERED[name](args[0])
    _refuse(name)


def _refuse(name: str) -> NoReturn:
    instead = _INSTEAD.get(name)
    hint = f"use {instead}" if instead else "there is no lmikit function for it"
    raise InputError(f"numpy.{name} does not take lmikit expressions; {hint}.")
