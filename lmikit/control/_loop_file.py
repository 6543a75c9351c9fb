"""Loops described by a small JSON file beside the files of their parts: what the command line reads."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from .._errors import InputError
from .._files import read_bytes
from .._load import load_network
from ..systems import (
    Delay,
    Feedback,
    NetworkLoop,
    NormBlock,
    RepeatedGain,
    Sector,
    SlopeRestricted,
    System,
    UncertainLoop,
)
from ..systems._uncertain import AbstractBlock

__all__ = ["load_loop"]

_BLOCKS: dict[str, type[AbstractBlock]] = {
    c.kind: c for c in (Sector, SlopeRestricted, Delay, NormBlock, RepeatedGain)
}
_LARGEST = 2**20
_KINDS = (
    '{"plant", "network", "control", "measured"}, {"plant", "controller", "control", "measured"} or '
    '{"system", "blocks"}'
)


def load_loop(path: str | os.PathLike[str]) -> NetworkLoop | Feedback | UncertainLoop:
    """The loop that a JSON file describes; `lmikit check CERTIFICATE loop.json` reads the same.

    {"plant": "plant.npz", "network": "policy.onnx", "control": [0], "measured": null} is a `NetworkLoop`
    (the network in any format of `lmikit.load_network`); "controller": "controller.npz" in the place of the
    network a `Feedback`; {"system": "plant.npz", "blocks": [{"block": "sector", "lower": 0, "upper": 1}]} an
    `UncertainLoop`, blocks "sector", "slope", "delay", "norm" and "repeated" with the fields of their
    classes. Files are named relative to the JSON file, in its folder or below. Raises InputError.
    """
    file = pathlib.Path(path)
    fields = _fields(file)
    keys = set(fields) - {"measured"}

    def part(name: str) -> pathlib.Path:
        return _beside(file, name, fields[name])

    if keys == {"system", "blocks"} and len(fields) == 2:
        blocks = fields["blocks"]
        if not isinstance(blocks, list):
            raise InputError(
                f"{file.name}: blocks is no list; expected objects such as {{'block': 'sector'}}."
            )
        return UncertainLoop(System.from_file(part("system")), tuple(_block(file, b) for b in blocks))
    if keys not in ({"plant", "network", "control"}, {"plant", "controller", "control"}):
        raise InputError(f"{file.name} has the fields {sorted(fields)[:9]}; expected {_KINDS}.")
    control = _indices(file, "control", fields["control"])
    seen = fields.get("measured")
    measured = None if seen is None else _indices(file, "measured", seen)
    plant = System.from_file(part("plant"))
    if "network" in fields:
        return NetworkLoop(plant, load_network(part("network")), control, measured)
    return Feedback(plant, System.from_file(part("controller")), control, measured)


def _fields(file: pathlib.Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes(file, _LARGEST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file.name} is not a JSON file ({error}); expected {_KINDS}.") from error
    if not isinstance(data, dict):
        raise InputError(f"{file.name} holds a {type(data).__name__}; expected an object {_KINDS}.")
    return data


def _beside(file: pathlib.Path, name: str, given: Any) -> pathlib.Path:
    if not isinstance(given, str):
        raise InputError(f"{file.name}: {name} is {given!r}; expected the name of a file.")
    inner = pathlib.PurePath(given)
    if inner.is_absolute() or ".." in inner.parts:
        raise InputError(f"{file.name}: {name} is {given!r}; expected a file in the same folder or below it.")
    return file.parent / inner


def _indices(file: pathlib.Path, name: str, given: Any) -> tuple[int, ...]:
    whole = isinstance(given, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in given)
    if not whole:
        raise InputError(f"{file.name}: {name} is {given!r}; expected a list of indices, such as [0].")
    return tuple(given)


def _block(file: pathlib.Path, given: Any) -> AbstractBlock:
    if not isinstance(given, dict) or given.get("block") not in _BLOCKS:
        raise InputError(
            f"{file.name}: a block is {given!r}; expected {{'block': one of {sorted(_BLOCKS)}}}."
        )
    kind = _BLOCKS[given["block"]]
    values = {k: v for k, v in given.items() if k != "block"}
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    needed = {f.name for f in fields if f.default is dataclasses.MISSING}
    if not needed <= set(values) <= {f.name for f in fields}:
        names = [f.name for f in fields]
        raise InputError(f"{file.name}: a {given['block']} block has {sorted(values)}; expected {names}.")
    for f in fields:
        if f.type in (bool, "bool") and not isinstance(values.get(f.name, False), bool):
            raise InputError(f"{file.name}: {f.name} is {values[f.name]!r}; expected true or false.")
        if f.type in (int, "int") and (isinstance(values.get(f.name, 1), (bool, float, str, list, dict))):
            raise InputError(f"{file.name}: {f.name} is {values[f.name]!r}; expected an integer.")
    return kind(**values)
