"""torch's files: state dicts, checkpoints that hold one, and the archives of stable-baselines3."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import read_unpacked, reading
from ..graph import Graph
from ..network import Network
from ._checkpoints import agent_or_file, part_of, tensors_of
from ._named_tensors import network_of_tensors

__all__ = ["from_state_dict"]

_LARGEST_FILE = 2**32  # bytes


def from_state_dict(
    path: str | os.PathLike[str] | Mapping[str, Any],
    activation: Any = None,
    *,
    order: Sequence[str] | None = None,
    part: str | None = None,
    input_shape: Sequence[int] | None = None,
) -> Network | Graph:
    """The network of a torch state dict: a `.pt` or `.pth` file, or the dict itself.

    Read as data, without torch, and no code of the file runs: state dicts, checkpoints that hold one
    (also Lightning's), TorchScript's tensors, archives of stable-baselines3. `activation` is an
    `Activation`, a name, or a list with one per hidden layer; it is not checked, and may be None only for
    an archive that names it. `part` takes the tensors of one prefix (of several: 'fc1,fc2,mean'), or
    'actor' or 'critic' of an archive: the mean action before any squashing, or the value. `order` lists
    the layers' names in the order of the forward pass, with names of activations among them where they do
    not act once between two linear layers; None is accepted where names differ in one number only, or
    where names and shapes allow one order. BatchNorm (eps = 1e-5), weight and spectral normalisation are
    folded in float64, which rounds.

    Convolutions need `input_shape`, (channels, height, width) or (channels, length), and in `order` what no
    state dict says: ['conv1:stride=2:padding=1', 'relu', 'maxpool:2', 'fc1'] (dilation= too;
    maxpool:3:stride=2, avgpool:global); without an entry stride is 1 and padding 0. Only where names are
    numbered as in an `nn.Sequential` without room for pooling and one stride and padding per size of kernel
    fits, they are taken and logged. A `Graph` where pixels are compared (maxpool). Skips are not in a state
    dict: load it into its module for `from_torch`.

    Raises InputError for pickled modules, for tensors that no layer uses and where the order is not
    known, OptionError where the activation or the image is.
    """
    stated = None
    if isinstance(path, Mapping):
        name, content = "the state dict", dict(path)
    else:
        file = pathlib.Path(path)
        name = file.name
        data = read_unpacked(file, _LARGEST_FILE, "torch file")
        with reading(file, "a torch file"):
            content, stated = agent_or_file(name, data)
    with reading(name, "a state dict"):
        tensors, order = part_of(name, tensors_of(name, content), order, part)
        arrays = {key: _array(key, value) for key, value in tensors.items()}
        return network_of_tensors(
            name, arrays, stated if activation is None else activation, order, input_shape
        )


def _array(name: str, tensor: Any) -> np.ndarray:
    """A host array; a tensor that states more numbers than its storage holds is refused."""
    if isinstance(tensor, np.ndarray):
        return tensor
    if tensor.layout.__str__() != "torch.strided":
        raise InputError(f"{name} is a tensor of layout {tensor.layout}; expected a dense one.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, which its storage does not fill.")
    tensor = tensor.detach().cpu()
    return np.asarray((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())
