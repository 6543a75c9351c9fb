"""Reading a certificate file: strict JSON, hexadecimal floats, base64 multipliers, weights by SHA-256.

The format is specified in docs/certificate_format.md. Reading refuses whatever it does not know:
duplicate keys, unknown or missing fields, decimal fractions, NaN, infinity.
"""

import os
import re
from typing import Any, Literal, cast

import numpy as np

from .._errors import InputError
from .._witness import Witness
from ._kinds import read_text
from ._records import FIXED_CLAIM, FORMAT, VERSIONS, Document, NetworkRecord, WeightRecord
from ._strict_json import (
    array_of,
    float_of,
    hashed_array_of,
    integer_of,
    list_of,
    object_of,
    optional_float,
    parsed,
    text_of,
)

__all__ = ["parse", "read"]

_HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})")
_SHA256 = re.compile("[0-9a-f]{64}")


def read(path: str | os.PathLike[str]) -> Document:
    """Read and validate a certificate file; raises InputError."""
    return parse(read_text(path), os.fspath(path))


def parse(text: str, name: str = "the certificate") -> Document:
    """Validate the text of a certificate file; raises InputError naming the field."""
    return parsed(text, _document, "a valid certificate file", name)


def _document(data: Any) -> Document:
    top = object_of(
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
    version = integer_of(top["version"], "version", min(VERSIONS), max(VERSIONS))
    claim = object_of(top["claim"], "claim", "norm scope semantics statement L rho")
    for field, text in FIXED_CLAIM.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    _check_notes(top)
    unproven = object_of(top["unproven"], "unproven", "lower optimum_at_least")
    method = text_of(top["method"], "method")
    if method not in ("lipsdp", "layerwise"):
        raise InputError(f"method is {method!r}; expected 'lipsdp' or 'layerwise'.")
    network, pow2 = _network(top["network"])
    multipliers = _multipliers(top["multipliers"], method, network, version)
    witness = Witness(
        cast(Literal["lipsdp", "layerwise"], method),
        float_of(claim["rho"], "claim.rho"),
        multipliers,
        pow2,
        top["tool"]["produced_by"],
        optional_float(unproven["optimum_at_least"], "unproven.optimum_at_least"),
    )
    return Document(
        float_of(claim["L"], "claim.L"),
        witness,
        network,
        float_of(top["margin"], "margin"),
        optional_float(unproven["lower"], "unproven.lower"),
        version,
    )


def _multipliers(data: Any, method: str, network: NetworkRecord, version: int) -> tuple[np.ndarray, ...]:
    """One array per hidden layer (layerwise: per map); in version 2, 0 for the neurons that have none."""
    if version == 1:
        sizes = network.dims[1:-1] if method == "lipsdp" else (1,) * len(network.weights)
        return tuple(
            hashed_array_of(t, f"multipliers[{k}]", n)
            for k, (t, n) in enumerate(zip(list_of(data, "multipliers", len(sizes)), sizes, strict=True))
        )
    bent = [alpha < beta for alpha, beta in network.slopes]
    if method != "lipsdp" or all(b.all() for b in bent):
        raise InputError("version 2 is for lipsdp with a neuron of alpha = beta; expected version 1.")
    result = [np.zeros(b.size) for b in bent]
    for k, (full, b, t) in enumerate(zip(result, bent, list_of(data, "multipliers", len(bent)), strict=True)):
        full[b] = hashed_array_of(t, f"multipliers[{k}]", int(b.sum()))
    return tuple(result)


def _check_notes(top: dict[str, Any]) -> None:
    """Fields that no proof reads still have to have their types."""
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        text_of(value, f"tool.{field}")
    notes = object_of(top["verification"], "verification", "alg lifted shift blas")
    text_of(notes["alg"], "verification.alg")
    text_of(notes["blas"], "verification.blas")
    float_of(notes["shift"], "verification.shift")
    if not isinstance(notes["lifted"], bool):
        raise InputError("verification.lifted is not true or false.")


def _network(data: Any) -> tuple[NetworkRecord, tuple[int, ...]]:
    fields = object_of(data, "network", "dims layer_pow2 slopes weights")
    if not isinstance(fields["dims"], list) or len(fields["dims"]) < 2:
        raise InputError("network.dims is not a list of at least two sizes.")
    dims = tuple(integer_of(n, "network.dims", 1, 2**31) for n in fields["dims"])
    layers = len(dims) - 1
    pow2 = tuple(
        integer_of(p, "network.layer_pow2", -2200, 2200)
        for p in list_of(fields["layer_pow2"], "network.layer_pow2", layers)
    )
    slopes = tuple(
        _slopes(s, f"network.slopes[{k}]", dims[k + 1])
        for k, s in enumerate(list_of(fields["slopes"], "network.slopes", layers - 1))
    )
    weights = []
    for k, item in enumerate(list_of(fields["weights"], "network.weights", layers)):
        name = f"network.weights[{k}]"
        entry = object_of(item, name, "kind dtype shape order sha256")
        if entry["dtype"] != "F64" or entry["order"] != "C":
            raise InputError(
                f"{name} has dtype {entry['dtype']!r}, order {entry['order']!r}; expected 'F64', 'C'."
            )
        shape = tuple(
            integer_of(n, f"{name}.shape", 1, 2**31) for n in list_of(entry["shape"], f"{name}.shape", 2)
        )
        if shape != (dims[k + 1], dims[k]):
            raise InputError(
                f"{name}.shape is {list(shape)}; expected {[dims[k + 1], dims[k]]} by network.dims."
            )
        sha = text_of(entry["sha256"], f"{name}.sha256")
        if not _SHA256.fullmatch(sha):
            raise InputError(f"{name}.sha256 is {sha!r}; expected 64 lower-case hexadecimal digits.")
        weights.append(WeightRecord(text_of(entry["kind"], f"{name}.kind"), (shape[0], shape[1]), sha))
    return NetworkRecord(dims, slopes, tuple(weights)), pow2


def _slopes(data: Any, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, list):
        pair = list_of(data, name, 2)
        alpha, beta = (np.array([float_of(value, name)]) for value in pair)
    else:
        fields = object_of(data, name, "alpha beta")
        alpha, beta = (array_of(fields[side], f"{name}.{side}", size) for side in ("alpha", "beta"))
    if (alpha > beta).any():
        raise InputError(f"{name} has alpha > beta; expected alpha <= beta.")
    return np.broadcast_to(alpha, (size,)), np.broadcast_to(beta, (size,))  # a size is no reason to allocate
