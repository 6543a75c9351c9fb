"""Exact powers of two by layer.

Slope bounds do not change when an activation's argument and value are scaled alike: 2**-p_k W_k has the same
multiplier theory, and 2**(sum p_k) times its bounds are those of the network before.
"""

import dataclasses
import math
from typing import ClassVar, Self

import numpy as np

from .._errors import InexactScaling
from .._witness import Witness
from ..network import Network, normalise, with_scaled_layers
from ._chain import AbstractChainReduction, bounds_only

__all__ = ["LayerPowers", "as_stored", "scale_witness"]

_NEAR = 8  # powers of the largest entry that harm no closed form


@dataclasses.dataclass(frozen=True, eq=False)
class LayerPowers(AbstractChainReduction):
    """`network` has the weights 2**-powers[k] W_k."""

    network: Network
    powers: tuple[int, ...]
    exact: ClassVar[bool] = True
    keeps_norms: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Network, thorough: bool) -> Self | None:
        """Every max |W_ij| in [1/2, 1), as near as is exact; at once only where one is far from that."""
        sizes = [math.frexp(layer.linear.largest_entry())[1] for layer in network.layers]
        if max(map(abs, sizes)) <= (0 if thorough else _NEAR):
            return None
        return cls._of(*normalise(network))

    @classmethod
    def to_levels(cls, network: Network, witness: Witness) -> Self:
        """The powers by which rho and the typical T of a witness without powers come near 1.

        Interior-point and first-order methods stop by absolute tolerances: a deep network whose F is
        1e-20 needs this before it is handed to one. Linear neurons, whose T is arbitrarily large, do
        not count. Raises InexactScaling where they are out of range.
        """
        levels = [witness.rho]
        for t, (alpha, beta) in zip(witness.multipliers, network.slopes, strict=True):
            counted = t[(alpha < beta) & (t > 0.0)]
            levels.append(float(np.median(counted)) if counted.size else 0.0)
        sums = [round(math.log2(level) / 2.0) if 0.0 < level < math.inf else 0 for level in levels]
        powers = tuple(here - after for here, after in zip(sums, [*sums[1:], 0], strict=True))
        return cls._of(with_scaled_layers(network, powers), powers)

    @classmethod
    def _of(cls, scaled: Network, powers: tuple[int, ...]) -> Self:
        return cls(bounds_only([layer.linear for layer in scaled.layers], scaled.slopes), powers)

    def _undone(self, witness: Witness) -> Witness:
        given = witness.layer_pow2 or (0,) * len(self.powers)
        lowest = witness.optimum_at_least
        if lowest is not None:
            with np.errstate(over="ignore"):
                lowest = float(np.ldexp(lowest, sum(self.powers)))
        return dataclasses.replace(
            witness,
            layer_pow2=tuple(p + q for p, q in zip(given, self.powers, strict=True)),
            optimum_at_least=None if lowest == math.inf else lowest,
        )


def scale_witness(witness: Witness, powers: tuple[int, ...]) -> Witness:
    """The same claim for the network with weights 2**-powers[k] * W_k (exact unless it under- or overflows).

    rho is divided by 4**sum(powers), T of layer k by 4**sum(powers[k:]), as |dx|^2 and the squares of
    that layer's signals scale. Raises InexactScaling where that overflows.
    """
    after = np.cumsum(powers[::-1])[::-1]  # after[k] = powers[k] + ... + powers[L]
    lowest = witness.optimum_at_least
    return dataclasses.replace(
        witness,
        rho=_ldexp(witness.rho, -2 * int(after[0])),
        multipliers=tuple(
            np.ldexp(t, -2 * int(p)) for t, p in zip(witness.multipliers, after[1:], strict=True)
        ),
        optimum_at_least=None if lowest is None else _ldexp(lowest, -int(after[0])),
    )


def as_stored(witness: Witness) -> Witness:
    """The same claim with all powers of two at zero; raises InexactScaling where that overflows."""
    if not any(witness.layer_pow2):
        return dataclasses.replace(witness, layer_pow2=())
    plain = dataclasses.replace(witness, layer_pow2=(), optimum_at_least=None)
    scaled = scale_witness(plain, tuple(-p for p in witness.layer_pow2))
    return dataclasses.replace(scaled, optimum_at_least=witness.optimum_at_least)


def _ldexp(value: float, power: int) -> float:
    try:
        return math.ldexp(value, power)
    except OverflowError as error:
        raise InexactScaling(
            f"a witness scaled by 2**{power} leaves the range of float64; rescale the layers."
        ) from error
