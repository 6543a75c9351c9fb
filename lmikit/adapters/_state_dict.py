"""torch's files: state dicts, checkpoints that hold one, and the archives of stable-baselines3.

Only `torch.load(..., weights_only=True)` reads them, which runs no code of the file.
"""

import io
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import BackendMissing, InputError, OptionError
from .._files import read_unpacked, reading
from ..network import Network
from ._chain import import_error_extra
from ._named_tensors import network_of_tensors, of_part

__all__ = ["from_state_dict"]

_LARGEST_FILE = 2**32  # bytes
_HOLDERS = ("state_dict", "model_state_dict", "model")  # of checkpoints
_AGENT = "policy.pth"  # of a stable-baselines3 archive

# The layers of stable-baselines3's policies: (prefix of the hidden layers, name of the last or None).
_POLICIES = {
    "actor": (
        ("mlp_extractor.policy_net", "action_net"),
        ("actor.latent_pi", "actor.mu"),
        ("actor.mu", None),
    ),
    "critic": (("mlp_extractor.value_net", "value_net"), ("q_net.q_net", None), ("critic.qf0", None)),
}


def from_state_dict(
    path: str | os.PathLike[str] | Mapping[str, Any],
    activation: Any,
    *,
    order: Sequence[str] | None = None,
    part: str | None = None,
) -> Network:
    """The fully connected network of a torch state dict: a `.pt` or `.pth` file, or the dict itself.

    Read with `weights_only=True`: state dicts, checkpoints that hold one under 'state_dict',
    'model_state_dict' or 'model', and archives of stable-baselines3. `activation` is an `Activation`, a
    name, or a list with one per hidden layer: the file does not say, and it is not checked. `part` takes
    the tensors of one prefix, or 'actor' or 'critic' of an archive: the mean action before any squashing,
    or the value. `order` lists the layers' names in the order of the forward pass; None is accepted where
    names differ in one number only, or where only one order of the shapes chains.

    Raises InputError for pickled modules, for tensors that no layer uses and where the order is not
    known; BackendMissing without torch.
    """
    if activation is None:
        raise OptionError("a state dict does not say its activations; pass activation= (--activation).")
    if isinstance(path, Mapping):
        name, content = "the state dict", dict(path)
    else:
        file = pathlib.Path(path)
        name = file.name
        data = read_unpacked(file, _LARGEST_FILE, "torch file")
        with reading(file, "a torch file"):
            content = _loaded(name, data)
    with reading(name, "a state dict"):
        tensors, order = _parts(name, _unwrapped(name, content), order, part)
        return network_of_tensors(
            name, {key: _array(key, value) for key, value in tensors.items()}, activation, order
        )


def _loaded(name: str, data: bytes) -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendMissing(import_error_extra("torch", "'lmikit[torch]'")) from error
    agent = _agent(data)
    try:
        return torch.load(io.BytesIO(agent or data), map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds for files that are broken or hold objects
        if data[:2] in (b"PK", b"\x80\x02"):
            raise InputError(
                f"{name} holds pickled objects or a program, whose reading runs code of the file; expected "
                "tensors only: save them where the model is, torch.save(model.state_dict(), 'net.pt')."
            ) from error
        raise


def _agent(data: bytes) -> bytes | None:
    """The state dict inside a stable-baselines3 archive."""
    if data[:2] != b"PK":
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _AGENT not in archive.namelist():
            return None
        if archive.getinfo(_AGENT).file_size > 64 * len(data):
            raise InputError(f"{_AGENT} unpacks to more than 64 times the archive; expected one of an agent.")
        return archive.read(_AGENT)


def _unwrapped(name: str, content: Any) -> dict[str, Any]:
    for _ in range(2):
        held = [key for key in _HOLDERS if isinstance(content, Mapping) and key in content]
        if len(held) == 1 and isinstance(content[held[0]], Mapping):
            content = content[held[0]]
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{name} holds a {type(content).__name__}; expected a state dict.")
    odd = sorted(key for key, value in content.items() if not hasattr(value, "untyped_storage"))
    if odd:
        raise InputError(f"{name} holds {', '.join(odd)[:200]}, which are no tensors; expected a state dict.")
    return dict(content)


def _parts(
    name: str, tensors: dict[str, Any], order: Sequence[str] | None, part: str | None
) -> tuple[dict[str, Any], Sequence[str] | None]:
    """The tensors meant, and the order where the names of an agent give it."""
    known = {layer.rpartition(".")[0] for layer in tensors}
    agents = {
        kind: (prefix, last)
        for kind, layouts in _POLICIES.items()
        for prefix, last in layouts[::-1]
        if any(layer.startswith(prefix + ".") for layer in known) and (last is None or last in known)
    }
    if part is None and agents and order is None:
        raise InputError(f"{name} holds an agent; pass part= (--part), one of {', '.join(sorted(agents))}.")
    if any(layer.startswith("mlp_extractor.shared_net") for layer in known):
        raise InputError(f"{name} holds an agent whose parts share layers; pass order= (--order).")
    if part in agents and order is None:
        prefix, last = agents[part]
        chosen = {
            key: value
            for key, value in tensors.items()
            if key.startswith(prefix + ".") or (last is not None and key.rpartition(".")[0] == last)
        }
        hidden = sorted(
            {key.rpartition(".")[0] for key in chosen} - {last},
            key=lambda layer: int(layer.rpartition(".")[2]),
        )
        return chosen, [*hidden, *([] if last is None else [last])]
    if part is not None:
        return of_part(name, tensors, part), order
    return tensors, order


def _array(name: str, tensor: Any) -> Any:
    """A host array; a tensor that states more numbers than its storage holds is refused."""
    if tensor.layout.__str__() != "torch.strided":
        raise InputError(f"{name} is a tensor of layout {tensor.layout}; expected a dense one.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, which its storage does not fill.")
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
