"""`verify_local`: a Lipschitz bound for the slopes that hold on a region, from a witness for them.

THEOREM. With slopes alpha <= (phi(a) - phi(b)) / (a - b) <= beta for all preactivations a != b that occur on
the region, the incremental inequality of every neuron holds for every pair of its points, and the
global theorem (Fazlyab et al., NeurIPS 2019, Theorem 2) proves the bound for these pairs.
"""

import dataclasses
import json
import os

import numpy as np

from ..._errors import InputError, NotCertified
from ..._witness import Witness
from ...claims import AbstractRegion
from ...intervals import LocalIntervals
from ...network import Layer, Network, Slopes
from .._certificate import Certificate, verify
from .._kinds import AbstractCertificate
from ..point import point_digest, proven_intervals
from ..point._format_write import _region

__all__ = ["FORMAT", "LocalCertificate", "contains", "narrowed", "verify_local", "with_slopes"]

FORMAT, VERSION = "lmikit-local-cert", 1
SEMANTICS = "of the real-arithmetic function defined by these float weights; not of a float inference"
_FROM_VERIFY = object()
Pairs = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LocalCertificate(AbstractCertificate):
    """A proven bound on a region: ||f(x) - f(x')|| <= bound ||x - x'|| for all x, x' in it.

    Built by `verify_local` only. `inner` is the certificate for the class of functions with the
    slopes that hold there, `slopes` per hidden layer; `network_digest` covers weights,
    biases and activations.
    """

    bound: float
    region: AbstractRegion
    slopes: Pairs
    inner: Certificate
    network_digest: str
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a LocalCertificate is made by lmikit's verify_local, which proves it first.")

    @property
    def claim(self) -> str:
        """The sentence."""
        return sentence(self.region)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Per hidden layer, the neurons whose slope is not one number on the region."""
        return tuple(int((alpha < beta).sum()) for alpha, beta in self.slopes)

    def to_text(self) -> str:
        """The JSON text of the file."""
        data = {
            "format": FORMAT,
            "version": VERSION,
            "claim": {"statement": self.claim, "L": self.bound.hex(), "region": _region(self.region)},
            "network": {"digest": self.network_digest},
            "global": self.inner.to_text(),
        }
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "LocalCertificate":
        """Read a file and prove it again for `network`; raises InputError, NotCertified."""
        from ._check import read_local

        document = read_local(path)
        if document.digest != point_digest(network):
            raise NotCertified("it is for another network: weights, biases or activations differ.")
        slopes = document.inner.network.slopes
        found = verify_local(network, document.region, slopes, document.inner.witness, repair=False)
        if not found.bound <= document.bound:
            raise NotCertified(f"the file claims L={document.bound!r}; its witness proves {found.bound!r}.")
        return found

    def __str__(self) -> str:
        return f"LocalCertificate: Lipschitz bound {self.bound:.9g} (proven)\n  {self.claim}"


def sentence(region: AbstractRegion) -> str:
    """What is claimed, in words and symbols."""
    where = region.describe()
    return f"||f(x) - f(x')||_2 <= L ||x - x'||_2 for all x, x' with {where}, {SEMANTICS}"


def narrowed(bounds: LocalIntervals) -> Pairs:
    """The slopes on the region, a little wider than proven, so that other computers prove them too."""
    slopes = bounds.widened(1e-9).slopes
    return tuple(zip(slopes.alpha, slopes.beta, strict=True))


def contains(slopes: Pairs, network: Network, region: AbstractRegion) -> bool:
    """Whether these slopes hold on the region: enclosed again here."""
    proven = proven_intervals(network, region).slopes
    if len(slopes) != len(proven.alpha):
        return False
    return all(
        a.shape == low.shape and bool(((a <= low) & (high <= b)).all())
        for (a, b), low, high in zip(slopes, proven.alpha, proven.beta, strict=True)
    )


def with_slopes(network: Network, slopes: Pairs) -> Network:
    """The class of functions with these slopes: the same maps, no activations."""
    layers = [
        Layer(layer.linear, layer.bias, Slopes(alpha, beta), alpha, beta)
        for layer, (alpha, beta) in zip(network.layers[:-1], slopes, strict=True)
    ]
    return Network((*layers, network.layers[-1]), network.input_dim)


def verify_local(
    network: Network, region: AbstractRegion, slopes: Pairs, witness: Witness, *, repair: bool = True
) -> LocalCertificate:
    """Prove ||f(x) - f(x')|| <= L ||x - x'|| for all x, x' of the region.

    `slopes` (alpha, beta) per hidden layer must contain those that rigorous enclosures of the
    preactivations on the region allow; `witness` is one for the network `with_slopes`. Raises
    InputError (types, sizes, activations without proven values), NotCertified.
    """
    if not isinstance(network, Network) or not isinstance(region, AbstractRegion):
        raise InputError("verify_local takes an lmikit.Network and a Ball, Box or BallAndBox.")
    if not contains(slopes, network, region):
        raise NotCertified("the slopes do not contain those that are proven on the region.")
    inner = verify(with_slopes(network, slopes), witness, repair=repair)
    return LocalCertificate(inner.bound, region, slopes, inner, point_digest(network), _FROM_VERIFY)
