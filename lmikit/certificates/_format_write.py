"""The text of a certificate file (docs/certificate_format.md)."""

import base64
import functools
import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ._records import DTYPES, FIXED_CLAIM, FORMAT, NetworkRecord

if TYPE_CHECKING:
    from ._certificate import Certificate

__all__ = ["render"]


def render(certificate: "Certificate") -> str:
    """The JSON text of a certificate."""
    record: NetworkRecord = certificate.network_record
    witness = certificate.witness
    pow2 = witness.layer_pow2 or (0,) * len(record.weights)
    data = {
        "format": FORMAT,
        "version": certificate.format_version,
        "claim": {**FIXED_CLAIM, "L": certificate.bound.hex(), "rho": certificate.rho.hex()},
        "network": {
            "dims": list(record.dims),
            "layer_pow2": list(pow2),
            "slopes": [_slopes_out(alpha, beta) for alpha, beta in record.slopes],
            "weights": [
                {"kind": w.kind, "dtype": "F64", "shape": list(w.shape), "order": "C", "sha256": w.sha256}
                for w in record.weights
            ],
        },
        "multipliers": [_multiplier_out(t) for t in _carried(certificate)],
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


def _carried(certificate: "Certificate") -> list[np.ndarray]:
    """The multipliers of the file: in version 2 those of the neurons with alpha < beta only."""
    multipliers = list(certificate.witness.multipliers)
    if certificate.format_version == 1:
        return multipliers
    return [
        t[alpha < beta]
        for t, (alpha, beta) in zip(multipliers, certificate.network_record.slopes, strict=True)
    ]


def _array_out(values: np.ndarray) -> dict[str, str]:
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float32)
    dtype = "F32" if np.array_equal(narrow.astype(np.float64), values) else "F64"
    return {"dtype": dtype, "data": base64.b64encode(values.astype(DTYPES[dtype]).tobytes()).decode("ascii")}


def _multiplier_out(values: np.ndarray) -> dict[str, str]:
    entry = _array_out(values)
    return {**entry, "sha256": hashlib.sha256(base64.b64decode(entry["data"])).hexdigest()}


def _slopes_out(alpha: np.ndarray, beta: np.ndarray) -> Any:
    if (alpha == alpha[0]).all() and (beta == beta[0]).all():
        return [float(alpha[0]).hex(), float(beta[0]).hex()]
    return {"alpha": _array_out(alpha), "beta": _array_out(beta)}


def _optional_out(value: float | None) -> str | None:
    return None if value is None or not np.isfinite(value) else float(value).hex()


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("lmikit")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def _blas() -> str:
    import threadpoolctl

    return ", ".join(sorted({f"{i['internal_api']} {i['version']}" for i in threadpoolctl.threadpool_info()}))
