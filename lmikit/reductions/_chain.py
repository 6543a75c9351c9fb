"""What reductions of chains share: whether a witness fits, and networks that are for bounds only."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .._errors import InputError
from .._witness import Witness
from ..network import AbstractLinearMap, Identity, Layer, Network, Slopes
from ._base import AbstractReduction

__all__ = ["AbstractChainReduction", "bounds_only"]


class AbstractChainReduction(AbstractReduction[Network, Witness]):
    """A reduction of a chain; `keeps_norms`: maps have the norms of those before, up to powers."""

    keeps_norms: ClassVar[bool] = False

    def undo(self, witness: Witness) -> Witness:
        """Raises InputError where it does not fit, or is of kind "layerwise" and norms are not kept."""
        layers, hidden = len(self.network.layers), list(self.network.dims[1:-1])
        if witness.layer_pow2 and len(witness.layer_pow2) != layers:
            raise InputError(
                f"the witness has {len(witness.layer_pow2)} powers of two; expected {layers}, one per map."
            )
        sizes = [t.size for t in witness.multipliers]
        if witness.kind != "layerwise" and sizes != hidden:
            raise InputError(
                f"the witness has multipliers of sizes {sizes}; expected {hidden}, the hidden layers of the "
                "reduced network."
            )
        if witness.kind == "layerwise" and len(sizes) != layers:
            raise InputError(f"the witness has {len(sizes)} multipliers; expected {layers}, one per map.")
        if witness.kind == "layerwise" and not self.keeps_norms:
            raise InputError(
                "this reduction merged layers or dropped neurons, so the spectral norms are not those of the "
                "original maps; propose a layerwise witness for the original network."
            )
        return self._undone(witness)

    @abc.abstractmethod
    def _undone(self, witness: Witness) -> Witness:
        """As `undo`, of a witness that fits."""


def bounds_only(
    maps: Sequence[AbstractLinearMap], slopes: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Network:
    """The chain of these maps with classes of slopes between them, without biases and a forward pass."""
    zeros = [np.zeros(linear.shape[0]) for linear in maps]
    layers = [
        Layer(linear, zero, Slopes(alpha, beta), alpha, beta)
        for linear, zero, (alpha, beta) in zip(maps[:-1], zeros[:-1], slopes, strict=True)
    ]
    last = Layer.of(maps[-1], zeros[-1], Identity(), "last layer")
    return Network((*layers, last), maps[0].shape[1])
