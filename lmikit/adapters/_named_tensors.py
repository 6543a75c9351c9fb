"""Tensors by name, NAME.weight (out, in) and NAME.bias, as a network: order by names, shapes or caller.

Beside linear layers there may be batch normalisations with running statistics (eps = 1e-5, torch's
default: no file says its own). Where an activation acts relative to one is read from numbers as those of
an `nn.Sequential`, in which a module without tensors leaves a gap, or asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from ..graph import Graph
from ..network import Activation, Network, resolve_activation
from ._chain import ChainSteps, activation_list, natural_key, normalisation, refusal
from ._derived_weights import with_derived_weights
from ._image_orders import image_of, is_kernel, unplaced_images
from ._image_tensors import Entry, is_pool, model_of_images, parsed

__all__ = ["network_of_tensors", "of_part", "respelled"]

_LAST_NUMBER = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.ASCII)
_SPELLED = re.compile(r"(.*?)[._/]?(weights?|kernels?|w|k|bias(?:es)?|b)[._/]?([0-9]{0,6})", re.I | re.ASCII)
_NUMBERS = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOST_SEARCHED = 16  # layers whose order is sought by their shapes
_EPS = 1e-5
_NORM = {"running_mean", "running_var"}
_OF_NORM = _NORM | {"weight", "bias", "num_batches_tracked"}
_ACT = "\0activation"  # in a plan: here the next activation acts

Layers = dict[str, dict[str, Any]]


def network_of_tensors(
    file: str,
    tensors: Mapping[str, Any],
    activation: Any,
    order: Sequence[str] | None,
    input_shape: Sequence[int] | None = None,
) -> Network | Graph:
    """Affine maps and normalisations in order with the activations between them.

    `order` lists the layers; an activation's name among them stands where it acts, and then `activation`
    is not used. Convolutions need `input_shape`, and have their options behind colons in `order`. Raises
    InputError for tensors left over and for an order that is not known.
    """
    layers = _layers(file, with_derived_weights(respelled(tensors)))
    if any(is_kernel(parts) for parts in layers.values()):
        image = image_of(file, layers, input_shape)
        entries = _with_options(file, layers, order, image)
        phis = _activations(file, activation, sum(e.name == _ACT for e in entries))
        return model_of_images(layers, [_acting(e, layers, phis) for e in entries], image, _EPS)
    if input_shape is not None:
        raise OptionError(f"input_shape is for convolutions; {file} holds none, leave it out.")
    plan = _in_order(file, layers) if order is None else _stated(layers, list(order))
    phis = _activations(file, activation, plan.count(_ACT))
    chain = ChainSteps()
    for name in plan:
        if name == _ACT:
            chain.activation("between layers", next(phis))
        elif name not in layers:
            chain.activation(name, resolve_activation(name))
        else:
            _append(chain, name, layers[name])
    return chain.network()


def _activations(file: str, activation: Any, hidden: int) -> Iterator[Activation]:
    if hidden and activation is None:
        raise OptionError(f"{file} does not say its activations; pass activation= (--activation).")
    return iter(activation_list(activation, hidden) if hidden else [])


def _with_options(
    file: str, layers: Layers, order: Sequence[str] | None, image: tuple[int, int, int]
) -> list[Entry]:
    """The order with the options of convolutions, as stated; an entry _ACT is an activation."""
    if order is None or all(name in layers for name in order):
        raise unplaced_images(file, layers, image)
    entries = [parsed(text, layers) for text in order]
    others = [e.name for e in entries if e.name not in layers]
    plan = [e.name for e in entries if not is_pool(e)]
    if len(plan) < len(entries) and all(name in layers for name in plan):
        raise unplaced_images(file, layers, image)  # activations before or after the pooling
    by_name = {e.name: e for e in entries if e.name in layers}
    if others:
        _stated(layers, plan)
        return entries
    return [by_name.get(name, Entry(name, {})) for name in _stated(layers, plan)]


def _acting(entry: Entry, layers: Layers, phis: Iterator[Activation]) -> Entry | Activation:
    if entry.name in layers or is_pool(entry):
        return entry
    return next(phis) if entry.name == _ACT else resolve_activation(entry.name)


def of_part(file: str, tensors: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The tensors whose names begin with `part` and a dot; several parts are separated by commas."""
    prefixes = [p for p in part.split(",") if p]
    for prefix in prefixes or [part]:
        if not any(key.startswith(prefix + ".") for key in tensors):
            held = ", ".join(sorted({key.partition(".")[0] for key in tensors}))
            raise InputError(f"{file} holds no tensors of the part {prefix!r}; expected one of {held[:200]}.")
    return {key: v for key, v in tensors.items() if any(key.startswith(p + ".") for p in prefixes)}


