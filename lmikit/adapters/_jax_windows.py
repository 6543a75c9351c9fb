"""JAX's convolutions, and sums and extremes over windows, as recorded steps.

Layouts are permutations before and after, which cancel against each other.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ..maps import Convolution2d, transposed_convolution2d
from ._jax_primitive import PRODUCT, Primitive
from ._onnx_values import Tensor
from ._steps import size_of

__all__ = ["convolution", "window_max", "window_min", "window_sum"]


def convolution(p: Primitive) -> Tensor:
    """One sample of an image or signal; a dilated input is that of a transposed convolution."""
    numbers, params = p.params["dimension_numbers"], p.params
    if not isinstance(p.operands[0], Tensor) or not isinstance(p.operands[1], np.ndarray):
        raise p.refuse("whose kernel depends on the input", PRODUCT)
    n = len(p.operation.shape) - 2
    given = p.rearranged(p.operands[0], lambda index: index.transpose(numbers.lhs_spec))
    if n not in (1, 2) or given.shape[0] != 1 or params["batch_group_count"] != 1:
        raise p.refuse(
            f"of values of shape {p.operands[0].shape}; images and signals are read, one sample of them",
            "pass an example of one sample",
        )
    flat = lambda values, fill: (*[fill] * (2 - n), *values)  # noqa: E731
    image = (given.shape[1], *flat(given.shape[2:], 1))
    kernel = p.operands[1].transpose(numbers.rhs_spec)
    kernel = kernel[:, :, None] if n == 1 else kernel
    pads = flat([(int(a), int(b)) for a, b in params["padding"]], (0, 0))
    dilation, groups = flat(params["rhs_dilation"], 1), int(params["feature_group_count"])
    dilated, strides = flat(params["lhs_dilation"], 1), flat(params["window_strides"], 1)
    if set(dilated) != {1}:
        linear, shape = _transposed(p, kernel, image, dilated, strides, pads, dilation, groups)
    else:
        if any(v < 0 for pair in pads for v in pair):
            raise p.refuse(f"with padding {pads}", "slice the image first where it is negative")
        plain = Convolution2d(kernel, image, strides, pads, dilation, groups)
        linear, shape = plain, plain.output_shape
    result = Tensor(p.steps.affine(p.where, given.step, linear), (1, shape[0], *shape[3 - n :]))
    return p.rearranged(result, lambda index: index.transpose(np.argsort(numbers.out_spec)))


def _transposed(
    p: Primitive, kernel: np.ndarray, image: Any, dilated: Any, strides: Any, pads: Any, dilation: Any,
    groups: int,
) -> tuple[Any, tuple[int, int, int]]:  # fmt: skip
    """A convolution of an input with zeros between its pixels is the adjoint of a strided one."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    cut = [(r - a, r - b) for r, (a, b) in zip(reach, pads, strict=True)]
    if set(strides) != {1} or any(a < 0 for a, _ in cut):
        raise p.refuse(f"with lhs_dilation {dilated}, window_strides {strides} and padding {pads}")
    out, each = kernel.shape[:2]
    swapped = kernel.reshape(groups, out // groups, each, *kernel.shape[2:]).swapaxes(1, 2)
    linear = transposed_convolution2d(
        swapped.reshape(groups * each, out // groups, *kernel.shape[2:])[:, :, ::-1, ::-1],
        image,
        stride=dilated,
        padding=tuple((a, max(b, 0)) for a, b in cut),
        output_padding=tuple(max(-b, 0) for _, b in cut),
        dilation=dilation,
        groups=groups,
    )
    forward = linear.original
    assert isinstance(forward, Convolution2d)
    return linear, forward.input_shape


def _windows(p: Primitive, numbers: np.ndarray) -> np.ndarray:
    """(windows, taps): the numbers of the entries that each window takes, -1 where it leaves the array."""
    params = p.params
    if set(params["base_dilation"]) != {1}:
        raise p.refuse("with a dilated input")
    padded = np.pad(numbers, [(max(a, 0), max(b, 0)) for a, b in params["padding"]], constant_values=-1)
    if min(v for pair in params["padding"] for v in pair) < 0:
        raise p.refuse(f"with padding {params['padding']}", "slice first where it is negative")
    sizes, steps = params["window_dimensions"], params["window_dilation"]
    reach = tuple(d * (k - 1) + 1 for k, d in zip(sizes, steps, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach)
    rank = padded.ndim
    picks = [slice(None, None, int(s)) for s in (*params["window_strides"], *steps)]
    p.steps.spend(p.where, size_of(p.operation.shape) * size_of(sizes))
    return view[tuple(picks)].reshape(-1, size_of(sizes)) if rank else view.reshape(1, 1)


def window_max(p: Primitive) -> Tensor:
    value = p.value()
    windows = _windows(p, np.arange(size_of(value.shape)).reshape(value.shape))
    found = [window[window >= 0] for window in windows]
    if min(window.size for window in found) < 1:
        raise p.refuse("with a window that holds nothing but padding")
    return Tensor(p.steps.largest(p.where, value.step, found), p.operation.shape)


def window_min(p: Primitive) -> Tensor:
    arithmetic = p.arithmetic()
    p.operands[0] = arithmetic.scaled(p.value(), -1.0, 0.0)
    return arithmetic.scaled(window_max(p), -1.0, 0.0)


def window_sum(p: Primitive) -> Tensor:
    """Sums along one or two axes are a convolution with ones, along more a sparse matrix."""
    value, sizes, params = p.value(), p.params["window_dimensions"], p.params
    trivial = zip(sizes, params["window_strides"], params["padding"], strict=True)
    axes = [k for k, (n, s, pad) in enumerate(trivial) if (n, s, tuple(pad)) != (1, 1, (0, 0))]
    rank = len(value.shape)
    if rank < 2 or len(axes) > 2 or set(params["base_dilation"]) != {1}:
        windows = _windows(p, np.arange(size_of(value.shape)).reshape(value.shape))
        rows, taps = np.nonzero(windows >= 0)
        entries = np.ones(rows.size), (rows, windows[rows, taps])
        matrix = sp.csr_array(sp.coo_array(entries, shape=(len(windows), size_of(value.shape))))
        return Tensor(p.steps.affine(p.where, value.step, matrix), p.operation.shape)
    first, second = sorted([*axes, *(k for k in reversed(range(rank)) if k not in axes)][:2])
    axes, others = [first, second], [k for k in range(rank) if k not in (first, second)]
    given = p.rearranged(value, lambda index: index.transpose(*others, *axes))
    channels = size_of(tuple(value.shape[k] for k in others))
    of = lambda name: (params[name][first], params[name][second])  # noqa: E731
    kernel = np.ones((channels, 1, *of("window_dimensions")))
    image = (channels, *(value.shape[k] for k in axes))
    pads = tuple((int(a), int(b)) for a, b in of("padding"))
    linear = Convolution2d(kernel, image, of("window_strides"), pads, of("window_dilation"), channels)
    shape = tuple(p.operation.shape[k] for k in (*others, *axes))
    result = Tensor(p.steps.affine(p.where, given.step, linear), shape)
    return p.rearranged(result, lambda index: index.transpose(np.argsort([*others, *axes])))
