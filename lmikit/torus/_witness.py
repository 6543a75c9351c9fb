"""What torus methods propose: multipliers per channel, and per neuron of a fully connected end."""

import dataclasses

import numpy as np

from .._convert import floats, sealed

__all__ = ["TorusWitness"]


@dataclasses.dataclass(frozen=True, eq=False)
class TorusWitness:
    """2 s'dy <= d_in |dx|^2 + d_out |s|^2 for all s, hence L^2 = d_in d_out, on a torus of `cells`.

    `multipliers`: lambda >= 0 (channels,) per nonlinear node of the trunk, then `head` T >= 0 (neurons,) per
    nonlinear node of the head, in the convention of `lmikit.graph.Part`. `produced_by` says what made the
    proposal; `optimum_at_least` is the solver's own (unproven) lower bound on the best such L.
    """

    cells: tuple[int, int]
    d_in: float
    d_out: float
    multipliers: tuple[np.ndarray, ...]
    head: tuple[np.ndarray, ...] = ()
    produced_by: str = ""
    optimum_at_least: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", (int(self.cells[0]), int(self.cells[1])))
        for name in ("multipliers", "head"):
            arrays = tuple(sealed(floats(name, t, finite=False).reshape(-1)) for t in getattr(self, name))
            object.__setattr__(self, name, arrays)
