"""What a torch file holds, down to the tensors of one network: checkpoints, archives of agents, parts."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import InputError
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
_LARGEST_DATA = 2**24  # bytes of the JSON text
_DEEPEST = 8

# The layers of stable-baselines3's policies: (prefix of the hidden layers, name of the last or None).
_POLICIES = {
    "actor": (
        ("mlp_extractor.policy_net", "action_net"),
        ("actor.latent_pi", "actor.mu"),
        ("actor.mu", None),
    ),
    "critic": (("mlp_extractor.value_net", "value_net"), ("q_net.q_net", None), ("critic.qf0", None)),
}
_DEFAULTS = {"common": "tanh", "sac": "relu", "td3": "relu", "dqn": "relu"}  # activation_fn by policy


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
    known = len(words) == 3 and words[0] == "stable_baselines3" and words[2] == "policies"
    return _DEFAULTS.get(words[1]) if known else None


def tensors_of(name: str, content: Any) -> dict[str, Any]:
    """Tensors by dotted names, below what checkpoints wrap around them; raises InputError."""
    content = _held(content)
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
    if part not in agents or order is not None:
        return (tensors if part is None else of_part(name, tensors, part)), order
    prefix, last = agents[part]
    chosen = {
        key: value
        for key, value in tensors.items()
        if key.startswith(prefix + ".") or (last is not None and key.rpartition(".")[0] == last)
    }
    hidden = sorted(
        {key.rpartition(".")[0] for key in chosen} - {last}, key=lambda layer: int(layer.rpartition(".")[2])
    )
    return chosen, [*hidden, *([] if last is None else [last])]
