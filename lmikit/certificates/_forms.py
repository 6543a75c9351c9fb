"""Which matrix stands for a network: that of the chain as it is, or with its linear neurons eliminated."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._assemble import assemble
from ._dissipation import LevelDissipation, eliminate, nonlinear_neurons
from ._feasible import always_feasible
from ._lifted import Chain, Lifted, lift

__all__ = ["Form", "form_of"]

_WIDEST = 1e200


@dataclasses.dataclass(frozen=True)
class Form:
    """Multipliers by level, each level the neurons `kept` of one hidden layer, and their lifted matrix.

    `system` is None for a chain without linear neurons, whose matrix costs less to form.
    """

    chain: Chain
    system: LevelDissipation | None
    layers: tuple[int, ...]  # the hidden layer of each level
    kept: tuple[np.ndarray, ...]  # neurons of that layer, in the network's numbering
    within: tuple[np.ndarray, ...]  # the same among the chain's neurons

    @property
    def eliminates(self) -> bool:
        return self.system is not None

    def lift(self, multipliers: Sequence[np.ndarray]) -> Lifted:
        """The lifted matrix for multipliers t > 0, one array per level."""
        if self.system is None:
            return lift(self.chain, multipliers)
        return assemble(self.system, multipliers)

    def closed(self) -> tuple[np.ndarray, ...]:
        """Multipliers that are always feasible (restricting M to w = alpha v keeps it PSD)."""
        found = always_feasible(self.chain)
        return tuple(found[k][index] for k, index in zip(self.layers, self.within, strict=True))

    def natural(self) -> tuple[np.ndarray, ...]:
        """The scale of each multiplier: |column out of the neuron| / |row into it|."""
        result = []
        for k, index in zip(self.layers, self.within, strict=True):
            row = np.abs(self.chain.weights[k]).max(axis=1)
            column = np.abs(self.chain.weights[k + 1]).max(axis=0)
            result.append(np.clip(column / row, 1.0 / _WIDEST, _WIDEST)[index])
        return tuple(result)

    def compressed(self) -> "Form":
        """A form for searching: the first map by its R, W_0' = Q R, where the input block would be dense.

        ||W_0 x|| keeps its range, so rho*(T) is the same up to rounding; 784 inputs of 16 neurons become 16.
        """
        w = self.chain.weights[0]
        first = self.chain.slopes[0] if self.chain.slopes else None
        if w.shape[1] <= w.shape[0] or first is None or not any(_curved(s) for s in self.chain.slopes):
            return self
        factor = np.asarray(np.linalg.qr(w.T, mode="r"))
        weights = (np.ascontiguousarray(factor.T), *self.chain.weights[1:])
        chain = dataclasses.replace(self.chain, weights=weights)
        system = None if self.system is None else eliminate(chain)
        return dataclasses.replace(self, chain=chain, system=system)

    def pick(self, full: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The levels' multipliers out of one array per hidden layer of the network."""
        return [full[k][index] for k, index in zip(self.layers, self.kept, strict=True)]

    def spread(self, multipliers: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """One array per hidden layer of the network, 0 where the neuron has no multiplier."""
        full = [np.zeros(n) for n in sizes]
        for k, index, t in zip(self.layers, self.kept, multipliers, strict=True):
            full[k][index] = t
        return tuple(full)


def _curved(slopes: tuple[np.ndarray, np.ndarray]) -> bool:
    alpha, beta = slopes
    return bool(((alpha < beta) & (alpha != 0.0) & (beta != 0.0)).any())


def form_of(chain: Chain, eliminate_linear: bool) -> Form:
    """The form of a chain; with `eliminate_linear`, neurons with alpha = beta carry no multiplier."""
    if not eliminate_linear or all((alpha < beta).all() for alpha, beta in chain.slopes):
        layers = tuple(range(len(chain.kept)))
        return Form(chain, None, layers, chain.kept, tuple(np.arange(i.size) for i in chain.kept))
    index = nonlinear_neurons(chain.slopes)
    layers = tuple(k for k, i in enumerate(index) if i.size)
    within = tuple(index[k] for k in layers)
    kept = tuple(chain.kept[k][index[k]] for k in layers)
    return Form(chain, eliminate(chain), layers, kept, within)
