"""`verify_cells`: the Lipschitz constant on a region between two proven numbers."""

import dataclasses
import os

import numpy as np

from ..._arrays import blas_threads
from ..._errors import InputError, NotCertified
from ..._ieee import require_ieee
from ...claims import AbstractRegion
from ...network import Network
from .._kinds import AbstractCertificate
from ..point import point_digest
from ._prove import prove_lower, prove_upper
from ._tree import CellWitness

__all__ = ["CellCertificate", "sentence", "verify_cells"]

SEMANTICS = "of the real-arithmetic function defined by these float weights; not of a float inference"
_FROM_VERIFY = object()


@dataclasses.dataclass(frozen=True, eq=False)
class CellCertificate(AbstractCertificate):
    """Two proven bounds of sup ||f(x) - f(x')|| / ||x - x'|| over x != x' of a region: lower <= sup <= upper.

    Built by `verify_cells` only, from a tree of activation patterns that covers the region (all of R^n_0
    where it is None) and a point inside a cell. `network_digest` covers weights, biases and activations.
    """

    lower: float
    upper: float
    region: AbstractRegion | None
    witness: CellWitness
    leaves: int
    network_digest: str
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a CellCertificate is made by lmikit's verify_cells, which proves it first.")

    @property
    def bound(self) -> float:
        """The upper bound: ||f(x) - f(x')|| <= bound ||x - x'|| for all x, x' of the region."""
        return self.upper

    @property
    def claim(self) -> str:
        """The sentence."""
        return sentence(self.region)

    def to_text(self) -> str:
        """The JSON text of the file (docs/cells_certificate_format.md)."""
        from ._format import render_cells

        return render_cells(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "CellCertificate":
        """Read a file and prove it again for `network`; raises InputError, NotCertified."""
        from ._format import read_cells

        document = read_cells(path)
        if document.digest != point_digest(network):
            raise NotCertified("it is for another network: weights, biases or activations differ.")
        found = verify_cells(network, document.region, document.witness, document.upper)
        if found.lower < document.lower:
            raise NotCertified(f"the file claims lower={document.lower!r}; its point proves {found.lower!r}.")
        return found

    def __str__(self) -> str:
        return f"CellCertificate: {self.lower:.9g} <= L <= {self.upper:.9g} (proven)\n  {self.claim}"


def sentence(region: AbstractRegion | None) -> str:
    """What is claimed, in words and symbols."""
    where = "in R^n" if region is None else f"with {region.describe()}"
    return f"lower <= sup ||f(x) - f(x')||_2 / ||x - x'||_2 <= upper over all x != x' {where}, {SEMANTICS}"


def verify_cells(
    network: Network, region: AbstractRegion | None, witness: CellWitness, upper: float
) -> CellCertificate:
    """Prove lower <= sup ||f(x) - f(x')|| / ||x - x'|| <= upper over x != x' of the region, lower found here.

    Raises InputError (types, sizes, other activations than relu, leaky_relu, prelu, abs and identity, a
    region without interior points), NotCertified. Theorems: see `_cells`, `_emptiness`, `_bounds`,
    `_interior`.
    """
    if not isinstance(network, Network) or not (region is None or isinstance(region, AbstractRegion)):
        raise InputError("verify_cells takes an lmikit.Network and a Ball, Box, BallAndBox or None.")
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        count = prove_upper(network, region, witness, upper, exact=False)
        lower = prove_lower(network, region, witness)
    return CellCertificate(lower, upper, region, witness, count, point_digest(network), _FROM_VERIFY)
