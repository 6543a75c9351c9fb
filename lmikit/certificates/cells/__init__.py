"""Exact Lipschitz constants of nets of two linear pieces: a tree of patterns, both sides proven."""

from ._bounds import LeafBounds, SpectralBound
from ._cells import Cell, CellTheory
from ._certificate import CellCertificate, verify_cells
from ._check import check_cells as check_cells  # registers the checker
from ._emptiness import Emptiness, ExactRegion, proves_empty
from ._interior import InteriorPoint, interior_norm
from ._kernel import exact_kernel
from ._prove import global_slopes, require_interior, tail_network
from ._tree import BOUND, EMPTY, CellTree, CellWitness

__all__ = [
    "BOUND",
    "EMPTY",
    "Cell",
    "CellCertificate",
    "CellTheory",
    "CellTree",
    "CellWitness",
    "Emptiness",
    "ExactRegion",
    "InteriorPoint",
    "LeafBounds",
    "SpectralBound",
    "exact_kernel",
    "global_slopes",
    "interior_norm",
    "proves_empty",
    "require_interior",
    "tail_network",
    "verify_cells",
]