def respelled(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """W1, b1, fc1_weight, weights.0, fc1.kernel and the like as NAME.weight and NAME.bias.

    Only where all names are such. A kernel of Keras and JAX is (in, out), and so are all others where the
    biases say it; K1 is (out, in, height, width).
    """
    if all(key.endswith((".weight", ".bias")) for key in tensors):
        return tensors
    found: dict[str, Any] = {}
    for key, value in tensors.items():
        match = _SPELLED.fullmatch(key)
        if match is None:
            return tensors
        kind, name = match.group(2).lower(), match.group(1) + match.group(3)
        weight = kind[0] in "wk"
        if np.ndim(value) != ((4 if kind == "k" else 2) if weight else 1):
            return tensors
        found[f"{name}.{'weight' if weight else 'bias'}"] = value.T if kind.startswith("kernel") else value
    pairs = [
        (v.shape, np.size(found.get(k.removesuffix("weight") + "bias", np.empty(0))))
        for k, v in found.items()
    ]
    pairs = [(shape, size) for shape, size in pairs if len(shape) == 2 and size]
    if any(shape[0] != size for shape, size in pairs) and all(shape[1] == size for shape, size in pairs):
        found = {key: value.T for key, value in found.items()}
    alone = any(key.endswith(".bias") and key.removesuffix("bias") + "weight" not in found for key in found)
    return tensors if alone or len(found) != len(tensors) else found


def _layers(file: str, tensors: Mapping[str, Any]) -> Layers:
    """The parts of each layer, linear or a normalisation, in the order of the file."""
    layers: Layers = {}
    for key, value in tensors.items():
        name, _, part = key.rpartition(".")
        layers.setdefault(name, {})[part] = value
    stray = []
    for name, parts in layers.items():
        norm = set(parts) >= _NORM and set(parts) <= _OF_NORM
        if not norm and (set(parts) - {"weight", "bias"} or "weight" not in parts):
            used = {"weight", "bias"} if "weight" in parts else set()
            stray += [f"{name}.{part}".lstrip(".") for part in parts if part not in used]
    if stray or not layers:
        raise InputError(
            f"{file} holds {', '.join(sorted(stray))[:200] or 'no tensors'}; expected NAME.weight and "
            "NAME.bias; of a state dict, part= (--part) takes the tensors of one prefix or several, as in "
            "part='fc1,fc2,mean'."
        )
    for name, parts in layers.items():
        if not _is_norm(parts) and parts["weight"].ndim not in (2, 3, 4):
            shape = tuple(parts["weight"].shape)
            why = "layer normalisation has no useful global bound" if len(shape) == 1 else ""
            raise refusal(f"{name}.weight", f"a tensor of shape {shape}", why)
    return layers


def _is_norm(parts: Mapping[str, Any]) -> bool:
    return "running_mean" in parts


def _append(chain: ChainSteps, name: str, parts: Mapping[str, Any]) -> None:
    if _is_norm(parts):
        mean, variance = parts["running_mean"], parts["running_var"]
        chain.scaling(name, *normalisation(parts.get("weight"), parts.get("bias"), mean, variance, _EPS))
    else:
        chain.affine(name, parts["weight"], parts.get("bias"))


def _stated(layers: Layers, order: list[str]) -> list[str]:
    """The caller's order, with the activations between linear layers where it names none."""
    named = [name for name in order if name in layers]
    others = [name for name in order if name not in layers]
    if sorted(named) != sorted(layers):
        raise InputError(f"order is {order}; expected each of {sorted(layers)} once.")
    for name in others:
        resolve_activation(name)
    if others:
        return order
    if any(_is_norm(parts) for parts in layers.values()):
        raise _unplaced(layers)
    return _between(order)


def _between(names: list[str]) -> list[str]:
    return [step for name in names for step in (name, _ACT)][:-1]


def _unplaced(layers: Layers) -> InputError:
    norms = [name for name, parts in layers.items() if _is_norm(parts)]
    return InputError(
        f"the layers are {str(list(layers))[:200]}; whether the activations act before or after the "
        f"normalisations ({', '.join(norms)[:80]}) is not known: pass order= (--order) with the activations "
        f"in it, such as fc1,{norms[0][:40]},relu,fc2."
    )


def _in_order(file: str, layers: Layers) -> list[str]:
    """By the numbers in names that differ in their last number only, else the one order that chains."""
    names = list(layers)
    if len(names) == 1:
        return names
    parts = [_LAST_NUMBER.fullmatch(name) for name in names]
    stems = {(part.group(1), part.group(3)) if part else None for part in parts}
    numbered = len(stems) == 1 and None not in stems
    if any(_is_norm(layers[name]) for name in names):
        if not numbered:
            raise _unplaced(layers)
        places = {int(part.group(2)): name for part, name in zip(parts, names, strict=True) if part}
        return _by_gaps(layers, places)
    if numbered:
        return _between(sorted(names, key=natural_key))
    shapes = {name: tuple(layers[name]["weight"].shape) for name in names}
    found = _chains(names, shapes) if len(names) <= _MOST_SEARCHED else []
    if len(found) != 1:
        raise InputError(
            f"the layers are {str(names)[:200]}, whose order is not known; pass order=[...], or part= "
            "(--part) where only those of one prefix are meant."
        )
    return _between(found[0])


def _by_gaps(layers: Layers, places: Mapping[int, str]) -> list[str]:
    """One activation between two linear layers, where the numbers leave a gap: one gap, else it is asked."""
    numbers = sorted(places)
    plan: list[str] = []
    gaps: list[int] = []  # places in the plan, since the last linear layer
    linear = [n for n in numbers if not _is_norm(layers[places[n]])]
    for before, number in zip([numbers[0] - 1, *numbers], numbers, strict=False):
        if number > before + 1:
            gaps.append(len(plan))
        plan.append(places[number])
        if number in linear:
            inner = number != linear[0]
            alone = inner and before in linear  # no normalisation in between: as everywhere
            if len(gaps) != (1 if inner else 0) and not alone:
                raise _unplaced(layers)
            if inner:
                plan.insert(gaps[0] if gaps else len(plan) - 1, _ACT)
            gaps = []
    if gaps:
        raise _unplaced(layers)
    return plan


def _chains(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """At most two orders in which layers chain and names that differ in numbers alone ascend."""
    stems = {name: _NUMBERS.sub("#", name) for name in names}
    first = {
        name: [n for n in names if stems[n] == stems[name] and natural_key(n) < natural_key(name)]
        for name in names
    }
    found: list[list[str]] = []
    open_: list[list[str]] = [[name] for name in names if not first[name]]
    steps = 0
    while open_ and len(found) < 2 and steps < 10**5:
        steps += 1
        path = open_.pop()
        if len(path) == len(names):
            found.append(path)
            continue
        wanted = shapes[path[-1]][0]
        ready = [n for n in names if n not in path and all(f in path for f in first[n])]
        open_ += [[*path, n] for n in ready if shapes[n][1] == wanted]
    return found if not open_ or len(found) > 1 else []
