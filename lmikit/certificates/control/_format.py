"""Files of format "lmikit-control-cert": a claim, the SHA-256 of its subject, the arrays of the witness.

Strict JSON; floats in hexadecimal, arrays as base64 of little-endian binary64 with their shape.
The matrices of the proof are in no file: the checker builds them from the subject.
"""

import base64
import binascii
import dataclasses
import json
import math
from typing import Any

import numpy as np

from ..._convert import sealed
from ..._errors import InputError
from .._strict_json import float_of, integer_of, list_of, object_of, parsed, require_format, text_of
from ._claims import AbstractControlClaim, Arrays, claim_kinds

__all__ = ["FORMAT", "ControlDocument", "parse_control", "render_control"]

FORMAT, VERSION = "lmikit-control-cert", 1
_LARGEST = 2**31


@dataclasses.dataclass(frozen=True, eq=False)
class ControlDocument:
    """A file as data; nothing in it is proven."""

    claim: AbstractControlClaim
    digest: str
    witness: Arrays


def _array_out(values: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return {"shape": list(values.shape), "data": base64.b64encode(data).decode("ascii")}


def _value_out(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _array_out(value)
    return value if isinstance(value, (str, int)) else float(value).hex()


def render_control(claim: AbstractControlClaim, digest: str, witness: Arrays) -> str:
    """The JSON text of a file."""
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {
            "kind": claim.kind,
            "statement": claim.statement(),
            "parameters": {name: _value_out(value) for name, value in claim.parameters().items()},
        },
        "subject": {"sha256": digest},
        "witness": {name: _array_out(array) for name, array in witness.items()},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _array(data: Any, name: str) -> np.ndarray:
    fields = object_of(data, name, "shape data")
    entries = fields["shape"] if isinstance(fields["shape"], list) else []
    shape = tuple(
        integer_of(n, f"{name}.shape", 0, _LARGEST)
        for n in list_of(fields["shape"], f"{name}.shape", len(entries))
    )
    try:
        raw = base64.b64decode(text_of(fields["data"], f"{name}.data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}.data is not base64 ({error}).") from error
    if base64.b64encode(raw).decode("ascii") != fields["data"]:
        raise InputError(f"{name}.data is not standard base64.")
    if len(raw) != 8 * math.prod(shape):
        raise InputError(
            f"{name}.data holds {len(raw)} bytes; expected {8 * math.prod(shape)} for its shape."
        )
    values = np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity.")
    return sealed(values)


def _value(data: Any, name: str, expected: str) -> Any:
    if expected == "float":
        return float_of(data, name)
    if expected == "str":
        return text_of(data, name)
    if expected == "int":
        return integer_of(data, name, -_LARGEST, _LARGEST)
    return _array(data, name)


def parse_control(text: str) -> ControlDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid control certificate")


def _document(data: Any) -> ControlDocument:
    top = object_of(data, "the file", "format version claim subject witness")
    require_format(top, FORMAT, (VERSION,))
    claim = _claim(object_of(top["claim"], "claim", "kind statement parameters"))
    digest = text_of(object_of(top["subject"], "subject", "sha256")["sha256"], "subject.sha256")
    if not isinstance(top["witness"], dict):
        raise InputError("witness is not an object of arrays.")
    witness = {name: _array(array, f"witness.{name}") for name, array in top["witness"].items()}
    return ControlDocument(claim, digest, witness)


def _claim(fields: dict[str, Any]) -> AbstractControlClaim:
    kinds, kind = claim_kinds(), text_of(fields["kind"], "claim.kind")
    if kind not in kinds:
        raise InputError(f"claim.kind is {kind!r}; expected one of {', '.join(sorted(kinds))}.")
    types = {f.name: str(getattr(f.type, "__name__", f.type)) for f in dataclasses.fields(kinds[kind])}  # type: ignore[arg-type]
    given = object_of(fields["parameters"], "claim.parameters", " ".join(types))
    values = {name: _value(given[name], f"claim.parameters.{name}", types[name]) for name in types}
    claim = kinds[kind](**values)
    if fields["statement"] != claim.statement():
        raise InputError(f"claim.statement is {fields['statement']!r}; expected {claim.statement()!r}.")
    return claim
