"""`Solution`: what a solver hands back for an `SDP`. It carries no Lipschitz bound."""

import dataclasses
import enum

import numpy as np

__all__ = ["Dual", "Solution", "Status"]


class Status(enum.Enum):
    """How a solve ended; the value says what to do about it. Anything unknown is FAILED."""

    SOLVED = "solved to the requested tolerance"
    INACCURATE = "solved to a reduced tolerance: tighten the options or use another solver"
    LIMIT = "stopped at an iteration or time limit: raise the limit, or use the point as it is"
    INFEASIBLE = "no y of moderate size satisfies the constraints, to a tolerance: relax them"
    UNBOUNDED = "the objective falls along a ray, to a tolerance: add the constraint that is missing"
    FAILED = "the solver gave up: rescale the data or use another solver"

    @property
    def has_point(self) -> bool:
        """Whether `Solution.y` holds a point worth looking at."""
        return self in (Status.SOLVED, Status.INACCURATE, Status.LIMIT)


@dataclasses.dataclass(frozen=True, eq=False)
class Dual:
    """Multipliers of an SDP, with signs fixed by the Lagrangian

        c'y + 1/2 y'Hy - sum_k <X_k, F_k(y)> + z'(Gy - h) + v'(Ay - b) - sum_j s_j'(C_j y + d_j),

    X_k PSD (D_k, D_k), z >= 0 (p,), v free (q,), s_j in the second-order cone (k_j,).
    For a `ConicProgram` e and p are the multipliers of its exponential and power cones, (3,) each.
    A solver that works on a sparsity pattern may give X_k on that pattern only
    (`X_complete` False): inner products with F_k are right, eigenvalues are not.
    """

    X: tuple[np.ndarray, ...] = ()
    z: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    v: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    s: tuple[np.ndarray, ...] = ()
    X_complete: bool = True
    e: tuple[np.ndarray, ...] = ()
    p: tuple[np.ndarray, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """A solver's answer: a point y, its multipliers, and how it ended.

    `bound_on_optimum` is the dual objective as the solver computed it (floating point, not
    proven). For INFEASIBLE, `dual` is the ray; for UNBOUNDED, `y` is the ray.
    """

    status: Status
    y: np.ndarray | None
    dual: Dual | None
    objective: float
    bound_on_optimum: float
    seconds: float
    iterations: int
    solver: str = ""
    native_status: str = ""
    maximised: bool = False  # objective and bound are those of a maximised objective
    own: int | None = (
        None  # of a hand-written problem: the entries of y that are its variables, the first ones
    )

    def start(self, variables: int, *, with_dual: bool) -> "np.ndarray | Solution | None":
        """What a solve of a problem with so many variables may begin at: this solution, its y, or nothing."""
        if self.y is None or self.y.size != variables or self.status is Status.UNBOUNDED:
            return None
        return self if with_dual and self.dual is not None and self.dual.X_complete else self.y

    def __str__(self) -> str:
        rows = [("status", f"{self.status.name}: {self.status.value}")]
        rows += [
            ("objective", f"{self.objective:.10g}"),
            ("bound on optimum", f"{self.bound_on_optimum:.10g}"),
        ]
        if np.isfinite(self.objective) and np.isfinite(self.bound_on_optimum):
            rows.append(("gap", f"{abs(self.objective - self.bound_on_optimum):.2e}"))
        rows.append(
            ("solver", f"{self.solver} ({self.native_status})" if self.native_status else self.solver)
        )
        rows.append(("iterations", f"{self.iterations} in {self.seconds:.3g} s"))
        return "\n".join(f"{name:<17} {value}" for name, value in rows)
