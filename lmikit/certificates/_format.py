"""The certificate file: strict JSON, hexadecimal floats, base64 multipliers, weights by SHA-256.

The format is specified in docs/certificate_format.md. Reading refuses whatever it does not know:
duplicate keys, unknown or missing fields, decimal fractions, NaN, infinity.
"""

import base64
import binascii
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import tempfile
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from .._errors import InputError
from .._witness import Witness
from ..network import DenseMap, Network, SparseMap

if TYPE_CHECKING:
    from ._certificate import Certificate

__all__ = [
    "Document",
    "NetworkRecord",
    "WeightRecord",
    "mismatch",
    "network_record",
    "parse",
    "read",
    "render",
    "write",
]

FORMAT, VERSION = "lmikit-cert", 1
STATEMENT = (
    "global l2->l2, of the real-arithmetic function defined by these float weights; not of a float inference"
)
_FIXED_CLAIM = {"norm": "l2->l2", "scope": "global", "semantics": "real", "statement": STATEMENT}
_DTYPES = {"F32": "<f4", "F64": "<f8"}
_HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})")
_LARGEST_FILE = 2**31


@dataclasses.dataclass(frozen=True)
class WeightRecord:
    """One linear map by its hash."""

    kind: str
    shape: tuple[int, int]
    sha256: str


@dataclasses.dataclass(frozen=True)
class NetworkRecord:
    """What the claim is about: sizes, slopes per hidden neuron, hashes of the weights."""

    dims: tuple[int, ...]
    slopes: tuple[tuple[np.ndarray, np.ndarray], ...]
    weights: tuple[WeightRecord, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """A certificate file as data; nothing in it is proven."""

    bound: float
    witness: Witness
    network: NetworkRecord
    margin: float
    lower: float | None


def network_record(network: Network) -> NetworkRecord:
    """The record of a network; linear maps other than dense and sparse are named by their class."""
    names = {DenseMap: "dense", SparseMap: "csr"}
    weights = tuple(
        WeightRecord(
            names.get(type(layer.linear), type(layer.linear).__name__),
            layer.linear.shape,
            layer.linear.digest,
        )
        for layer in network.layers
    )
    return NetworkRecord(network.dims, network.slopes, weights)


def mismatch(document: Document, network: Network) -> str:
    """What differs between the file's network and this one; the empty string if nothing does."""
    ours, theirs = network_record(network), document.network
    if ours.dims != theirs.dims:
        return f"it has dims {list(theirs.dims)}, this network {list(ours.dims)}"
    for k, (a, b) in enumerate(zip(ours.slopes, theirs.slopes, strict=True)):
        if not (np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])):
            return f"the slope bounds of hidden layer {k + 1} differ"
    for k, (mine, other) in enumerate(zip(ours.weights, theirs.weights, strict=True)):
        if mine != other:
            return f"the SHA-256 of weight {k} differs"
    return ""


# ------------------------------------------------------------------------------------ writing


def render(certificate: "Certificate") -> str:
    """The JSON text of a certificate."""
    record: NetworkRecord = certificate.network_record
    witness = certificate.witness
    pow2 = witness.layer_pow2 or (0,) * len(record.weights)
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {**_FIXED_CLAIM, "L": certificate.bound.hex(), "rho": certificate.rho.hex()},
        "network": {
            "dims": list(record.dims),
            "layer_pow2": list(pow2),
            "slopes": [_slopes_out(alpha, beta) for alpha, beta in record.slopes],
            "weights": [
                {"kind": w.kind, "dtype": "F64", "shape": list(w.shape), "order": "C", "sha256": w.sha256}
                for w in record.weights
            ],
        },
        "multipliers": [_array_out(t) for t in witness.multipliers],
        "method": witness.kind,
        "kind": "deterministic",
        "delta": None,
        "seed": None,
        "tool": {"name": "lmikit", "version": _version(), "produced_by": certificate.produced_by},
        "margin": certificate.margin.hex(),
        "unproven": {
            "lower": _optional_out(certificate.lower),
            "optimum_at_least": _optional_out(witness.optimum_at_least),
        },
        "verification": {
            "alg": "rump-t+4",
            "lifted": True,
            "shift": certificate.margin.hex(),
            "blas": _blas(),
        },
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def write(path: str | os.PathLike[str], certificate: "Certificate") -> None:
    """Write the file under a temporary name beside `path`, then rename it."""
    target = pathlib.Path(path)
    text = render(certificate)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=target.name + ".", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise InputError(
            f"{target} cannot be written ({error}); pass a path in a folder that exists."
        ) from error


