"""`verify_control`: prove a claim about a system from a witness; `ControlCertificate` carries both."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._arrays import blas_threads
from ..._convert import as_number, floats
from ..._errors import InputError, NotCertified
from .._float_environment import require_ieee
from .._kinds import AbstractCertificate, CheckResult, guarded, read_text, register
from ._arithmetic import AbstractArithmetic, Floats, Integers
from ._claims import AbstractControlClaim, Arrays
from ._format import FORMAT, ControlDocument, parse_control, render_control
from ._subjects import subject_digest

__all__ = ["ControlCertificate", "verify_control"]

_FROM_VERIFY = object()
_LARGEST_SINGULAR = 400  # numbers in a witness up to which singular matrices are decided in integers


@dataclasses.dataclass(frozen=True, eq=False)
class ControlCertificate(AbstractCertificate):
    """A proven claim about a linear system, a family of systems or a loop, with its witness.

    `claim` has the parameters, `statement` is the sentence. Of the real-arithmetic system that the
    floats define. Built by `verify_control` only.
    """

    claim: AbstractControlClaim
    witness: Arrays = dataclasses.field(repr=False)
    subject_digest: str
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a ControlCertificate is made by verify_control, which proves it first.")

    @property
    def statement(self) -> str:
        """What is proven, in words."""
        return self.claim.statement()

    def to_text(self) -> str:
        """The JSON text of the file."""
        return render_control(self.claim, self.subject_digest, self.witness)

    @classmethod
    def load(cls, path: str | os.PathLike[str], subject: Any) -> "ControlCertificate":
        """Read a file and prove it again for `subject`; raises InputError, NotCertified."""
        document = parse_control(read_text(path, "control certificate file"))
        if document.digest != subject_digest(subject):
            raise NotCertified("it is for another system: the SHA-256 of the data differs.")
        return verify_control(document.claim, subject, document.witness)

    def __str__(self) -> str:
        return f"ControlCertificate (proven): {self.statement}"


def verify_control(
    claim: AbstractControlClaim, subject: Any, witness: Mapping[str, Any]
) -> ControlCertificate:
    """Prove a claim for a subject (a System, a Feedback, a tuple of them, a loop) from a witness.

    `witness` maps names to float arrays with the shapes of `claim.shapes(subject)`. Raises InputError
    where claim, subject and witness do not fit, NotCertified naming the condition that is not
    proven. Conditions that hold without slack are decided in integers where they are small.
    """
    if not isinstance(claim, AbstractControlClaim):
        raise InputError(
            f"claim is a {type(claim).__name__}; expected a claim of lmikit.certificates.control."
        )
    claim = _sealed(claim)
    arrays = {name: floats(name, array) for name, array in witness.items()}
    _require_shapes(claim, subject, arrays)
    require_ieee()
    fault = fault_of(claim, subject, arrays, exact=False)
    require_ieee()
    if fault:
        raise NotCertified(f"not proven: {fault}.")
    return ControlCertificate(claim, arrays, subject_digest(subject), token=_FROM_VERIFY)


def _sealed(claim: AbstractControlClaim) -> AbstractControlClaim:
    """The claim with its own exact float64 parameters: integers would overflow, arrays could change."""
    kinds = {f.name: str(getattr(f.type, "__name__", f.type)) for f in dataclasses.fields(claim)}  # type: ignore[arg-type]
    exact = {
        n: as_number(n, v) if kinds[n] == "float" else floats(n, v) if kinds[n] == "ndarray" else v
        for n, v in claim.parameters().items()
    }
    return dataclasses.replace(claim, **exact)  # type: ignore[type-var]


def _require_shapes(claim: AbstractControlClaim, subject: Any, arrays: Arrays) -> None:
    expected = claim.shapes(subject)
    given = {name: array.shape for name, array in arrays.items()}
    if given != expected:
        raise InputError(f"the witness has the arrays {given}; expected {expected}.")


def fault_of(claim: AbstractControlClaim, subject: Any, arrays: Arrays, *, exact: bool) -> str:
    """The first condition that is not proven; the empty string where all are."""
    ways: list[AbstractArithmetic[Any]] = [Integers()] if exact else [Floats()]
    if not exact and sum(a.size for a in arrays.values()) <= _LARGEST_SINGULAR:
        ways.append(Integers())
    fault = ""
    for ops in ways:
        with blas_threads(1), np.errstate(all="ignore"):
            fault = _first_fault(ops, claim, subject, arrays)
        if not fault:
            return ""
    return fault


def _first_fault(
    ops: AbstractArithmetic[Any], claim: AbstractControlClaim, subject: Any, arrays: Arrays
) -> str:
    try:
        for name, proven in claim.conditions(ops, subject, arrays):
            if not proven:
                return name
    except (OverflowError, np.linalg.LinAlgError) as error:
        return f"the arithmetic broke down ({error})"
    return ""


def check_control(text: str, subject: Any, exact: bool) -> CheckResult:
    """The checker of control certificates; raises InputError for what is no system."""
    digest = subject_digest(subject)
    return guarded(
        lambda: parse_control(text),
        lambda document: _decide(document, subject, digest, exact),
        (InputError, NotCertified),
    )


def _decide(document: ControlDocument, subject: Any, digest: str, exact: bool) -> CheckResult:
    if document.digest != digest:
        return CheckResult(
            False,
            "it is for another system: the SHA-256 of the data differs (a loop is checked with its own file, "
            "see load_loop, a family in Python: lmikit.check(path, family))",
        )
    _require_shapes(document.claim, subject, document.witness)
    fault = fault_of(document.claim, subject, document.witness, exact=exact)
    how = "in integers" if exact else "with radii for every rounding"
    if fault:
        return CheckResult(False, f"not proven {how}: {fault}")
    return CheckResult(True, f"proven {how}: {document.claim.kind}")


register(FORMAT, check_control)
