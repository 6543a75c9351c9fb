"""One builder for every adapter: steps in the order of the forward pass become a `Network`.

A framework's model is a list of affine maps, scalings per feature and activations, in any order; a
`Network` alternates affine maps and activations and ends with an affine map. What is missing is
filled in with exact pieces: an identity matrix before an activation that follows no affine map and
after one that ends the model, the activation Identity between two affine maps. The product of two
weights is never formed, since it would round. Only scalings (batch normalisation, input
normalisation) are folded into the weight beside them, in float64.
"""

import dataclasses
import logging
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from .._errors import InputError
from ..maps import Convolution2d
from ..network import (
    AbstractLinearMap,
    Activation,
    Identity,
    Network,
    SparseMap,
    TransposedMap,
    resolve_activation,
)

__all__ = [
    "ChainSteps",
    "activation_list",
    "import_error_extra",
    "natural_key",
    "normalisation",
    "refusal",
    "scaled_rows",
]

_log = logging.getLogger("lmikit.adapters")

_SUPPORTED = (
    "fully connected layers, the activations that lmikit names, flattening, dropout that is off and batch "
    "normalisation with fixed statistics"
)


def refusal(where: str, what: str, why: str = "", expected: str = _SUPPORTED) -> InputError:
    """The error for a layer that has no counterpart, or not `expected` options: named, never skipped."""
    return InputError(f"layer {where} is {what}{'; ' + why if why else ''}; expected {expected}.")


def import_error_extra(module: str, package: str) -> str:
    """The message of BackendMissing for an adapter's framework."""
    return f"this adapter needs the module '{module}'; pip install {package}."


def normalisation(gain: Any, shift: Any, mean: Any, variance: Any, eps: float) -> tuple[Any, Any]:
    """(scale, offset) of gain (v - mean) / sqrt(variance + eps) + shift, in float64; None: 1 or 0."""
    mean, variance = floats("a batch normalisation's mean", mean), floats("its variance", variance)
    gain = np.ones_like(mean) if gain is None else floats("a batch normalisation's gain", gain)
    shift = np.zeros_like(mean) if shift is None else floats("a batch normalisation's shift", shift)
    if not (variance + eps > 0.0).all():
        raise InputError(f"a batch normalisation has variance + eps <= 0 (eps = {eps}); expected > 0.")
    scale = gain / np.sqrt(variance + eps)
    return scale, shift - scale * mean


def activation_list(activation: Any, hidden: int) -> list[Activation]:
    """One activation per hidden layer from one for all or a list; there is no default."""
    if isinstance(activation, (list, tuple)):
        if len(activation) != hidden:
            raise InputError(
                f"activation has {len(activation)} entries; expected {hidden}, one per hidden layer."
            )
        return [resolve_activation(a) for a in activation]
    return [resolve_activation(activation)] * hidden


@dataclasses.dataclass(frozen=True, eq=False)
class _AffineStep:
    where: str
    weight: Any  # (out, in), in its own dtype
    bias: Any


@dataclasses.dataclass(frozen=True, eq=False)
class _Scaling:
    where: str
    scale: np.ndarray
    offset: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Phi:
    where: str
    activation: Activation


@dataclasses.dataclass(eq=False)
class _OpenAffine:
    """The affine map that the next activation will close; `weight` None stands for the identity."""

    weight: Any = None
    scale: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def empty(self) -> bool:
        return self.weight is None and self.scale is None and self.bias is None


class ChainSteps:
    """Collects the steps of a forward pass; `network()` builds. Raises InputError naming the layer."""

    def __init__(self, *, logits: bool = False, features: int | None = None) -> None:
        self._steps: list[_AffineStep | _Scaling | _Phi] = []
        self._logits = logits
        self._softmax: str | None = None
        self._features = features
        self._inputs = features

    @property
    def features(self) -> int | None:
        """How many numbers the last step gives; None where nothing has said so yet."""
        return self._features

    def affine(self, where: str, weight: Any, bias: Any = None) -> None:
        """x -> weight x + bias; weight of shape (out, in)."""
        shape = tuple(weight.shape)
        if len(shape) != 2:
            raise refusal(where, f"a linear map with a weight of shape {shape}")
        self._takes(where, int(shape[1]))
        self._steps.append(_AffineStep(where, weight, bias))
        self._features = int(shape[0])

    def scaling(self, where: str, scale: Any, offset: Any) -> None:
        """x -> scale * x + offset, per feature; numbers, or one entry per feature."""
        pair = [floats(f"layer {where}", v) for v in (scale, offset)]
        size = max(v.size for v in pair)
        if size == 1 and self._features is None:
            raise refusal(where, "a scaling before anything says how many features there are")
        size = size if size > 1 else int(self._features or 1)
        self._takes(where, size)
        full = [np.array(np.broadcast_to(v.reshape(-1), (size,))) for v in pair]
        self._steps.append(_Scaling(where, full[0], full[1]))

    def activation(self, where: str, activation: Activation) -> None:
        """x -> activation(x), per feature."""
        self._after_softmax(where)
        if not isinstance(activation, Identity):
            self._steps.append(_Phi(where, activation))

    def flatten(self, where: str, size: int | None = None) -> None:
        """A reshaping of each sample into `size` numbers in the same order (None: whatever there are)."""
        if size is not None:
            self._takes(where, size)

    def softmax(self, where: str, what: str) -> None:
        """A softmax: dropped if it comes last and logits were asked for, refused otherwise."""
        if not self._logits:
            raise refusal(
                where, what, "leave it off, or pass logits=True for the network up to a softmax at the end"
            )
        self._after_softmax(where)
        self._softmax = where

    def network(self) -> Network:
        """The network of all steps."""
        if self._inputs is None or not self._steps:
            raise InputError("the model has no layer with weights; expected at least one linear map.")
        weights: list[Any] = []
        biases: list[Any] = []
        phis: list[Activation] = []
        current, features = _OpenAffine(), self._inputs

        def close() -> None:
            weights.append(_closed(current, features))
            biases.append(current.bias)

        for step in self._steps:
            if isinstance(step, _Scaling):
                _scale(current, step)
                continue
            if isinstance(step, _Phi):
                close()
                phis.append(step.activation)
                current, features = _OpenAffine(), weights[-1].shape[0]
                continue
            if current.weight is not None:
                close()
                phis.append(Identity())
                current = _OpenAffine()
            current = _joined(current, step)
        close()
        return Network.from_arrays(weights, biases, phis)

    def _takes(self, where: str, size: int) -> None:
        self._after_softmax(where)
        if self._features is not None and self._features != size:
            raise InputError(
                f"layer {where} takes {size} features, but the layers before it give {self._features}; "
                "expected layers that chain, each acting on one vector per sample."
            )
        if self._inputs is None:
            self._inputs = size
        self._features = size

    def _after_softmax(self, where: str) -> None:
        if self._softmax is not None:
            raise InputError(f"layer {where} follows the softmax {self._softmax}; expected it at the end.")


