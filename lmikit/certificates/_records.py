"""The data of a certificate file, and what it says about its network. Nothing here is proven."""

import dataclasses

import numpy as np

from .._witness import Witness
from ..network import DenseMap, Network, SparseMap

__all__ = [
    "FIXED_CLAIM",
    "FORMAT",
    "STATEMENT",
    "VERSIONS",
    "Document",
    "NetworkRecord",
    "WeightRecord",
    "mismatch",
    "network_record",
]

FORMAT = "lmikit-cert"
VERSIONS = (1, 2)  # 2: neurons with alpha = beta carry no multiplier
STATEMENT = (
    "global l2->l2, of the real-arithmetic function defined by these float weights; not of a float inference"
)
FIXED_CLAIM = {"norm": "l2->l2", "scope": "global", "semantics": "real", "statement": STATEMENT}


@dataclasses.dataclass(frozen=True)
class WeightRecord:
    """One linear map by its hash."""

    kind: str
    shape: tuple[int, int]
    sha256: str


@dataclasses.dataclass(frozen=True)
class NetworkRecord:
    """What the claim is about: sizes, slopes per hidden neuron, hashes of the weights."""

    dims: tuple[int, ...]
    slopes: tuple[tuple[np.ndarray, np.ndarray], ...]
    weights: tuple[WeightRecord, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """A certificate file as data; nothing in it is proven."""

    bound: float
    witness: Witness
    network: NetworkRecord
    margin: float
    lower: float | None
    version: int = 1


def network_record(network: Network) -> NetworkRecord:
    """The record of a network; linear maps other than dense and sparse are named by their class."""
    names = {DenseMap: "dense", SparseMap: "csr"}
    weights = tuple(
        WeightRecord(
            names.get(type(layer.linear), type(layer.linear).__name__),
            layer.linear.shape,
            layer.linear.digest,
        )
        for layer in network.layers
    )
    return NetworkRecord(network.dims, network.slopes, weights)


def mismatch(document: Document, network: Network) -> str:
    """What differs between the file's network and this one; the empty string if nothing does."""
    ours, theirs = network_record(network), document.network
    if ours.dims != theirs.dims:
        return f"it has dims {list(theirs.dims)}, this network {list(ours.dims)}"
    for k, (a, b) in enumerate(zip(ours.slopes, theirs.slopes, strict=True)):
        if not (np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])):
            return f"the slope bounds of hidden layer {k + 1} differ"
    for k, (mine, other) in enumerate(zip(ours.weights, theirs.weights, strict=True)):
        if mine != other:
            return f"the SHA-256 of weight {k} differs"
    return ""
