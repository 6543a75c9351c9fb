"""The checker of "lmikit-sdp-cert" files: in floats the proof again, in exact mode by other means.

Float mode repeats the proof of `verify_sdp` from the numbers of the file. Exact mode (`_check_exact`)
shares with it the reading of the file and the entries of the problem as rationals, nothing else.
"""

import json
from typing import Any

from ..._errors import InputError
from ...lmi import SDP, Problem
from .._kinds import CheckResult, guarded, register
from ._check_exact import exact_bounds
from ._format import SDPDocument, parse
from ._proofs import prove_witness
from ._records import FORMAT, digest

__all__ = ["check_sdp"]

_ANOTHER = "it is for another SDP: the SHA-256 of the data differs"


def check_sdp(text: str, subject: Any, exact: bool) -> CheckResult:
    """Prove the claim of a file for an SDP or Problem; raises InputError for any other subject."""
    sdp = subject.compile() if isinstance(subject, Problem) else subject
    if not isinstance(sdp, SDP):
        raise InputError(
            f"the certificate is for an SDP; got a {type(subject).__name__}, expected an SDP or a Problem."
        )
    result = guarded(lambda: parse(text, sdp), lambda document: _decide(document, sdp, exact))
    if result.malformed and _is_for_another(text, sdp):
        return CheckResult(False, _ANOTHER)  # where arrays have other sizes, that is why
    return result


def _is_for_another(text: str, sdp: SDP) -> bool:
    """Whether the file names another SDP, whose sizes need not be those of this one."""
    try:
        stated = json.loads(text)["problem"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(stated, str) and stated != digest(sdp)


def _decide(document: SDPDocument, sdp: SDP, exact: bool) -> CheckResult:
    if document.sha256 != digest(sdp):
        return CheckResult(False, _ANOTHER)
    if exact:
        fault = exact_bounds(sdp, document)
        how = "in integers and rationals"
    else:
        proof = prove_witness(sdp, document.witness)
        fault = document.exceeds(proof.status, proof.lower, proof.upper)
        fault = "; ".join((fault, *proof.reasons)) if fault else ""
        how = "with radii for every rounding"
    if fault:
        return CheckResult(False, f"not proven {how}: {fault}")
    return CheckResult(True, f"proven {how}: {document.status}")


register(FORMAT, check_sdp)
