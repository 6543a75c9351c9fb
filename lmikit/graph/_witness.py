"""`GraphWitness`: what a method proposes for a graph. Data only; nothing here is proven.

Claim ||f(x) - f(x')||_q <= L ||x - x'||_p. With s in the dual ball of the q norm and dy = Y z,

    [[ M(T) + E_0'D_in E_0, -Y' ], [ -Y, D_out ]] >= 0   implies   2 s'dy <= dx'D_in dx + s'D_out s,

since M's quadratic form is <= 0 on increments; scaling s gives L^2 = c_in c_out, with c = the largest
entry for an l2 ball and the sum of the entries for an l-infinity ball (p = infinity; q = 1, whose dual is).
q = infinity takes one part per output row, p = 1 one per input column, and the largest of their L.
"""

import dataclasses

import numpy as np

from .._convert import floats, sealed
from .._errors import InputError

__all__ = ["GraphWitness", "Part", "as_norm"]

Norm = tuple[float, float]


def as_norm(norm: object) -> Norm:
    """(p, q) with both of 1, 2, infinity; raises InputError."""
    allowed = (1.0, 2.0, np.inf)
    if not isinstance(norm, tuple) or len(norm) != 2 or any(n not in allowed for n in norm):
        raise InputError(f"norm is {norm!r}; expected (p, q) with p and q of 1, 2 and math.inf.")
    return float(norm[0]), float(norm[1])


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One matrix: `d_in` (n_0,) or (1,), `d_out` (m,) or (1,), multipliers per nonlinear node.

    `column`: the input that moves (p = 1), `row`: the output that is looked at (q = infinity). The
    multipliers of a node with slopes are T >= 0 (size,), as in `Witness`; those of groups come as
    (lam, nu.., mu..) per group, see `lmikit.nonlinear`.
    """

    d_in: np.ndarray
    d_out: np.ndarray
    multipliers: tuple[np.ndarray, ...]
    row: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        for name in ("d_in", "d_out"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "multipliers", tuple(_frozen(t) for t in self.multipliers))


@dataclasses.dataclass(frozen=True, eq=False)
class GraphWitness:
    """kind "dissipation": `parts`. kind "norms": `gains[k]` bounds ||map||_2, per map in the order of nodes.

    With `rewritten` the witness is one for `without_groups` of the graph, which is the same function.
    `produced_by` says what made the proposal; `optimum_at_least` is the solver's own (unproven) lower
    bound on the best L that such multipliers can show.
    """

    kind: str
    norm: Norm = (2.0, 2.0)
    parts: tuple[Part, ...] = ()
    gains: tuple[float, ...] = ()
    produced_by: str = ""
    optimum_at_least: float | None = None
    rewritten: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("dissipation", "norms"):
            raise InputError(f"the kind of a witness is {self.kind!r}; expected 'dissipation' or 'norms'.")
        object.__setattr__(self, "norm", as_norm(self.norm))


def _frozen(values: object) -> np.ndarray:
    return sealed(floats("the multipliers", values, finite=False).reshape(-1))
