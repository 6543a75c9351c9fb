"""The file of an implicit network's certificate, and its checker.

{"format": "lmikit-implicit-cert", "version": 1, "claim": {"scope", "semantics", "statement", "L"},
 "network": {"sha256", "neurons"}, "proof": {"rho", "multipliers"}, "tool": {"name",
 "version", "produced_by"}, "margin", "unproven": {"optimum_at_least"}}: hexadecimal floats, base64 arrays.

Exact mode forms the matrix in integers; positive definiteness is a row excess above 0.
"""

import dataclasses
import json
import math
import os
from fractions import Fraction
from typing import Any

import numpy as np

from ..._errors import InputError, NotCertified
from ...network import LinearFractional
from .._kinds import CheckResult, guarded, read_text, register
from .._strict_json import (
    array_of,
    array_out,
    float_of,
    integer_of,
    object_of,
    optional_float,
    optional_out,
    parsed,
    require_format,
    text_of,
    tool_version,
)
from ._exact_dominance import matrix_margin
from ._exact_matrix import ExactMatrix
from ._implicit import ImplicitCertificate, fractional_digest, implicit_fault, prove_implicit

__all__ = ["ImplicitDocument", "check_implicit", "parse_implicit", "read_implicit", "render_implicit"]

FORMAT, VERSION = "lmikit-implicit-cert", 1
_LARGEST = 10**7
_FIXED = {
    "scope": "global",
    "semantics": "real",
    "statement": "for every x and any functions with these slopes the equations have exactly one solution, "
    "and ||y - y'||_2 <= L ||x - x'||_2 for all x, x', in real arithmetic on these float maps; not of a "
    "float inference",
}


@dataclasses.dataclass(frozen=True)
class ImplicitDocument:
    """A certificate file as data; nothing in it is proven."""

    bound: float
    rho: float
    multipliers: np.ndarray
    digest: str
    produced_by: str
    optimum_at_least: float | None


def render_implicit(certificate: ImplicitCertificate) -> str:
    """The JSON text of a certificate."""
    t = certificate.multipliers
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {**_FIXED, "L": certificate.bound.hex()},
        "network": {"sha256": certificate.network_digest, "neurons": t.size},
        "proof": {"rho": certificate.rho.hex(), "multipliers": array_out(t)},
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": certificate.produced_by},
        "margin": float(certificate.margin).hex(),
        "unproven": {"optimum_at_least": optional_out(certificate.optimum_at_least)},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def read_implicit(path: str | os.PathLike[str]) -> ImplicitDocument:
    """Read and validate a file; raises InputError."""
    return parse_implicit(read_text(path))


def parse_implicit(text: str) -> ImplicitDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid certificate of an implicit network")


def _document(data: Any) -> ImplicitDocument:
    top = object_of(data, "the file", "format version claim network proof tool margin unproven")
    require_format(top, FORMAT, (VERSION,))
    claim = object_of(top["claim"], "claim", "scope semantics statement L")
    for field, text in _FIXED.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    network = object_of(top["network"], "network", "sha256 neurons")
    proof = object_of(top["proof"], "proof", "rho multipliers")
    entry = object_of(proof["multipliers"], "proof.multipliers", "dtype data")
    size = integer_of(network["neurons"], "network.neurons", 1, _LARGEST)
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        text_of(value, f"tool.{field}")
    unproven = object_of(top["unproven"], "unproven", "optimum_at_least")
    float_of(top["margin"], "margin")
    return ImplicitDocument(
        float_of(claim["L"], "claim.L"),
        float_of(proof["rho"], "proof.rho"),
        array_of(entry, "proof.multipliers", size),
        text_of(network["sha256"], "network.sha256"),
        tool["produced_by"],
        optional_float(unproven["optimum_at_least"], "unproven.optimum_at_least"),
    )


def check_implicit(text: str, form: Any, exact: bool) -> CheckResult:
    """Prove the claim of a file for `form`; raises InputError for what is no LinearFractional."""
    if not isinstance(form, LinearFractional):
        raise InputError(f"the certificate is one of a LinearFractional; got a {type(form).__name__}.")
    return guarded(
        lambda: parse_implicit(text), lambda d: _checked(d, form, exact), (NotCertified, InputError)
    )


def _checked(document: ImplicitDocument, form: LinearFractional, exact: bool) -> CheckResult:
    if document.digest != fractional_digest(form):
        return CheckResult(False, "it is for another network")
    wrong = implicit_fault(form, document.rho, document.multipliers)
    if wrong:
        return CheckResult(False, wrong)
    if document.bound < 0.0 or Fraction(document.rho) > Fraction(document.bound) ** 2:
        return CheckResult(False, f"L={document.bound!r} is below what the proof shows")
    if exact:
        margin = _exact_margin(form, document.rho, document.multipliers)
        if not margin > 0.0:
            return CheckResult(
                False, "not proven that the matrix is positive definite, in exact integers", margin
            )
        return CheckResult(True, "the matrix is positive definite, in exact integers", margin)
    verdict = prove_implicit(form, document.rho, document.multipliers)
    if not verdict.ok:
        return CheckResult(False, f"not proven that the matrix is positive definite ({verdict.reason})")
    return CheckResult(True, "the matrix is positive definite, with radii for every rounding", verdict.shift)


def _exact_margin(form: LinearFractional, rho: float, t: np.ndarray) -> float:
    """The least row excess of the matrix in (x, w, y); positive: positive definite."""
    vx, vw, yx, yw = (ExactMatrix.of(m.toarray()) for m in (form.N_vx, form.N_vw, form.N_yx, form.N_yw))
    T, a, b = (ExactMatrix.of(np.diag(values)) for values in (t, form.alpha, form.beta))
    cross, curved = -(T @ (a + b)), (T + T) @ a @ b
    ww = T + T + cross @ vw + (cross @ vw).T + vw.T @ curved @ vw
    n, m = form.N_vx.shape[1], form.N_yx.shape[0]
    blocks = {
        (0, 0): ExactMatrix.of(np.diag(np.full(n, rho))) + vx.T @ curved @ vx,
        (1, 0): cross @ vx + vw.T @ curved @ vx,
        (1, 1): ww,
        (2, 0): -yx,
        (2, 1): -yw,
        (2, 2): ExactMatrix.of(np.eye(m)),
    }
    margin = matrix_margin(blocks, [0, 1, 2])
    return margin if math.isfinite(margin) else -math.inf


register(FORMAT, check_implicit)
