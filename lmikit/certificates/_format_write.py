"""The text of a certificate file (docs/certificate_format.md)."""

import functools
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ._records import FIXED_CLAIM, FORMAT, NetworkRecord
from ._strict_json import array_out, hashed_array_out, optional_out, tool_version

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
        "multipliers": [hashed_array_out(t) for t in _carried(certificate)],
        "method": witness.kind,
        "kind": "deterministic",
        "delta": None,
        "seed": None,
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": certificate.produced_by},
        "margin": certificate.margin.hex(),
        "unproven": {
            "lower": optional_out(certificate.lower),
            "optimum_at_least": optional_out(witness.optimum_at_least),
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


def _slopes_out(alpha: np.ndarray, beta: np.ndarray) -> Any:
    if (alpha == alpha[0]).all() and (beta == beta[0]).all():
        return [float(alpha[0]).hex(), float(beta[0]).hex()]
    return {"alpha": array_out(alpha), "beta": array_out(beta)}


@functools.cache
def _blas() -> str:
    import threadpoolctl

    return ", ".join(sorted({f"{i['internal_api']} {i['version']}" for i in threadpoolctl.threadpool_info()}))
