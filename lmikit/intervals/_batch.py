"""CROWN on many boxes at once: what branch and bound over boxes asks for again and again."""

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError
from .._ieee import require_ieee
from ..network import Network
from ._crown import affine_maps, crown_lower
from ._domain import Domain
from ._functions import profile_of
from ._intervals import enclose

__all__ = ["CrownOnBoxes"]


class CrownOnBoxes:
    """CROWN for one network; `margins` encloses all hidden layers on every box of a batch.

    Raises InputError for an activation without proven values.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.maps = affine_maps(network)
        self.profiles = [profile_of(layer.activation) for layer in network.layers[:-1]]

    def margins(self, lower: np.ndarray, upper: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(B, p): proven lower bounds of rows (p, m) times f(x) on each box lower <= x <= upper, (B, n_0).

        Raises InputError (sizes), NotCertified where this thread's arithmetic is not IEEE 754's default.
        """
        if lower.ndim != 2 or lower.shape != upper.shape or lower.shape[1] != self.network.input_dim:
            raise InputError(
                f"the boxes have shapes {lower.shape} and {upper.shape}; "
                f"expected (B, {self.network.input_dim})."
            )
        if rows.ndim != 2 or rows.shape[1] != self.network.output_dim or not np.isfinite(rows).all():
            raise InputError(f"rows has shape {rows.shape}; expected (p, {self.network.output_dim}), finite.")
        require_ieee()
        with blas_threads(1), np.errstate(all="ignore"):
            domain, last = Domain.boxes(lower, upper), len(self.maps) - 1
            _, _, relaxations = enclose(self.maps[:last], domain, "crown", self.profiles)
            found = crown_lower(self.maps, relaxations, domain, rows, last)
        return np.where(np.isnan(found), -np.inf, np.broadcast_to(found, (len(lower), len(rows))))
