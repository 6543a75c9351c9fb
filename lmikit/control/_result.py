"""`ControlResult`: what is proven of a system, and how a proposal becomes one."""

import abc
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .._errors import InputError, NotCertified
from ..certificates.control import AbstractControlClaim, ControlCertificate, verify_control

__all__ = ["AbstractResult", "ControlResult", "Proposal", "attempt", "undecided"]

Proposal = tuple[AbstractControlClaim, Mapping[str, np.ndarray]]


class AbstractResult(abc.ABC):
    """What a verdict and its certificate say; truth-valued: whether what was asked for is proven."""

    verdict: str
    certificate: ControlCertificate | None
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.verdict == "proven"

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        return "nothing is proven" if self.certificate is None else self.certificate.statement

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate for `lmikit.check(path, subject)`; NotCertified where there is none."""
        if self.certificate is None:
            raise NotCertified("nothing is proven; " + "; ".join(self.reasons))
        self.certificate.save(path)

    @abc.abstractmethod
    def __str__(self) -> str:
        """The verdict, the claim, and what stood in the way."""


@dataclasses.dataclass(frozen=True, eq=False)
class ControlResult(AbstractResult):
    """What is proven of a system; truth-valued: whether the property asked for is proven.

    verdict "proven", "refuted" (its contrary is proven) or "undecided". `lower` and `upper` enclose the
    quantity of the claim, proven, -inf and inf where nothing is. `P` is the Lyapunov or storage matrix of a
    proven claim. `certificate` carries the proof, `estimate` is floating point and proves nothing,
    `reasons` says what stood in the way.
    """

    verdict: str
    lower: float
    upper: float
    certificate: ControlCertificate | None
    estimate: float
    reasons: tuple[str, ...]
    seconds: float

    @property
    def bound(self) -> float:
        """The proven upper bound."""
        return self.upper

    @property
    def P(self) -> np.ndarray | None:
        """The matrix of the proven claim, where it has one."""
        return None if self.certificate is None else self.certificate.witness.get("P")

    def __str__(self) -> str:
        numbers = ""
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            numbers = f" in [{self.lower!r}, {self.upper!r}]"
        elif math.isfinite(self.upper):
            numbers = f", at most {self.upper!r}"
        elif math.isfinite(self.lower):
            numbers = f", at least {self.lower!r}"
        return "\n  ".join((f"{self.verdict}{numbers}: {self.claim}", *self.reasons))


def attempt(
    subject: Any,
    proposals: Iterable[Proposal],
    reasons: list[str],
    accept: Callable[[ControlCertificate], bool] = lambda _: True,
) -> ControlCertificate | None:
    """The first proposal that is proven; what failed is added to `reasons`."""
    for claim, witness in proposals:
        try:
            certificate = verify_control(claim, subject, witness)
        except NotCertified as error:
            reasons.append(str(error))
            continue
        except InputError as error:
            if not all(np.isfinite(a).all() for a in witness.values()):
                reasons.append("the proposal is not finite.")
                continue
            raise error
        if accept(certificate):
            return certificate
    return None


def undecided(reasons: Iterable[str], started: float, estimate: float = math.nan) -> ControlResult:
    """Nothing is proven."""
    seconds = time.perf_counter() - started
    return ControlResult("undecided", -math.inf, math.inf, None, estimate, tuple(reasons), seconds)
