"""Networks out of other frameworks' models and files; each framework is imported when it is called for."""

from ._equinox import from_equinox
from ._flax import from_flax
from ._jax import from_jax
from ._keras import from_keras
from ._keras_file import from_keras_file
from ._nnet import from_nnet
from ._onnx import from_onnx
from ._safetensors import from_safetensors
from ._sklearn import from_sklearn
from ._state_dict import from_state_dict
from ._torch import from_torch
from ._torch_graph import graph_from_torch
from ._vnnlib import InputBox, read_vnnlib
from ._vnnlib_property import OutputLimits, VnnlibCase, VnnlibProperty, read_vnnlib_property

__all__ = [
    "InputBox",
    "OutputLimits",
    "VnnlibCase",
    "VnnlibProperty",
    "from_equinox",
    "from_flax",
    "from_jax",
    "from_keras",
    "from_keras_file",
    "from_nnet",
    "from_onnx",
    "from_safetensors",
    "from_sklearn",
    "from_state_dict",
    "from_torch",
    "graph_from_torch",
    "read_vnnlib",
    "read_vnnlib_property",
]
