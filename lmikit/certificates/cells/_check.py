"""The checker of files of format "lmikit-cells-cert"."""

from typing import Any

from ..._errors import InputError, NotCertified
from ...network import Network
from .._kinds import CheckResult, guarded, register
from ..point import point_digest
from ._format import FORMAT, CellDocument, parse_cells
from ._prove import prove_lower, prove_upper

__all__ = ["check_cells"]


def check_cells(text: str, network: Any, exact: bool) -> CheckResult:
    """Coverage, every leaf and the point, proven again; raises InputError for what is no Network."""
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    return guarded(
        lambda: parse_cells(text),
        lambda document: _decide(document, network, exact),
        (InputError, NotCertified),
    )


def _decide(document: CellDocument, network: Network, exact: bool) -> CheckResult:
    if document.digest != point_digest(network):
        return CheckResult(False, "it is for another network: weights, biases or activations differ")
    count = prove_upper(network, document.region, document.witness, document.upper, exact)
    lower = prove_lower(network, document.region, document.witness)
    if not document.lower <= lower:
        return CheckResult(False, f"lower={document.lower!r} is claimed; the point proves {lower!r}")
    how = "in integers" if exact else "with radii for every rounding"
    return CheckResult(
        True,
        f"{count} cells cover the region, each empty or with Jacobians of norm at most {document.upper!r} "
        f"({how}); a point inside a cell has one of norm {lower!r}",
    )


register(FORMAT, check_cells)
