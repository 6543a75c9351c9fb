"""`PointWitness`: what is proposed for a claim at a point. Data only; `verify_point` proves it."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._convert import as_number, floats
from ..._errors import InputError
from ...claims import PointClaim
from ...network import Network

__all__ = ["MultiplierGroup", "PointWitness", "TermMultipliers", "point_digest"]


def _frozen(name: str, values: Any, ndim: int) -> np.ndarray:
    array = floats(name, values, finite=False)  # what is not finite is refused where it is to be proven
    if array.ndim != ndim:
        raise InputError(f"{name} has shape {array.shape}; expected {ndim} dimensions.")
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class TermMultipliers:
    """One multiplier per neuron of a layer for the term of that kind, with the term's parameters."""

    kind: str
    values: np.ndarray
    parameters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _frozen(f"the multipliers of {self.kind}", self.values, 1))
        frozen = {name: _frozen(name, p, 1) for name, p in self.parameters.items()}
        object.__setattr__(self, "parameters", frozen)


@dataclasses.dataclass(frozen=True, eq=False)
class MultiplierGroup:
    """One vector of multipliers and the rows of the claim that it proves.

    The multipliers serve scales[r] > 0 times row r of the claim: mu >= 0 of the ball (0 without one),
    tau (n_0,) >= 0 of the box (empty without one), and per hidden layer the multipliers of its
    terms. `rows` are indices into the claim's rows, `scales` has one entry for each.
    """

    rows: tuple[int, ...]
    scales: np.ndarray
    mu: float
    tau: np.ndarray
    layers: tuple[tuple[TermMultipliers, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(int(r) for r in self.rows))
        object.__setattr__(self, "scales", _frozen("scales", self.scales, 1))
        object.__setattr__(self, "tau", _frozen("tau", self.tau, 1))
        object.__setattr__(self, "mu", as_number("mu", self.mu, finite=False))
        object.__setattr__(self, "layers", tuple(tuple(layer) for layer in self.layers))
        if self.scales.shape != (len(self.rows),):
            raise InputError(f"scales has shape {self.scales.shape}; expected one for each of {self.rows}.")


@dataclasses.dataclass(frozen=True, eq=False)
class PointWitness:
    """A proposal for `claim` on the network with that digest (weights, biases, activations).

    Rows of the claim in `enclosed` need no multipliers: CROWN's linear bounds on the region prove them.
    """

    digest: str
    claim: PointClaim
    groups: tuple[MultiplierGroup, ...]
    produced_by: str = ""
    enclosed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "enclosed", tuple(int(r) for r in self.enclosed))


def point_digest(network: Network) -> str:
    """SHA-256 over all that the function rests on: linear maps, biases, activations with parameters."""
    sha = hashlib.sha256(b"lmikit-point-network-1\n")
    for layer in network.layers:
        sha.update(f"{layer.linear.digest} {layer.activation.name}\n".encode())
        sha.update(np.ascontiguousarray(layer.bias, dtype="<f8").tobytes())
        for name, value in sorted(layer.activation.parameters().items()):
            sha.update(f"{name} ".encode())
            if isinstance(value, str):
                sha.update(value.encode() + b"\n")
            else:
                array = np.atleast_1d(np.asarray(value, dtype="<f8"))
                sha.update(f"{array.size} ".encode() + array.tobytes())
    return sha.hexdigest()
