"""Every kind of certificate has a `format`, and its checker one line here; `check` finds it by that.

A checker proves the claim of a file's text for its subject (a network, an SDP) independently of
what made the file. It never raises for a bad file: it answers `CheckResult(False, reason)`.
"""

import abc
import dataclasses
import json
import math
import os
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError
from .._files import read_bytes, write_bytes
from ._float_environment import environment_fault

__all__ = [
    "AbstractCertificate",
    "AbstractLipschitzCertificate",
    "CheckResult",
    "check",
    "format_of",
    "guarded",
    "read_text",
    "register",
]

LARGEST_FILE = 2**27  # bytes; a certificate of a million multipliers has a tenth of it
MOST_ITEMS = 2**20  # commas and brackets; small objects take many times the memory of their text
_LONGEST = 1000  # characters of a reason, which may quote a file


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """`ok` is a proof of the file's claim; `reason` says what was found.

    `margin` is the least excess of a diagonal entry of F over its row, in the matrix
    equilibrated to a diagonal near 1; NaN where it was not reached. `malformed`: the file is no
    certificate at all (broken, cut off, of an unknown form), so no claim was looked at.
    """

    ok: bool
    reason: str
    margin: float = math.nan
    malformed: bool = False

    def __bool__(self) -> bool:
        return self.ok


class AbstractCertificate(abc.ABC):
    """What `verify` functions hand out: a proven claim with a text that anybody can check again."""

    proven: ClassVar[bool] = True

    @abc.abstractmethod
    def to_text(self) -> str:
        """The JSON text of the file; `check` proves its claim again from it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON, whole or not at all; raises InputError."""
        write_bytes(path, self.to_text().encode("utf-8"))


class AbstractLipschitzCertificate(AbstractCertificate):
    """A proven bound for all x, x': ||f(x) - f(x')||_q <= bound ||x - x'||_p, (p, q) = `norm`.

    `lower`, if present, is a sampled lower bound of the true constant, no part of the proof.
    """

    bound: float
    network_digest: str
    margin: float
    theorem: str
    produced_by: str
    lower: float | None

    @property
    @abc.abstractmethod
    def norm(self) -> tuple[float, float]:
        """(p, q)."""

    @property
    @abc.abstractmethod
    def claim(self) -> str:
        """What is proven, in words."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """How many outputs f has."""

    @abc.abstractmethod
    def with_lower(self, lower: float | None) -> Self:
        """The same certificate with a sampled lower bound beside it; raises InputError."""

    def __str__(self) -> str:
        lower = "" if self.lower is None else f", sampled lower bound {self.lower:.9g}"
        by = f" by {self.produced_by}" if self.produced_by else ""
        head = f"{type(self).__name__}: Lipschitz bound {self.bound:.9g} (proven{lower}){by}"
        return f"{head}\n  {self.claim}\n  {self.theorem}"


Parsed = TypeVar("Parsed")
Checker = Callable[[str, Any, bool], CheckResult]
_CHECKERS: dict[str, Checker] = {}


def guarded(
    parse: Callable[[], Parsed],
    decide: Callable[[Parsed], CheckResult],
    refusals: tuple[type[Exception], ...] = (),
) -> CheckResult:
    """`decide` on what `parse` reads, in a floating-point environment that is proven to be IEEE 754's.

    InputError of `parse` means that the file is malformed. Overflow, a lack of memory or a failed
    factorisation in `decide`, and the errors in `refusals`, are refusals; anything else is a defect.
    """
    try:
        document = parse()
    except InputError as error:
        return CheckResult(False, str(error), malformed=True)
    fault = environment_fault()
    if fault:
        return CheckResult(False, f"the floating-point environment of this thread is unsafe: {fault}")
    try:
        with blas_threads(1), np.errstate(all="ignore"):
            return decide(document)
    except (OverflowError, MemoryError, np.linalg.LinAlgError) as error:
        return CheckResult(False, f"the check broke down ({type(error).__name__}: {error})")
    except refusals as error:
        return CheckResult(False, f"not proven ({error})")


def register(format_name: str, checker: Checker) -> None:
    """Announce the checker of files whose `format` is `format_name`."""
    _CHECKERS[format_name] = checker


def check(
    certificate: AbstractCertificate | str | os.PathLike[str], subject: Any, exact: bool = False
) -> CheckResult:
    """Prove the claim of a certificate (or of a certificate file) for `subject` independently.

    `subject` is what the claim is about: the `Network` of a Lipschitz or point certificate.
    `exact=True` uses integers throughout (python-flint where it is installed, Python's
    otherwise). Never raises for a bad certificate: `ok` is False and `reason` says why. Raises
    InputError where the path cannot be read or `subject` is of the wrong type.
    """
    try:
        text = _text(certificate)
    except InputError:
        raise
    except ValueError as error:  # not UTF-8, or too many items
        return CheckResult(False, f"not a certificate file: {error}", malformed=True)
    try:
        name = _format_of(text)
    except (ValueError, RecursionError) as error:
        reason = f"not a certificate file: it is no JSON ({error}); it may be truncated"
        return CheckResult(False, reason, malformed=True)
    if name not in _CHECKERS:
        known = ", ".join(sorted(_CHECKERS))
        reason = f"not a certificate file: its format is {repr(name)[:80]}; known are {known}"
        return CheckResult(False, reason, malformed=True)
    result = _CHECKERS[name](text, subject, exact)
    if len(result.reason) <= _LONGEST:
        return result
    return dataclasses.replace(result, reason=f"{result.reason[:_LONGEST]} ... (shortened)")


def _text(certificate: AbstractCertificate | str | os.PathLike[str]) -> str:
    if isinstance(certificate, AbstractCertificate):
        return certificate.to_text()
    if not isinstance(certificate, (str, os.PathLike)):
        raise InputError(f"got a {type(certificate).__name__}; expected a Certificate or the path of a file.")
    return decoded(read_bytes(certificate, LARGEST_FILE, "certificate file"))


def read_text(path: str | os.PathLike[str], what: str = "certificate file") -> str:
    """The text of a certificate file of any kind, within the limits; raises InputError."""
    data = read_bytes(path, LARGEST_FILE, what)
    try:
        return decoded(data)
    except ValueError as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read as a {what} ({error}).") from error


def decoded(data: bytes) -> str:
    """The text of a certificate file; raises ValueError for what is not UTF-8 or has too many items."""
    items = sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if items > MOST_ITEMS:
        raise ValueError(f"it has {items} items and brackets; at most {MOST_ITEMS} are read")
    return data.decode("utf-8")


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The `format` that a certificate file states, or None; raises InputError where it cannot be read."""
    text = read_text(path)
    try:
        return _format_of(text)
    except (ValueError, RecursionError):
        return None


def _format_of(text: str) -> str | None:
    """The `format` of a JSON object, by which its own strict reader is found; raises what `json` does."""
    data = json.loads(text)
    name = data.get("format") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
