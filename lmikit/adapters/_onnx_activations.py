"""ONNX's activations by operator; defaults are those of the operator's specification."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._convert import as_number
from ..network import (
    CELU,
    ELU,
    GELU,
    SELU,
    Abs,
    Activation,
    Atan,
    Cos,
    Erf,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    Sin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
)
from ._chain import refusal

__all__ = ["ACTIVATIONS"]

Attributes = dict[str, Any]
Make = Callable[[str, Attributes, list[Any]], Activation]


def _gelu(where: str, attributes: Attributes, constants: list[Any]) -> Activation:
    return GELU(bytes(attributes.get("approximate", b"none")).decode())


def _prelu(where: str, attributes: Attributes, constants: list[Any]) -> Activation:
    slope = constants[0] if len(constants) == 1 else None
    if slope is None or slope.size != (slope.shape[-1] if slope.ndim else 1):
        raise refusal(where, "an ONNX PRelu without one constant slope per feature")
    return PReLU(np.asarray(slope).reshape(-1))


def _clip(where: str, attributes: Attributes, constants: list[Any]) -> Activation:
    low, high = ([*constants, None, None])[:2]
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    if low is None or high is None:
        raise refusal(where, "an ONNX Clip without constant lower and upper limits")
    return Hardtanh(as_number(f"layer {where}: minimum", low), as_number(f"layer {where}: maximum", high))


def _selu(where: str, attributes: Attributes, constants: list[Any]) -> Activation:
    usual = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    if any(np.float32(attributes.get(name, value)) != np.float32(value) for name, value in usual.items()):
        raise refusal(where, "an ONNX Selu with constants of its own")
    return SELU()


def _shrink(where: str, attributes: Attributes, constants: list[Any]) -> Activation:
    limit, bias = attributes.get("lambd", 0.5), attributes.get("bias", 0.0)
    if limit != bias or limit < 0.0:
        raise refusal(where, "an ONNX Shrink with lambd other than bias", "it jumps")
    return Softshrink(limit)


def _plain(kind: Callable[[], Activation]) -> Make:
    return lambda where, attributes, constants: kind()


ACTIVATIONS: dict[str, Make] = {
    "Relu": _plain(ReLU),
    "LeakyRelu": lambda where, attributes, constants: LeakyReLU(attributes.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": lambda where, attributes, constants: ELU(attributes.get("alpha", 1.0)),
    "Sigmoid": _plain(Sigmoid),
    "Tanh": _plain(Tanh),
    "Softplus": _plain(Softplus),
    "Gelu": _gelu,
    "Mish": _plain(Mish),
    "HardSwish": _plain(Hardswish),
    "Abs": _plain(Abs),
    "Sin": _plain(Sin),
    "Atan": _plain(Atan),
    "Celu": lambda where, attributes, constants: CELU(attributes.get("alpha", 1.0)),
    "Cos": _plain(Cos),
    "Erf": _plain(Erf),
    "Selu": _selu,
    "Shrink": _shrink,
    "Softsign": _plain(Softsign),
    "Clip": _clip,
}
