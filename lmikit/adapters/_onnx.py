"""ONNX: models of affine operators and activations, read by following shapes and constants.

The first axis of an input of rank 2 or more counts samples where the file leaves its size open or
states more than one; a model is then read for one sample, and whatever would mix samples is refused.
An input of rank 1, or with a first axis of size 1, is read as it stands.
"""

import collections
import os
from collections.abc import Sequence
from typing import Any

from .._errors import BackendMissing, InputError
from .._files import reading
from ..graph import Graph
from ..network import Network
from ._chain import import_error_extra
from ._onnx_file import read_model, refuse_external
from ._onnx_reader import DOMAINS, Reader

__all__ = ["from_onnx"]

_OLDEST_OPSET = 6  # operators meant something else before


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    input: str | Sequence[str] | None = None,
    logits: bool = False,
) -> Network | Graph:
    """What an ONNX model (a path or a ModelProto) computes, with the same outputs to rounding.

    A `Network` where the model is a chain, a `Graph` where values meet. Read, in any order of nodes:
    Gemm and MatMul with a constant on either side, Conv and ConvTranspose of images and signals (groups,
    dilations, strides, pads, auto_pad), AveragePool, MaxPool and the global ones, sums and differences of
    values, Add, Sub, Mul, Div, Max, Min, Mean with constants, BatchNormalization in inference mode,
    ReduceSum, ReduceMean, ReduceL1, ReduceMax, ReduceMin, CumSum, the activations that lmikit has (also
    SiLU, GELU, Mish and Hardswish written out), Clip, PRelu, Dropout without training; Reshape, Flatten,
    Transpose, Squeeze, Unsqueeze, Slice, Split, Gather, Concat, Expand, Tile, Pad, Resize and Upsample to
    the nearest pixel, DepthToSpace, ScatterND and Where at constant places; arithmetic of constants and
    shapes. Values of any shape are flattened in row order. Several inputs are one input, one after the
    other in the file's order; `input` names those that are meant, in their order, or other values to begin
    at whose shapes the file states. `output` names the value to stop at (None: the graph's only output);
    `logits=True` leaves off a Softmax at the very end. Scalings are folded in float64, which rounds.

    Raises InputError naming the node for everything else, BackendMissing without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendMissing(import_error_extra("onnx", "'lmikit[onnx]'")) from error
    if isinstance(model, (str, os.PathLike)):
        model = read_model(onnx, model)
    if not isinstance(model, onnx.ModelProto):
        raise InputError(f"model is a {type(model).__name__}; expected a path or an onnx.ModelProto.")
    refuse_external(model)
    _refuse_model(model)
    for opset in model.opset_import:
        if opset.domain in DOMAINS and opset.version < _OLDEST_OPSET:
            raise InputError(
                f"the model has opset {opset.version}; expected {_OLDEST_OPSET} or later: convert it with "
                "onnx.version_converter."
            )
    with reading("the model", "ONNX"):
        inputs = [input] if isinstance(input, str) else input
        return _read(onnx, model, output, inputs, logits)


def _refuse_model(model: Any) -> None:
    """What would let the same file mean two things."""
    if not any(opset.domain in DOMAINS for opset in model.opset_import):
        raise InputError("the model names no opset of ONNX; expected one.")
    if any(function.domain in DOMAINS for function in model.functions):
        raise InputError("the model redefines operators of ONNX by functions of its own; expected none.")
    graph = model.graph
    if graph.sparse_initializer:
        raise InputError("the model has sparse initializers; expected dense ones.")
    names = [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in node.output if name]
    given = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    counts = collections.Counter([*names, *given])
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(
            f"the model gives the value {twice[0][:80]!r} twice; expected each initializer, input and output "
            "of a node under a name of its own."
        )


def _read(
    onnx: Any, model: Any, output: str | None, inputs: Sequence[str] | None, logits: bool
) -> Network | Graph:
    """For one sample; where the file states several and they are not kept apart, as one input of all."""
    reader = Reader(onnx, model, output, inputs, logits, whole=False)
    try:
        return reader.read()
    except InputError:
        if reader.samples is None or not reader.apart:
            raise
        return Reader(onnx, model, output, inputs, logits, whole=True).read()
