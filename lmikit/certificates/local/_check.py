"""Reading and checking files of format "lmikit-local-cert".

The file holds the region, the digest with biases, and the text of a certificate for the class of
functions with the slopes of the region. The check encloses the preactivations on the region again
(with outward rounding, in the exact mode too), requires the file's slopes to contain what that proves,
and gives the inner text to the independent checker of Lipschitz certificates.
"""

import dataclasses
import os
from typing import Any

from ..._errors import InputError, NotCertified
from ...claims import AbstractRegion
from ...network import Network
from .._check import check_lipschitz
from .._format_read import parse
from .._kinds import CheckResult, guarded, read_text, register
from .._records import Document
from .._strict_json import float_of, object_of, parsed, require_format, text_of
from ..point import point_digest
from ..point._format_read import _region
from ._certificate import FORMAT, VERSION, contains, sentence, with_slopes

__all__ = ["check_local", "read_local"]


@dataclasses.dataclass(frozen=True, eq=False)
class LocalDocument:
    """A file as data; nothing in it is proven."""

    bound: float
    region: AbstractRegion
    digest: str
    inner: Document
    text: str


def read_local(path: str | os.PathLike[str]) -> LocalDocument:
    """Read and validate a file; raises InputError."""
    return parse_local(read_text(path, "local certificate file"))


def parse_local(text: str) -> LocalDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid local certificate")


def _document(data: Any) -> LocalDocument:
    top = object_of(data, "the file", "format version claim network global")
    require_format(top, FORMAT, (VERSION,))
    claim = object_of(top["claim"], "claim", "statement L region")
    region = _region(claim["region"])
    if claim["statement"] != sentence(region):
        raise InputError(f"claim.statement is {claim['statement']!r}; expected {sentence(region)!r}.")
    digest = text_of(object_of(top["network"], "network", "digest")["digest"], "network.digest")
    inner = text_of(top["global"], "global")
    return LocalDocument(float_of(claim["L"], "claim.L"), region, digest, parse(inner), inner)


def check_local(text: str, network: Any, exact: bool) -> CheckResult:
    """The checker of local certificates; raises InputError for what is no Network."""
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    return guarded(
        lambda: parse_local(text),
        lambda document: _decide(document, network, exact),
        (InputError, NotCertified),
    )


def _decide(document: LocalDocument, network: Network, exact: bool) -> CheckResult:
    if document.digest != point_digest(network):
        return CheckResult(False, "it is for another network: weights, biases or activations differ")
    if document.region.dim != network.input_dim:
        return CheckResult(False, "the region is not one of this network's inputs")
    slopes = document.inner.network.slopes
    if not contains(slopes, network, document.region):
        return CheckResult(False, "the slopes do not contain those that are proven on the region")
    if not document.inner.bound <= document.bound:
        return CheckResult(False, f"L={document.bound!r} is below the inner bound {document.inner.bound!r}")
    result = check_lipschitz(document.text, with_slopes(network, slopes), exact)
    reason = f"{result.reason}; slopes from enclosures of the preactivations on the region, computed again"
    return dataclasses.replace(result, reason=reason)


register(FORMAT, check_local)
