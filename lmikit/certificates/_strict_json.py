"""Strict JSON of certificate files: hexadecimal floats, base64 arrays, nothing that is not known.

Reading refuses duplicate keys, unknown or missing fields, decimal fractions, NaN and infinity, with an
InputError that names the field.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from .._errors import InputError
from .._version import __version__

__all__ = [
    "DTYPES",
    "array_of",
    "array_out",
    "float_of",
    "hashed_array_of",
    "hashed_array_out",
    "index_of",
    "integer_of",
    "list_of",
    "object_of",
    "optional_float",
    "optional_out",
    "parsed",
    "require_format",
    "sized_array_of",
    "sized_array_out",
    "text_of",
    "tool_version",
]

T = TypeVar("T")
DTYPES = {"F32": "<f4", "F64": "<f8"}
_HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})")
_LARGEST_ARRAY = 10**8
_MOST_INDICES = 2**31


def parsed(text: str, document: Callable[[Any], T], what: str, name: str = "the certificate") -> T:
    """`document` of the JSON text; raises InputError that says "`name` is not `what`" and why."""
    try:
        return document(
            json.loads(
                text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_no_constant
            )
        )
    except InputError as error:
        raise InputError(f"{name} is not {what}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not a JSON file ({error}); it may be truncated.") from error


def require_format(top: dict[str, Any], name: str, versions: Sequence[int] = (1,)) -> None:
    """Raise InputError unless the file has this format in one of these versions."""
    version = top["version"]
    if top["format"] != name or isinstance(version, bool) or version not in versions:
        known = " or ".join(map(str, versions))
        raise InputError(f"format {top['format']!r}, version {version!r}; expected {name!r}, {known}.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InputError("an object has the same key twice.")
    return result


def _no_constant(text: str) -> Any:
    raise InputError(f"the number {text}; expected hexadecimal floats in strings.")


def object_of(data: Any, name: str, fields: str) -> dict[str, Any]:
    """An object with exactly these fields."""
    expected = fields.split()
    if not isinstance(data, dict):
        raise InputError(f"{name} is not an object with the fields {fields}.")
    unknown, missing = sorted(set(data) - set(expected)), [f for f in expected if f not in data]
    if unknown or missing:
        raise InputError(f"{name} has unknown fields {unknown} and lacks {missing}.")
    return data


def list_of(data: Any, name: str, size: int) -> list[Any]:
    """A list of this length."""
    if not isinstance(data, list) or len(data) != size:
        raise InputError(f"{name} is not a list of {size} entries.")
    return data


def text_of(data: Any, name: str) -> str:
    """A string."""
    if not isinstance(data, str):
        raise InputError(f"{name} is {data!r}; expected a string.")
    return data


def integer_of(data: Any, name: str, low: int, high: int) -> int:
    """An integer from low to high."""
    if isinstance(data, bool) or not isinstance(data, int) or not low <= data <= high:
        raise InputError(f"{name} holds {data!r}; expected an integer from {low} to {high}.")
    return data


def index_of(data: Any, name: str) -> int | None:
    """An index, or None."""
    return None if data is None else integer_of(data, name, 0, _MOST_INDICES)


def float_of(data: Any, name: str) -> float:
    """A finite float written in hexadecimal, exactly representable."""
    match = _HEX.fullmatch(text_of(data, name))
    if not match:
        raise InputError(f"{name} is {data!r}; expected a hexadecimal float such as 0x1.8p+1.")
    sign, lead, digits, power = match.groups()
    digits = digits or ""
    exponent = int(power) - 4 * len(digits)
    exact = Fraction(int(lead + digits, 16)) * Fraction(2) ** exponent
    try:
        value = float.fromhex(data)
    except OverflowError as error:
        raise InputError(f"{name} is {data!r}, beyond the range of float64.") from error
    if Fraction(value) != (-exact if sign else exact):
        raise InputError(f"{name} is {data!r}, which is not a float64 number.")
    return value


def optional_float(data: Any, name: str) -> float | None:
    """A float, or None."""
    return None if data is None else float_of(data, name)


def array_of(data: Any, name: str, size: int) -> np.ndarray:
    """`size` finite numbers in the narrowest type that holds them."""
    fields = object_of(data, name, "dtype data")
    dtype = text_of(fields["dtype"], f"{name}.dtype")
    if dtype not in DTYPES:
        raise InputError(f"{name}.dtype is {dtype!r}; expected 'F32' or 'F64'.")
    try:
        raw = base64.b64decode(text_of(fields["data"], f"{name}.data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}.data is not base64 ({error}).") from error
    if base64.b64encode(raw).decode("ascii") != fields["data"]:
        raise InputError(f"{name}.data is not standard base64 (spare bits that are not zero, or line ends).")
    if len(raw) != size * int(dtype[1:]) // 8:
        raise InputError(f"{name}.data holds {len(raw)} bytes; expected {size} numbers of {dtype}.")
    values = np.frombuffer(raw, dtype=DTYPES[dtype]).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity.")
    return values


def sized_array_of(data: Any, name: str) -> np.ndarray:
    """An array that states its size."""
    fields = object_of(data, name, "size dtype data")
    size = integer_of(fields["size"], f"{name}.size", 0, _LARGEST_ARRAY)
    return array_of({"dtype": fields["dtype"], "data": fields["data"]}, name, size)


def hashed_array_of(data: Any, name: str, size: int) -> np.ndarray:
    """An array with the hash of its bytes."""
    fields = object_of(data, name, "dtype data sha256")
    sha = text_of(fields["sha256"], f"{name}.sha256")
    values = array_of({"dtype": fields["dtype"], "data": fields["data"]}, name, size)
    if hashlib.sha256(base64.b64decode(fields["data"])).hexdigest() != sha:
        raise InputError(f"{name}.sha256 is not that of its data; the file was changed.")
    return values


def array_out(values: np.ndarray) -> dict[str, str]:
    """The array in base64, as F32 where that is exact."""
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float32)
    dtype = "F32" if np.array_equal(narrow.astype(np.float64), values) else "F64"
    return {"dtype": dtype, "data": base64.b64encode(values.astype(DTYPES[dtype]).tobytes()).decode("ascii")}


def sized_array_out(values: np.ndarray) -> dict[str, Any]:
    """An array with its size."""
    return {"size": values.size, **array_out(values)}


def hashed_array_out(values: np.ndarray) -> dict[str, str]:
    """The array with the hash of its bytes."""
    entry = array_out(values)
    return {**entry, "sha256": hashlib.sha256(base64.b64decode(entry["data"])).hexdigest()}


def optional_out(value: float | None) -> str | None:
    """The float in hexadecimal; None where there is none, or none that is finite."""
    return None if value is None or not np.isfinite(value) else float(value).hex()


def tool_version() -> str:
    """The version that writes the file."""
    return __version__
