"""`NetworkLoop`: a linear system with a network as its controller, kept as its parts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ..graph import Graph
from ..graph._chain import is_chain
from ..network import Activation, Network
from ._feedback import Feedback
from ._state_space import System, as_system

__all__ = ["NetworkLoop"]


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkLoop:
    """The plant's inputs `control` are u = f(y): f a network, y the outputs `measured` (None: the state).

    What remains are the inputs d and outputs e of the loop. Continuous or discrete. A `Graph` whose nodes
    are a chain is taken as the `Network` that it is; one with skips stays a graph. Raises InputError where
    sizes do not fit, where a measured output depends directly on a control input, and for graphs with
    nonlinearities on groups of channels.
    """

    plant: System
    network: Network | Graph
    control: tuple[int, ...]
    measured: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", _plain(self.network))
        rows, columns = self.network.output_dim, self.network.input_dim
        gain = np.zeros((rows, columns))
        wired = Feedback.of_gain(self.plant, gain, self.control, self.measured)
        object.__setattr__(self, "control", wired.control)
        object.__setattr__(self, "measured", wired.measured)
        object.__setattr__(self, "_wired", wired)

    @classmethod
    def of(
        cls,
        system: Any,
        network: Network | Graph,
        control: Sequence[int],
        measured: Sequence[int] | None = None,
    ) -> "NetworkLoop":
        """The same with a plant that `as_system` reads."""
        seen = None if measured is None else tuple(measured)
        return cls(as_system(system), network, tuple(control), seen)

    @property
    def wiring(self) -> Feedback:
        """Which inputs and outputs remain, and what is measured; its controller is a stand-in."""
        return self._wired  # type: ignore[attr-defined]

    @property
    def discrete(self) -> bool:
        """Whether time is discrete."""
        return self.plant.discrete

    def field(self, x: np.ndarray, d: np.ndarray | None = None) -> np.ndarray:
        """x+ or x' at states x (..., n) without or with inputs d (..., m), in floating point."""
        wired, P = self.wiring, self.plant
        seen, direct = wired.measurement()
        free = np.zeros((*x.shape[:-1], wired.free_inputs.size)) if d is None else d
        u = self.network(x @ seen.T + free @ direct.T)
        own = x @ P.A.T + free @ P.B[:, wired.free_inputs].T
        return np.asarray(own + u @ P.B[:, list(self.control)].T)

    def __repr__(self) -> str:
        return f"<NetworkLoop: {self.plant.states} states, {self.network.hidden_neurons} neurons>"


def _plain(network: Any) -> Network | Graph:
    """A chain where it is one; raises InputError for what is no network of single neurons."""
    if isinstance(network, Graph):
        for k in network.applied:
            function = network.nodes[k].function  # type: ignore[union-attr]
            if not isinstance(function, Activation):
                raise InputError(
                    f"node {k} of the graph applies {function.name} to groups of channels; expected "
                    "activations of one neuron each."
                )
        return network.as_chain() if is_chain(network) else network
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network or a Graph.")
    return network
