"""What the readers of Keras's layers share: one layer's options and arrays, and its activation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..network import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from ._chain import refusal
from ._moves import moved
from ._onnx_values import Tensor
from ._steps import Steps

__all__ = ["Call", "activated"]

ACTIVATIONS: dict[str, Activation] = {
    "linear": Identity(), "relu": ReLU(), "relu6": ReLU6(), "tanh": Tanh(), "sigmoid": Sigmoid(),
    "elu": ELU(), "selu": SELU(), "softplus": Softplus(), "softsign": Softsign(), "gelu": GELU(),
    "silu": SiLU(), "swish": SiLU(), "mish": Mish(), "leaky_relu": LeakyReLU(0.2), "celu": CELU(),
    "hard_tanh": Hardtanh(), "hard_silu": Hardswish(), "hard_swish": Hardswish(),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One layer: its name, options, arrays by name, and the recorder."""

    where: str
    kind: str
    options: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    steps: Steps
    keras: int  # the major version that wrote the model, 0 where nothing says

    def refuse(self, what: str, why: str = "") -> Exception:
        return refusal(self.where, f"a Keras {self.kind} {what}".strip(), why)

    def array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise self.refuse(
                f"without its {name}: the file holds {', '.join(self.arrays)[:80] or 'nothing'}"
            )
        return self.arrays[name]

    def pair(self, name: str, fill: int) -> tuple[int, int]:
        """An option of one integer or two."""
        given = self.options.get(name)
        given = fill if given is None else given
        values = [given, given] if isinstance(given, int) else list(given)
        if len(values) != 2 or not all(isinstance(v, int) and v > 0 for v in values):
            raise self.refuse(f"with {name} {str(given)[:40]}")
        return values[0], values[1]

    def moved(self, value: Tensor, mover: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """The entries that `mover` takes, moved by it."""
        return moved(self.steps, self.where, [value], lambda arrays: [mover(arrays[0])])[0]

    def channels_first(self, value: Tensor) -> Tensor:
        """An image (height, width, channels) as (channels, height, width)."""
        if len(value.shape) != 3:
            raise self.refuse(f"of samples of shape {value.shape}")
        if self.options.get("data_format") == "channels_first":
            return value
        return self.moved(value, lambda index: index.transpose(2, 0, 1))

    def channels_back(self, step: int, shape: tuple[int, int, int]) -> Tensor:
        first = Tensor(step, shape)
        return (
            first
            if self.options.get("data_format") == "channels_first"
            else self.moved(first, lambda index: index.transpose(1, 2, 0))
        )

    def sides(self, value: Tensor, taps: tuple[int, int], strides: tuple[int, int]) -> Any:
        """The padding of 'valid' or 'same' for an image (channels, height, width)."""
        mode = self.options.get("padding", "valid")
        if mode not in ("valid", "same"):
            raise self.refuse(f"with padding {str(mode)[:40]!r}")
        if mode == "valid":
            return ((0, 0), (0, 0))
        totals = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(value.shape[1:], taps, strides, strict=True)
        ]
        return tuple((t // 2, t - t // 2) for t in totals)


def activated(call: Call, value: Tensor) -> Tensor:
    """The activation that a layer names, at its end."""
    name = call.options.get("activation") or "linear"
    if not isinstance(name, str):  # Keras's own functions are written by their names
        kind = name.get("class_name") if isinstance(name, dict) else name
        raise call.refuse(f"with the activation {str(kind)[:80]}, which is no function of Keras")
    if name == "softmax":
        return Tensor(call.steps.softmax(call.where, value.step, "a softmax activation"), value.shape)
    if name == "hard_sigmoid":
        return _hard_sigmoid(call, value)
    if name not in ACTIVATIONS:
        raise call.refuse(f"with the activation {str(name)[:80]}")
    return Tensor(call.steps.activation(call.where, value.step, ACTIVATIONS[name]), value.shape)


def _hard_sigmoid(call: Call, value: Tensor) -> Tensor:
    """clip(x / 6 + 1/2, 0, 1) since Keras 3, clip(x / 5 + 1/2, 0, 1) before."""
    if not call.keras:
        raise call.refuse(
            "with a hard_sigmoid", "its slope differs between Keras 2 and 3, and nothing says which"
        )
    slope = 1.0 / 6.0 if call.keras > 2 else 0.2
    scaled = call.steps.scaling(call.where, value.step, slope, 0.5)
    return Tensor(call.steps.activation(call.where, scaled, Hardtanh(0.0, 1.0)), value.shape)
