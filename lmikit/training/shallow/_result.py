"""What convex training of a shallow network hands back."""

import dataclasses

from ...certificates import Certificate
from ...network import Network

__all__ = ["ShallowResult", "ShallowStep"]


@dataclasses.dataclass(frozen=True)
class ShallowStep:
    """The state after a step: mean loss, penalty term without its weight, and the objective.

    `stage` is "start" (the given net), "restricted" (idle units at zero, best scaling, all smaller where
    the zero network's loss is far smaller), "joint", "weights", "outputs", "multipliers" or "zero" (the
    zero network). `accepted` is False where the solver's point did not lower the true objective and was
    dropped. `gap` is what the program's solution is above its optimum at most, as the interior point method
    states it in floating point (inf: it did not come that far); None for other steps and other solvers.
    """

    stage: str
    loss: float
    penalty: float
    objective: float
    seconds: float
    accepted: bool = True
    gap: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ShallowResult:
    """The network found, objectives in floating point, the steps, and the proven Lipschitz bound.

    objective = loss + weight * penalty; penalty is L^2 (the rho of LipSDP), or 1/2 sum_j ||u_j||^2 + a_j^2.
    `history` never rises. `reason` says why the iteration stopped.
    """

    network: Network
    objective: float
    initial_objective: float
    certificate: Certificate
    history: tuple[ShallowStep, ...]
    reason: str
    seconds: float

    def __str__(self) -> str:
        fell = f"objective {self.initial_objective:.6g} -> {self.objective:.6g} (floating point)"
        return f"{fell}, {len(self.history) - 1} steps: {self.reason}\n{self.certificate}"

    @property
    def improvement(self) -> float:
        """1 - objective / initial_objective."""
        return 1.0 - self.objective / self.initial_objective if self.initial_objective > 0 else 0.0