def _array_out(values: np.ndarray) -> dict[str, str]:
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float32)
    dtype = "F32" if np.array_equal(narrow.astype(np.float64), values) else "F64"
    return {"dtype": dtype, "data": base64.b64encode(values.astype(_DTYPES[dtype]).tobytes()).decode("ascii")}


def _slopes_out(alpha: np.ndarray, beta: np.ndarray) -> Any:
    if (alpha == alpha[0]).all() and (beta == beta[0]).all():
        return [float(alpha[0]).hex(), float(beta[0]).hex()]
    return {"alpha": _array_out(alpha), "beta": _array_out(beta)}


def _optional_out(value: float | None) -> str | None:
    return None if value is None or not np.isfinite(value) else float(value).hex()


def _version() -> str:
    try:
        return importlib.metadata.version("lmikit")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _blas() -> str:
    import threadpoolctl

    return ", ".join(sorted({f"{i['internal_api']} {i['version']}" for i in threadpoolctl.threadpool_info()}))


# ------------------------------------------------------------------------------------ reading


def read(path: str | os.PathLike[str]) -> Document:
    """Read and validate a certificate file; raises InputError."""
    try:
        source = pathlib.Path(path)
        if source.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{source} has more than {_LARGEST_FILE} bytes; expected a certificate file.")
        text = source.read_text(encoding="utf-8")
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path!r} cannot be read as a certificate file ({error}).") from error
    return parse(text, os.fspath(path))


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
        ("version", VERSION),
        ("kind", "deterministic"),
        ("delta", None),
        ("seed", None),
    ):
        if top[field] != expected or type(top[field]) is not type(expected):
            raise InputError(f"{field} is {top[field]!r}; expected {expected!r}.")
    claim = _object(top["claim"], "claim", "norm scope semantics statement L rho")
    for field, text in _FIXED_CLAIM.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    _check_notes(top)
    unproven = _object(top["unproven"], "unproven", "lower optimum_at_least")
    method = _text(top["method"], "method")
    if method not in ("lipsdp", "layerwise"):
        raise InputError(f"method is {method!r}; expected 'lipsdp' or 'layerwise'.")
    network, pow2 = _network(top["network"])
    sizes = network.dims[1:-1] if method == "lipsdp" else (1,) * len(network.weights)
    multipliers = _list(top["multipliers"], "multipliers", len(sizes))
    witness = Witness(
        cast(Literal["lipsdp", "layerwise"], method),
        _hex(claim["rho"], "claim.rho"),
        tuple(
            _array(t, f"multipliers[{k}]", n) for k, (t, n) in enumerate(zip(multipliers, sizes, strict=True))
        ),
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
    )


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
        if not re.fullmatch("[0-9a-f]{64}", sha):
            raise InputError(f"{name}.sha256 is {sha!r}; expected 64 lower-case hexadecimal digits.")
        weights.append(WeightRecord(_text(entry["kind"], f"{name}.kind"), (shape[0], shape[1]), sha))
    return NetworkRecord(dims, slopes, tuple(weights)), pow2


def _slopes(data: Any, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, list):
        pair = _list(data, name, 2)
        alpha, beta = (np.full(size, _hex(value, name)) for value in pair)
    else:
        fields = _object(data, name, "alpha beta")
        alpha, beta = (_array(fields[side], f"{name}.{side}", size) for side in ("alpha", "beta"))
    if (alpha > beta).any():
        raise InputError(f"{name} has alpha > beta; expected alpha <= beta.")
    return alpha, beta


def _array(data: Any, name: str, size: int) -> np.ndarray:
    fields = _object(data, name, "dtype data")
    dtype = _text(fields["dtype"], f"{name}.dtype")
    if dtype not in _DTYPES:
        raise InputError(f"{name}.dtype is {dtype!r}; expected 'F32' or 'F64'.")
    try:
        raw = base64.b64decode(_text(fields["data"], f"{name}.data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}.data is not base64 ({error}).") from error
    if len(raw) != size * int(dtype[1:]) // 8:
        raise InputError(f"{name}.data holds {len(raw)} bytes; expected {size} numbers of {dtype}.")
    values = np.frombuffer(raw, dtype=_DTYPES[dtype]).astype(np.float64)
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
