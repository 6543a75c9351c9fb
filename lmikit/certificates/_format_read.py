"""Reading a certificate file: strict JSON, hexadecimal floats, base64 multipliers, weights by SHA-256.

The format is specified in docs/certificate_format.md. Reading refuses whatever it does not know:
duplicate keys, unknown or missing fields, decimal fractions, NaN, infinity.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from fractions import Fraction
from typing import Any, Literal, cast

import numpy as np

from .._errors import InputError
from .._witness import Witness
from ._kinds import read_text
from ._records import DTYPES, FIXED_CLAIM, FORMAT, VERSIONS, Document, NetworkRecord, WeightRecord

__all__ = ["parse", "read"]

_HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})")
_SHA256 = re.compile("[0-9a-f]{64}")


def read(path: str | os.PathLike[str]) -> Document:
    """Read and validate a certificate file; raises InputError."""
    return parse(read_text(path), os.fspath(path))


def parse(text: str, name: str = "the certificate") -> Document:
    """Validate the text of a certificate file; raises InputError naming the field."""
    try:
        data = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_no_constant
        )
        return _document(data)
    except InputError as error:
        raise InputError(f"{name} is not a valid certificate file: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not a JSON file ({error}); it may be truncated.") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InputError("an object has the same key twice.")
    return result


def _no_constant(text: str) -> Any:
    raise InputError(f"the number {text}; expected hexadecimal floats in strings.")


def _document(data: Any) -> Document:
    top = _object(
        data,
        "the file",
        "format version claim network multipliers method kind delta seed tool margin unproven verification",
    )
    for field, expected in (
        ("format", FORMAT),
        ("kind", "deterministic"),
        ("delta", None),
        ("seed", None),
    ):
        if top[field] != expected or type(top[field]) is not type(expected):
            raise InputError(f"{field} is {top[field]!r}; expected {expected!r}.")
    version = _integer(top["version"], "version", min(VERSIONS), max(VERSIONS))
    claim = _object(top["claim"], "claim", "norm scope semantics statement L rho")
    for field, text in FIXED_CLAIM.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    _check_notes(top)
    unproven = _object(top["unproven"], "unproven", "lower optimum_at_least")
    method = _text(top["method"], "method")
    if method not in ("lipsdp", "layerwise"):
        raise InputError(f"method is {method!r}; expected 'lipsdp' or 'layerwise'.")
    network, pow2 = _network(top["network"])
    multipliers = _multipliers(top["multipliers"], method, network, version)
    witness = Witness(
        cast(Literal["lipsdp", "layerwise"], method),
        _hex(claim["rho"], "claim.rho"),
        multipliers,
        pow2,
        top["tool"]["produced_by"],
        _optional(unproven["optimum_at_least"], "unproven.optimum_at_least"),
    )
    return Document(
        _hex(claim["L"], "claim.L"),
        witness,
        network,
        _hex(top["margin"], "margin"),
        _optional(unproven["lower"], "unproven.lower"),
        version,
    )


def _multipliers(data: Any, method: str, network: NetworkRecord, version: int) -> tuple[np.ndarray, ...]:
    """One array per hidden layer (layerwise: per map); in version 2, 0 for the neurons that have none."""
    if version == 1:
        sizes = network.dims[1:-1] if method == "lipsdp" else (1,) * len(network.weights)
        return tuple(
            _multiplier(t, f"multipliers[{k}]", n)
            for k, (t, n) in enumerate(zip(_list(data, "multipliers", len(sizes)), sizes, strict=True))
        )
    bent = [alpha < beta for alpha, beta in network.slopes]
    if method != "lipsdp" or all(b.all() for b in bent):
        raise InputError("version 2 is for lipsdp with a neuron of alpha = beta; expected version 1.")
    result = [np.zeros(b.size) for b in bent]
    for k, (full, b, t) in enumerate(zip(result, bent, _list(data, "multipliers", len(bent)), strict=True)):
        full[b] = _multiplier(t, f"multipliers[{k}]", int(b.sum()))
    return tuple(result)


def _check_notes(top: dict[str, Any]) -> None:
    """Fields that no proof reads still have to have their types."""
    tool = _object(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        _text(value, f"tool.{field}")
    notes = _object(top["verification"], "verification", "alg lifted shift blas")
    _text(notes["alg"], "verification.alg")
    _text(notes["blas"], "verification.blas")
    _hex(notes["shift"], "verification.shift")
    if not isinstance(notes["lifted"], bool):
        raise InputError("verification.lifted is not true or false.")


def _network(data: Any) -> tuple[NetworkRecord, tuple[int, ...]]:
    fields = _object(data, "network", "dims layer_pow2 slopes weights")
    if not isinstance(fields["dims"], list) or len(fields["dims"]) < 2:
        raise InputError("network.dims is not a list of at least two sizes.")
    dims = tuple(_integer(n, "network.dims", 1, 2**31) for n in fields["dims"])
    layers = len(dims) - 1
    pow2 = tuple(
        _integer(p, "network.layer_pow2", -2200, 2200)
        for p in _list(fields["layer_pow2"], "network.layer_pow2", layers)
    )
    slopes = tuple(
        _slopes(s, f"network.slopes[{k}]", dims[k + 1])
        for k, s in enumerate(_list(fields["slopes"], "network.slopes", layers - 1))
    )
    weights = []
    for k, item in enumerate(_list(fields["weights"], "network.weights", layers)):
        name = f"network.weights[{k}]"
        entry = _object(item, name, "kind dtype shape order sha256")
        if entry["dtype"] != "F64" or entry["order"] != "C":
            raise InputError(
                f"{name} has dtype {entry['dtype']!r}, order {entry['order']!r}; expected 'F64', 'C'."
            )
        shape = tuple(
            _integer(n, f"{name}.shape", 1, 2**31) for n in _list(entry["shape"], f"{name}.shape", 2)
        )
        if shape != (dims[k + 1], dims[k]):
            raise InputError(
                f"{name}.shape is {list(shape)}; expected {[dims[k + 1], dims[k]]} by network.dims."
            )
        sha = _text(entry["sha256"], f"{name}.sha256")
        if not _SHA256.fullmatch(sha):
            raise InputError(f"{name}.sha256 is {sha!r}; expected 64 lower-case hexadecimal digits.")
        weights.append(WeightRecord(_text(entry["kind"], f"{name}.kind"), (shape[0], shape[1]), sha))
    return NetworkRecord(dims, slopes, tuple(weights)), pow2


def _slopes(data: Any, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, list):
        pair = _list(data, name, 2)
        alpha, beta = (np.array([_hex(value, name)]) for value in pair)
    else:
        fields = _object(data, name, "alpha beta")
        alpha, beta = (_array(fields[side], f"{name}.{side}", size) for side in ("alpha", "beta"))
    if (alpha > beta).any():
        raise InputError(f"{name} has alpha > beta; expected alpha <= beta.")
    return np.broadcast_to(alpha, (size,)), np.broadcast_to(beta, (size,))  # a size is no reason to allocate


def _multiplier(data: Any, name: str, size: int) -> np.ndarray:
    fields = _object(data, name, "dtype data sha256")
    sha = _text(fields["sha256"], f"{name}.sha256")
    values = _array({"dtype": fields["dtype"], "data": fields["data"]}, name, size)
    if hashlib.sha256(base64.b64decode(fields["data"])).hexdigest() != sha:
        raise InputError(f"{name}.sha256 is not that of its data; the file was changed.")
    return values


def _array(data: Any, name: str, size: int) -> np.ndarray:
    fields = _object(data, name, "dtype data")
    dtype = _text(fields["dtype"], f"{name}.dtype")
    if dtype not in DTYPES:
        raise InputError(f"{name}.dtype is {dtype!r}; expected 'F32' or 'F64'.")
    try:
        raw = base64.b64decode(_text(fields["data"], f"{name}.data"), validate=True)
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


def _object(data: Any, name: str, fields: str) -> dict[str, Any]:
    expected = fields.split()
    if not isinstance(data, dict):
        raise InputError(f"{name} is not an object with the fields {fields}.")
    unknown, missing = sorted(set(data) - set(expected)), [f for f in expected if f not in data]
    if unknown or missing:
        raise InputError(f"{name} has unknown fields {unknown} and lacks {missing}.")
    return data


def _list(data: Any, name: str, size: int) -> list[Any]:
    if not isinstance(data, list) or len(data) != size:
        raise InputError(f"{name} is not a list of {size} entries.")
    return data


def _text(data: Any, name: str) -> str:
    if not isinstance(data, str):
        raise InputError(f"{name} is {data!r}; expected a string.")
    return data


def _integer(data: Any, name: str, low: int, high: int) -> int:
    if isinstance(data, bool) or not isinstance(data, int) or not low <= data <= high:
        raise InputError(f"{name} holds {data!r}; expected an integer from {low} to {high}.")
    return data


def _hex(data: Any, name: str) -> float:
    """A finite float written in hexadecimal, exactly representable."""
    match = _HEX.fullmatch(_text(data, name))
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


def _optional(data: Any, name: str) -> float | None:
    return None if data is None else _hex(data, name)
