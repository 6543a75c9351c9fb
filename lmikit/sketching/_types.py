"""What randomized norm computations may say: an estimate, a probabilistic bound, or a proposal.

None of them is a `Certificate`; only `certificates.verify` makes one.
"""

import dataclasses
from typing import Literal

__all__ = ["DeterministicBound", "Estimate", "ProbabilisticBound"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number near a quantity that bounds nothing.

    `side` says where it lies in exact arithmetic: "below" for Rayleigh-Ritz values (a sketch
    tests a subspace only), "none" where nothing is known. `matvecs` counts products of the
    layer or its transpose with one vector; `quantity` names what is estimated.
    """

    value: float
    quantity: str
    method: str
    seed: int
    matvecs: int
    side: Literal["below", "none"] = "below"


@dataclasses.dataclass(frozen=True)
class ProbabilisticBound:
    """quantity <= value except with probability at most `delta` over the random draw.

    The probability is that of exact arithmetic; `value` includes an allowance for rounding
    that is tested by simulation and not proven. `estimate`, where there is one, is a value at or
    below the quantity from the same run, so `value / estimate - 1` bounds the excess. It is
    never a `Certificate`.
    """

    value: float
    delta: float
    seed: int
    method: str
    matvecs: int
    quantity: str = "spectral norm"
    estimate: float | None = None


@dataclasses.dataclass(frozen=True)
class DeterministicBound:
    """quantity <= value with the rounding errors of its own computation included.

    A proposal, never a `Certificate`: it rests on the assumptions that the function which made it
    names. `certificates.verify` proves layers again that are part of a `Network`; convolutions given
    as operators are not. `products` counts matrix-matrix products (frequencies for "symbol").
    """

    value: float
    method: str
    products: int
    quantity: str = "spectral norm"
