"""Every ONNX operator that is read, by what it does with its operands."""

from collections.abc import Callable

from ._onnx_images import IMAGES
from ._onnx_layouts import LAYOUTS
from ._onnx_linear import LINEAR
from ._onnx_shapes import SHAPES, Arrays, NodeCall
from ._onnx_values import ELEMENTWISE, Arithmetic, Tensor

__all__ = ["MOVED", "MOVES", "OPERATORS"]

MOVES: dict[str, Callable[[Arrays, NodeCall], Arrays]] = {**SHAPES, **LAYOUTS}
MOVED = {"ScatterND": (0, 2), "Where": (1, 2)}  # the operands whose entries are moved, where not the first
OPERATORS: dict[str, Callable[[Arithmetic], Tensor]] = {**ELEMENTWISE, **LINEAR, **IMAGES}
