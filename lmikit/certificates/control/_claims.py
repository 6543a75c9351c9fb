"""`AbstractControlClaim`: a sentence about a system, and the matrices that prove it from a witness."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..._errors import NotCertified
from ._arithmetic import AbstractArithmetic, Matrix

__all__ = ["AbstractControlClaim", "Arrays", "Conditions", "claim_kinds", "register_claim", "symmetric"]

Arrays = dict[str, np.ndarray]
Conditions = Iterator[tuple[str, bool]]


class AbstractControlClaim(abc.ABC):
    """A frozen dataclass whose fields, floats and float arrays, are the parameters of the sentence.

    `conditions` yields (name, proven) in one arithmetic; all of them together imply the statement,
    by the theorem in the docstring of the claim. They never trust the witness.
    """

    kind: ClassVar[str]

    @abc.abstractmethod
    def statement(self) -> str:
        """The sentence, of the real-arithmetic system that the floats define."""

    @abc.abstractmethod
    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        """The arrays that a witness holds; raises InputError for a subject that does not fit."""

    @abc.abstractmethod
    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        """What has to be proven, one after the other."""

    def parameters(self) -> dict[str, Any]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


_KINDS: dict[str, type[AbstractControlClaim]] = {}


def register_claim(claim: type[AbstractControlClaim]) -> type[AbstractControlClaim]:
    """Announce a kind of claim, so that its files can be read."""
    _KINDS[claim.kind] = claim
    return claim


def claim_kinds() -> dict[str, type[AbstractControlClaim]]:
    """The kinds by name."""
    return dict(_KINDS)


def symmetric(witness: Arrays, name: str) -> np.ndarray:
    """The array of a witness, symmetric bit for bit; raises NotCertified."""
    array = witness[name]
    if not np.array_equal(array, np.swapaxes(array, -1, -2)):
        raise NotCertified(f"{name} is not symmetric.")
    return array
