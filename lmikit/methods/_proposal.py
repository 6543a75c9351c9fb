"""What the closed forms and their refinements share: reduce, calibrate, choose multipliers, lift."""

import abc
import dataclasses
import math
import time
from typing import ClassVar

import numpy as np

from .._arrays import blas_threads
from .._progress import Progress, ProgressCallback
from .._witness import Witness
from ..network import Network, require_dense
from ..reductions import REDUCTIONS, NeuronPowers, prepare
from ..solvers import AbstractSolver
from ._base import AbstractMethod
from ._eclipse_pass import fast_pass
from ._recursion import EliminatedChain, Evaluation, chain_of

__all__ = ["AbstractChainMethod", "Run", "proposed_witness", "smaller_witness"]

# On blocks of 80 two BLAS threads were 30 times slower than one; on a busy machine so are they on 400.
_SMALL_BLOCK = 1024
_HEADROOM = 1e-8  # relative, in rho; proofs on networks up to 49 x 80 and 4 x 400 needed less


class Run:
    """A deadline and a progress callback, asked between evaluations."""

    def __init__(self, stage: str, time_limit: float | None, progress: ProgressCallback | None) -> None:
        self._stage, self._limit, self._progress = stage, time_limit, progress
        self._start = time.perf_counter()
        self._count = 0

    @property
    def over(self) -> bool:
        return self._limit is not None and time.perf_counter() - self._start >= self._limit

    def report(self, objective: float, total: int | None = None, lower: float | None = None) -> None:
        """`objective`: the square root of rho, not a proven bound; `lower`: what the optimum is not below."""
        self._count += 1
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            self._progress(Progress(self._stage, self._count, total, objective, lower, seconds))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractChainMethod(AbstractMethod):
    """A method that chooses the multipliers of a chain by the forward recursion, without a solver.

    `balances`: where the neurons of a layer differ widely in scale, the balanced network is tried as well.
    """

    balances: ClassVar[bool] = True

    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A witness for `network`, multipliers strictly inside the feasible set; no solver is used.

        Every step is at least as good as the one before; at `time_limit` (seconds) the best so
        far is returned.
        """
        run = Run(self.name, time_limit, progress)
        for (
            layer
        ) in network.layers:  # also where what is left of them is small: nothing else is proven of them
            require_dense(layer.linear)
        with blas_threads(1 if max(network.dims[1:]) <= _SMALL_BLOCK else None), np.errstate(under="ignore"):
            prepared = prepare(network, REDUCTIONS, thorough=False)
            witness = self._proposed(prepared.network, run)
            balanced = NeuronPowers.apply(prepared.network, False) if self.balances else None
            if balanced is not None:
                witness = smaller_witness(witness, balanced.undo(self._proposed(balanced.network, run)))
            return prepared.undo(witness)

    def _proposed(self, network: Network, run: Run) -> Witness:
        chain, fast = fast_pass(chain_of(network))
        best = self._improved(chain, fast, run) if chain.hidden_layers else fast
        return proposed_witness(chain, best, self.name)

    @abc.abstractmethod
    def _improved(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> Evaluation:
        """An evaluation whose rho is at most that of `fast`."""


def smaller_witness(first: Witness, second: Witness) -> Witness:
    """The one with the smaller rho of the network itself; powers of two may differ."""
    if not (first.rho > 0.0 and second.rho > 0.0):
        return first
    shift = 2 * (sum(second.layer_pow2) - sum(first.layer_pow2))
    return second if math.log2(second.rho) + shift < math.log2(first.rho) else first


def proposed_witness(chain: EliminatedChain, at: Evaluation, name: str) -> Witness:
    """The evaluation as a witness for the chain's network: T = rho Lambda / 2, rho slightly raised.

    At the least rho the lifted matrix is singular and no floating-point proof can succeed.
    """
    rho = at.rho * (1.0 + _HEADROOM * (1.0 + sum(d.size for d in at.d) / 1000.0))
    multipliers = tuple(0.5 * rho / d for d in at.d)
    return Witness("lipsdp", rho, multipliers, layer_pow2=chain.layer_pow2, produced_by=name)