def _vector(bias: Any, size: int) -> np.ndarray:
    return np.zeros(size) if bias is None else floats("a bias", bias).reshape(-1)


def _scale(current: _OpenAffine, step: _Scaling) -> None:
    """scale * (current) + offset, in place; a scale of ones leaves the weight as it is."""
    bias = None if current.bias is None else step.scale * _vector(current.bias, step.scale.size)
    current.bias = step.offset if bias is None else bias + step.offset
    if (step.scale == 1.0).all():
        return
    if current.weight is None:
        current.scale = step.scale if current.scale is None else step.scale * current.scale
    else:
        current.weight = _times(step.where, current.weight, rows=step.scale)


def _joined(before: _OpenAffine, step: _AffineStep) -> _OpenAffine:
    """weight (scale * x + offset) + bias as one affine map; exact in the weight if scale is None."""
    weight, bias = step.weight, step.bias
    if before.bias is not None:
        bias = _vector(bias, weight.shape[0]) + _applied(step.where, weight, before.bias)
    if before.scale is not None:
        weight = _times(step.where, weight, columns=before.scale)
    return _OpenAffine(weight, None, bias)


def _applied(where: str, weight: Any, vector: np.ndarray) -> np.ndarray:
    if isinstance(weight, AbstractLinearMap):
        return weight.matvec(vector)
    return np.asarray(floats(f"layer {where}", weight) @ vector)


def scaled_rows(where: str, weight: Any, rows: np.ndarray) -> Any:
    """diag(rows) weight in float64; a convolution stays one where its channels are scaled alone."""
    return _times(where, weight, rows=rows)


def _times(where: str, weight: Any, *, rows: Any = None, columns: Any = None) -> Any:
    """The weight with its rows or columns scaled, in float64."""
    _log.info("layer %s: a scaling is folded into the weight beside it, in float64", where)
    if isinstance(weight, AbstractLinearMap):
        channels = _channels_times(weight, rows, columns)
        if channels is not None:
            return channels
        matrix = weight.to_sparse().tocoo()
        factor = rows[matrix.coords[0]] if columns is None else columns[matrix.coords[1]]
        return SparseMap(sp.csr_array((factor * matrix.data, matrix.coords), shape=weight.shape))
    dense = floats(f"layer {where}", weight)
    return rows[:, None] * dense if columns is None else dense * columns


def _channels_times(linear: AbstractLinearMap, rows: Any, columns: Any) -> AbstractLinearMap | None:
    """A convolution with scaled channels; None for another map, and where a factor varies in a channel."""
    if isinstance(linear, TransposedMap):
        swapped = _channels_times(linear.original, columns, rows)
        return None if swapped is None else TransposedMap(swapped)
    if not isinstance(linear, Convolution2d):
        return None
    shape = linear.input_shape if rows is None else linear.output_shape
    factors = (columns if rows is None else rows).reshape(shape[0], -1)
    if (factors != factors[:, :1]).any():
        return None
    kernel, each = linear.kernel, factors[:, 0]
    if rows is None:
        out, per_group = kernel.shape[:2]
        group = np.arange(out) // (out // linear.groups)
        taken = each[group[:, None] * per_group + np.arange(per_group)]
        return dataclasses.replace(linear, kernel=kernel * taken[:, :, None, None])
    return dataclasses.replace(linear, kernel=kernel * each[:, None, None, None])


def _closed(current: _OpenAffine, features: int) -> Any:
    if current.weight is not None:
        return current.weight
    entries = np.ones(features) if current.scale is None else current.scale
    linear: AbstractLinearMap = SparseMap(sp.csr_array(sp.diags_array(entries)))
    return linear


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sorts 'layer10' after 'layer9'."""
    parts: list[str] = [""]
    for character in text:
        if parts[-1] and character.isdigit() != parts[-1][-1].isdigit():
            parts.append("")
        parts[-1] += character
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
