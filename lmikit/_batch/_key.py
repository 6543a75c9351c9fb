"""A text that is the same for the same options in every process and on every day.

`repr` is not: the default one shows an address, and that of a long array leaves entries out.
"""

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import OptionError
from ..graph import Graph
from ..network import Network

__all__ = ["stable_text"]


def stable_text(what: str, value: Any) -> str:
    """`value` as text, from the fields of dataclasses down; `what` names it in errors.

    Raises OptionError, naming the field, for a value that has no such text: an object that is no
    dataclass or holds more than its fields, a lambda, a function in a function.
    """
    if isinstance(value, enum.Enum):
        return f"{_qualified(what, type(value))}.{value.name}"
    if value is None or isinstance(value, bool | int | str | bytes):
        return repr(value)
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, np.ndarray | np.generic):
        return _array(what, np.asarray(value))
    if isinstance(value, Network):
        return f"network {value.digest}"
    if isinstance(value, Graph):
        return f"graph {value.digest}"
    if isinstance(value, tuple | list):
        return f"[{','.join(stable_text(f'{what}[{k}]', item) for k, item in enumerate(value))}]"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(stable_text(f'an entry of {what}', item) for item in value))}}}"
    if isinstance(value, Mapping):
        return _mapping(what, value)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _qualified(what, value)
    if isinstance(value, functools.partial):
        return stable_text(f"{what} (a partial)", (value.func, value.args, value.keywords))
    return _fields(what, value)


def _array(what: str, array: np.ndarray) -> str:
    if array.dtype.hasobject:
        raise OptionError(f"{what} is an array of objects, which cannot name a result in a folder.")
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"array {array.dtype.str} {array.shape} {digest}"


def _mapping(what: str, value: Mapping[Any, Any]) -> str:
    pairs = ((stable_text(f"a key of {what}", k), stable_text(f"{what}[{k!r}]", v)) for k, v in value.items())
    return f"{{{','.join(sorted(f'{k}:{v}' for k, v in pairs))}}}"


def _qualified(what: str, value: Any) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:
        raise OptionError(f"{what} is {name}, which cannot name a result in a folder; define it in a module.")
    return name


def _fields(what: str, value: Any) -> str:
    kind = type(value)
    advice = f"make {kind.__qualname__} a dataclass whose fields are all of its options, or pass no folder"
    if not dataclasses.is_dataclass(value):
        raise OptionError(
            f"{what} is a {kind.__qualname__}, which cannot name a result in a folder; {advice}."
        )
    names = [field.name for field in dataclasses.fields(value)]
    cached = {n for c in kind.__mro__ for n, v in vars(c).items() if isinstance(v, functools.cached_property)}
    more = sorted(set(getattr(value, "__dict__", ())) - set(names) - cached)
    if more:
        raise OptionError(f"{what} holds {', '.join(more)} besides its fields; {advice}.")
    inside = (f"{n}={stable_text(f'{what}.{n}', getattr(value, n))}" for n in names)
    return f"{_qualified(what, kind)}({','.join(inside)})"
