"""The contract of a method: `Network` in, `Witness` out; it proves nothing."""

import abc
import dataclasses
from typing import ClassVar

from .._errors import InputError
from .._progress import ProgressCallback
from .._witness import Witness
from ..graph import Graph, GraphWitness
from ..network import Network
from ..solvers import AbstractSolver

__all__ = ["AbstractMethod"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractMethod(abc.ABC):
    """A way to propose a bound, with its options; immutable and constructible without arguments.

    Laws, tested for every registered method: `certificates.verify` accepts the witness after
    repair, the bound is at or above every sampled difference quotient, and scaling a layer by
    a power of two scales the bound by it exactly.
    """

    name: ClassVar[str]  # the CLI's name for it
    uses_solver: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """What tables call this method with its options."""
        return type(self).__name__

    @property
    def cli_name(self) -> str:
        """The name by which the command line picks this method with these options."""
        return self.name

    @property
    def start(self) -> "AbstractMethod | None":
        """The method whose proposal this one starts from and should never be above, if there is one."""
        return None

    @abc.abstractmethod
    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A witness for `network`; `solver` is used by the methods that solve SDPs."""

    def propose_graph(
        self,
        graph: Graph,
        *,
        norm: tuple[float, float] = (2.0, 2.0),
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> GraphWitness:
        """A witness for a graph that is no chain, or for the norms (p, q); most methods need a chain and l2.

        Raises InputError where the method has no form for graphs.
        """
        graph.as_chain()
        raise InputError(f"{self.label} bounds l2 gains only; LipSDP() takes the norms {norm}.")
