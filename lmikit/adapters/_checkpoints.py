"""What a torch file holds, down to the tensors of one network: checkpoints, archives of agents, parts."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ._agents import agents_in
from ._named_tensors import of_part
from ._torch_file import Foreign, read_torch

__all__ = ["agent_or_file", "part_of", "tensors_of"]

_HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
_PASSED = ("optim", "sched", "scaler", "hyper_parameters", "callbacks", "loops", "config", "args")
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_PICKLED = (
    "{} holds pickled objects or a program, whose reading would run code of the file; expected tensors only: "
    "save them where the model is, torch.save(model.state_dict(), 'net.pt')."
)
_AGENT, _AGENT_DATA = "policy.pth", "data"  # members of a stable-baselines3 archive
_SPREADS = ("log_std", "logstd", "std", "sigma", "sigma_param", "action_scale", "action_bias")
_LARGEST_DATA = 2**24  # bytes of the JSON text
_DEEPEST = 8

_DEFAULTS = {"common": "tanh", "sac": "relu", "td3": "relu", "dqn": "relu", "qrdqn": "relu", "tqc": "relu"}


def agent_or_file(name: str, data: bytes) -> tuple[Any, str | None]:
    """(content, the hidden activation where an agent's archive says it)."""
    if data[:2] != b"PK":
        return read_torch(data), None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _AGENT not in archive.namelist():
            return read_torch(data), None
        if archive.getinfo(_AGENT).file_size > 64 * len(data):
            raise InputError(f"{_AGENT} unpacks to more than 64 times the archive; expected one of an agent.")
        state = archive.read(_AGENT)
        described = _AGENT_DATA in archive.namelist()
        described = described and archive.getinfo(_AGENT_DATA).file_size <= _LARGEST_DATA
        text = archive.read(_AGENT_DATA) if described else b"{}"
    return read_torch(state), _agent_activation(text)


def _agent_activation(text: bytes) -> str | None:
    """What the JSON text of an agent says of activation_fn, or its policy's default; nothing is unpickled."""
    content = json.loads(text)
    options = content.get("policy_kwargs", {}) if isinstance(content, dict) else None
    policy = content.get("policy_class", {}) if isinstance(content, dict) else None
    if not isinstance(options, dict) or not isinstance(policy, dict):
        return None
    named = options.get("activation_fn")
    if named is not None:
        kind = str(named).rpartition(".")[2].rstrip("'>")
        return {"LeakyReLU": "leaky_relu"}.get(kind, kind.lower())[:40]
    words = str(policy.get("__module__", "")).split(".")
    known = words[0] in ("stable_baselines3", "sb3_contrib") and words[-1] == "policies" and len(words) > 2
    return _DEFAULTS.get(words[1]) if known else None


def tensors_of(name: str, content: Any) -> dict[str, Any]:
    """Tensors by dotted names, below what checkpoints wrap around them; raises InputError."""
    content = _listed(_held(content))
    found: dict[str, Any] = {}
    _collect(name, content, "", found, 0)
    if not found:
        if isinstance(content, Foreign) or _has_foreign(content):
            raise InputError(_PICKLED.format(name))
        raise InputError(f"{name} holds a {type(content).__name__}; expected a state dict.")
    for wrapper in _WRAPPERS * 2:
        if all(key.startswith(wrapper) for key in found):
            found = {key.removeprefix(wrapper): value for key, value in found.items()}
    return {k: v for k, v in found.items() if k.rpartition(".")[2] != "num_batches_tracked"}


def _held(content: Any) -> Any:
    """Below the one known holder, twice at most."""
    for _ in range(2):
        if not isinstance(content, Mapping):
            return content
        held = [key for key in _HOLDERS if isinstance(_single(content.get(key)), (Mapping, Foreign))]
        if len(held) != 1:
            return content
        content = _single(content[held[0]])
    return content


def _listed(content: Any) -> Any:
    """A list of (weight, bias) or of weights and biases in turn, as numbered layers."""
    if not isinstance(content, (list, tuple)):
        return content
    flat = [v for item in content for v in (item if isinstance(item, (list, tuple)) else [item])]
    if not flat or not all(_is_tensor(v) for v in flat):
        return content
    layers: dict[str, dict[str, Any]] = {}
    for tensor in flat:
        if len(tensor.shape) > 1:
            layers[str(len(layers))] = {"weight": tensor}
        elif not layers or "bias" in layers[str(len(layers) - 1)]:
            return content
        else:
            layers[str(len(layers) - 1)]["bias"] = tensor
    return layers


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "untyped_storage")


def _has_foreign(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(v, Foreign) for v in content.values())


def _collect(name: str, content: Any, prefix: str, found: dict[str, Any], depth: int) -> None:
    """Tensors by their path; counts, texts and inert objects are passed over, modules are refused."""
    if isinstance(content, Foreign):
        if "_parameters" in content.entries or "_modules" in content.entries:
            raise InputError(_PICKLED.format(name))
        scripted = content.name.startswith("__torch__.")
        content = content.entries if scripted else {}
    if not isinstance(content, Mapping):
        return
    if depth > _DEEPEST:
        raise InputError(f"{name} holds mappings nested more than {_DEEPEST} deep; expected a state dict.")
    for key, value in content.items():
        if isinstance(key, str) and _is_tensor(value):
            found[prefix + key] = value
        elif isinstance(key, str) and (depth > 1 or not any(word in key.lower() for word in _PASSED)):
            _collect(name, _single(value), f"{prefix}{key}.", found, depth + 1)


def part_of(
    name: str, tensors: dict[str, Any], order: Sequence[str] | None, part: str | None
) -> tuple[dict[str, Any], Sequence[str] | None]:
    """The tensors meant, and the order where the names of an agent give it."""
    if order is not None:
        return (tensors if part is None else _layers_of(name, tensors, part)), order
    layers = {layer.rpartition(".")[0] for layer in tensors}
    agents = agents_in(layers)
    if part is None and len(agents) == 1:
        rest = layers - set(next(iter(agents.values())))
        if all("target" in layer.partition(".")[0] for layer in rest):
            part = next(iter(agents))
    if part is None and agents:
        raise InputError(f"{name} holds an agent; pass part= (--part), one of {', '.join(sorted(agents))}.")
    if part not in agents:
        return (tensors if part is None else _layers_of(name, tensors, part)), order
    features = sorted(layer for layer in layers if "features_extractor" in layer)
    if features:
        raise InputError(
            f"{name} holds an agent that acts on features of a network of its own ({features[0][:60]}); pass "
            "part= (--part) with the prefixes of all its layers, separated by commas, and order= (--order)."
        )
    chosen = agents[part]
    return {key: v for key, v in tensors.items() if key.rpartition(".")[0] in chosen}, chosen


def _layers_of(name: str, tensors: dict[str, Any], part: str) -> dict[str, Any]:
    """The tensors of the prefixes, without the spread of a random action, which is no part of its mean."""
    found = of_part(name, tensors, part)
    return {key: v for key, v in found.items() if key.rpartition(".")[2] not in _SPREADS}
