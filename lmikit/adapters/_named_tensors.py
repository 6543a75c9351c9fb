"""Tensors by name, NAME.weight (out, in) and NAME.bias, as a network: order by names, shapes or caller."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import InputError
from ..network import Network
from ._chain import Chain, activation_list, natural_key, refusal

__all__ = ["network_of_tensors", "of_part"]

_LAST_NUMBER = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.ASCII)
_MOST_SEARCHED = 12  # layers whose order is sought by their shapes


def network_of_tensors(
    file: str, tensors: Mapping[str, Any], activation: Any, order: Sequence[str] | None
) -> Network:
    """Affine maps in order with the activations between them; raises InputError for tensors left over."""
    names = sorted(name.rpartition(".")[0] for name in tensors if name.rpartition(".")[2] == "weight")
    used = {f"{name}.{part}".lstrip(".") for name in names for part in ("weight", "bias")}
    stray = sorted(set(tensors) - used)
    if stray or not names:
        raise InputError(
            f"{file} holds {', '.join(stray)[:200] or 'no tensors'}; expected NAME.weight and NAME.bias; "
            "of a state dict, part= (--part) takes the tensors of one prefix."
        )
    for name in names:
        if tensors[f"{name}.weight".lstrip(".")].ndim != 2:
            shape = tuple(tensors[f"{name}.weight".lstrip(".")].shape)
            raise refusal(f"{name}.weight", f"a tensor of shape {shape}")
    shapes = {name: tuple(tensors[f"{name}.weight".lstrip(".")].shape) for name in names}
    layers = _in_order(names, shapes) if order is None else list(order)
    if sorted(layers) != names:
        raise InputError(f"order is {layers}; expected each of {names} once.")
    chain = Chain()
    phis = activation_list(activation, len(layers) - 1)
    for k, name in enumerate(layers):
        key = f"{name}.{{}}".lstrip(".")
        chain.affine(name, tensors[key.format("weight")], tensors.get(key.format("bias")))
        if k < len(phis):
            chain.activation(name, phis[k])
    return chain.network()


def of_part(file: str, tensors: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The tensors whose names begin with `part` and a dot."""
    chosen = {key: value for key, value in tensors.items() if key.startswith(part + ".")}
    if not chosen:
        held = ", ".join(sorted({key.partition(".")[0] for key in tensors}))
        raise InputError(f"{file} holds no tensors of the part {part!r}; expected one of {held[:200]}.")
    return chosen


def _in_order(names: list[str], shapes: dict[str, tuple[int, int]]) -> list[str]:
    """By the numbers in names that differ in their last number only, else the one order that chains."""
    if len(names) == 1:
        return names
    parts = [_LAST_NUMBER.fullmatch(name) for name in names]
    stems = {(part.group(1), part.group(3)) if part else None for part in parts}
    if len(stems) == 1 and None not in stems:
        return sorted(names, key=natural_key)
    found = _chains(names, shapes) if len(names) <= _MOST_SEARCHED else []
    if len(found) != 1:
        raise InputError(
            f"the layers are {str(names)[:200]}, whose order is not known; pass order=[...], or part= "
            "(--part) where only those of one prefix are meant."
        )
    return found[0]


def _chains(names: list[str], shapes: dict[str, tuple[int, int]]) -> list[list[str]]:
    """At most two orders in which each layer takes what the one before gives."""
    found: list[list[str]] = []
    open_: list[list[str]] = [[name] for name in names]
    steps = 0
    while open_ and len(found) < 2 and steps < 10**5:
        steps += 1
        path = open_.pop()
        if len(path) == len(names):
            found.append(path)
            continue
        wanted = shapes[path[-1]][0]
        open_ += [[*path, n] for n in names if n not in path and shapes[n][1] == wanted]
    return found if not open_ or len(found) > 1 else []
