"""Controllers by LMIs and Riccati equations; what is proven is the loop with the float gains as returned.

The LMIs are those of Scherer, Gahinet and Chilali, IEEE Trans. Automat. Control 42 (1997), in
`_synthesis_lmis`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

from .._api import solve
from .._convert import floats
from .._errors import InputError, OptionError, SolveFailed
from ..lmi import Status
from ..solvers import AbstractSolver, Dense
from ..systems import Feedback, System, as_system
from ._norms import h2_norm, h_infinity_norm
from ._result import ControlResult
from ._stability import symmetric_part
from ._synthesis_lmis import AffineLoop, h2_terms, h_infinity_terms, output_feedback, state_feedback

__all__ = ["Design", "h2_feedback", "h_infinity_feedback", "lqr"]


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """A controller, the loop with exactly these floats, and what is proven of the loop; u = controller(y).

    `proof` is the result of `h_infinity_norm` or `h2_norm` for `loop`; `estimate` is the optimum of the
    synthesis problem in floating point. Truth-valued: whether the loop is proven.
    """

    controller: System
    loop: Feedback
    proof: ControlResult
    estimate: float

    def __bool__(self) -> bool:
        return bool(self.proof)

    def __str__(self) -> str:
        """The controller's size and what is proven of the loop, in a line each."""
        c = self.controller
        return f"{c.outputs} x {c.inputs} controller of {c.states} states; {self.loop!r}\n{self.proof}"

    @property
    def gain(self) -> np.ndarray:
        """K of u = K y (state feedback: K x), the controller's direct term."""
        return self.controller.D

    @property
    def bound(self) -> float:
        """The proven upper bound of the loop's norm."""
        return self.proof.upper


def _root(name: str, weight: Any, size: int) -> np.ndarray:
    """F with F'F near a symmetric weight that is positive semidefinite."""
    W = floats(name, weight)
    if W.shape != (size, size) or not np.array_equal(W, W.T):
        raise InputError(f"{name} has shape {W.shape}; expected a symmetric ({size}, {size}) matrix.")
    values, vectors = np.linalg.eigh(W)
    if values.min(initial=0.0) < -1e-12 * max(1.0, values.max(initial=0.0)):
        raise InputError(f"{name} has a negative eigenvalue {values.min():.3g}; expected none.")
    if np.array_equal(W, np.diag(np.diagonal(W))):
        return np.diag(np.sqrt(np.diagonal(W)))
    return np.asarray(np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T)


def lqr(system: Any, Q: Any, R: Any) -> Design:
    """The gain K, u = K x, that minimises the integral (sum) of x'Q x + u'R u, and a proof of the loop.

    Q (n, n) positive semidefinite, R (m, m) positive definite. K comes from scipy's Riccati solvers.
    `loop` has the inputs x(0) = B w of unit impulses in every state and the outputs (Q^1/2 x, R^1/2
    u), the roots as floats: its H2 norm, squared, is the sum of the costs from the unit vectors, and
    is what is proven. Raises InputError, SolveFailed where there is no stabilising gain.
    Source: Anderson and Moore, Optimal Control: Linear Quadratic Methods (1990), chapter 3.
    """
    plant = as_system(system)
    n, m = plant.states, plant.inputs
    root_q, root_r = _root("Q", Q, n), _root("R", R, m)
    riccati = scipy.linalg.solve_discrete_are if plant.discrete else scipy.linalg.solve_continuous_are
    weights = np.asarray(Q, dtype=np.float64), np.asarray(R, dtype=np.float64)
    try:
        P = riccati(plant.A, plant.B, *weights)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise SolveFailed(
            f"the Riccati equation has no stabilising solution ({error}); expected a stabilisable plant, "
            "R positive definite and no mode on the boundary that Q does not see."
        ) from error
    P = symmetric_part(P)
    if plant.discrete:
        K = -np.linalg.solve(weights[1] + plant.B.T @ P @ plant.B, plant.B.T @ P @ plant.A)
    else:
        K = -np.linalg.solve(weights[1], plant.B.T @ P)
    out = np.vstack([root_q, np.zeros((m, n))])
    direct = np.hstack([np.zeros((n + m, n)), np.vstack([np.zeros((n, m)), root_r])])
    wide = System(plant.A, np.hstack([np.eye(n), plant.B]), out, direct, plant.dt)
    loop = Feedback.of_gain(wide, K, range(n, n + m))
    return Design(loop.controller, loop, h2_norm(loop), math.sqrt(max(float(np.trace(P)), 0.0)))


def h_infinity_feedback(
    system: Any,
    control: Sequence[int],
    measured: Sequence[int] | None = None,
    *,
    gain_limit: float | None = None,
    slack: float = 0.01,
    solver: AbstractSolver | None = None,
) -> Design:
    """A controller with a small H-infinity norm from the other inputs to the other outputs, and its proof.

    u = K x where `measured` is None, else a dynamic controller of the plant's order that sees these outputs
    (the rest are the outputs of the loop). The optimum of the LMI is found, then, `slack` (>= 0) or
    ten times that above it, a well-conditioned point. `gain_limit` bounds ||K|| of a state feedback,
    sufficient conditions of which enter the LMI. `estimate` is the LMI's optimum, `proof` that of the loop.
    Raises InputError, OptionError, SolveFailed where no controller is found whose loop is proven.
    Source: Scherer, Gahinet and Chilali, IEEE Trans. Automat. Control 42 (1997), sections III and IV.
    """
    return _design(system, control, measured, gain_limit, slack, solver, h_infinity_terms, h_infinity_norm)


def h2_feedback(
    system: Any,
    control: Sequence[int],
    measured: Sequence[int] | None = None,
    *,
    gain_limit: float | None = None,
    slack: float = 0.01,
    solver: AbstractSolver | None = None,
) -> Design:
    """The same for the H2 norm. In continuous time no other input may reach an output directly.

    Arguments, errors and source as in `h_infinity_feedback`.
    """
    return _design(system, control, measured, gain_limit, slack, solver, h2_terms, h2_norm)


Terms = Callable[[AffineLoop, System, Any], None]


def _design(
    system: Any,
    control: Sequence[int],
    measured: Sequence[int] | None,
    gain_limit: float | None,
    slack: float,
    solver: AbstractSolver | None,
    terms: Terms,
    prove: Callable[[Feedback], ControlResult],
) -> Design:
    plant = as_system(system)
    if not slack >= 0.0:
        raise OptionError(f"slack is {slack!r}; expected a number >= 0.")
    if gain_limit is not None and (measured is not None or not gain_limit > 0.0):
        raise OptionError("gain_limit is a positive bound on the gain of a state feedback (measured=None).")
    shape = Feedback(plant, _placeholder(plant, control, measured), tuple(control), _tuple(measured))
    optimum, controller = _optimal(shape, gain_limit, terms, solver)
    controllers = [controller]
    for share in (slack, 10.0 * slack) if slack else ():
        found = (
            _conditioned(shape, gain_limit, terms, solver, optimum * (1.0 + share) + 1e-6) if share else None
        )
        if found is not None:
            controllers.insert(-1, found)
    norm = optimum if terms is h_infinity_terms else math.sqrt(max(optimum, 0.0))
    designs = []
    for candidate in controllers:
        loop = Feedback(plant, candidate, shape.control, shape.measured)
        designs.append(Design(candidate, loop, prove(loop), norm))
        if designs[-1]:
            return designs[-1]
    if solver is None:  # the LMIs of synthesis are badly scaled: a second solver sometimes gets further
        return _design(system, control, measured, gain_limit, slack, Dense(), terms, prove)
    reasons = "; ".join(designs[-1].proof.reasons)
    raise SolveFailed(f"no controller was found whose loop is proven: {reasons}.")


def _optimal(
    shape: Feedback, gain_limit: float | None, terms: Terms, solver: AbstractSolver | None
) -> tuple[float, System]:
    """The optimum of the LMI and its controller; raises SolveFailed."""
    status = ""
    for choice in (solver, Dense()) if solver is None else (solver,):
        loop = _build(shape, gain_limit, terms)
        level = loop.problem.scalar("level")
        terms(loop, shape.plant, level)
        loop.problem.minimise(level)
        best = solve(loop.problem.compile(), choice)
        hopeless = best.status in (Status.INFEASIBLE, Status.UNBOUNDED)
        if best.y is not None and not hopeless and math.isfinite(best.objective):
            values = loop.problem.read(best)
            return float(values["level"]), loop.recover(values)
        status = best.status.name
        if hopeless:
            break
    raise SolveFailed(f"no controller was found: the solver says {status}.")


def _conditioned(
    shape: Feedback, gain_limit: float | None, terms: Terms, solver: AbstractSolver | None, level: float
) -> System | None:
    """A controller of moderate size at a level above the optimum."""
    loop = _build(shape, gain_limit, terms)
    terms(loop, shape.plant, level)
    size = loop.problem.scalar("size")
    loop.conditioning(size)
    loop.problem.minimise(size)
    found = solve(loop.problem.compile(), solver)
    return None if found.y is None else loop.recover(loop.problem.read(found))


def _tuple(indices: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if indices is None else tuple(indices)


def _placeholder(plant: System, control: Sequence[int], measured: Sequence[int] | None) -> System:
    """A controller of the right sizes, so that `Feedback` checks the rest."""
    seen = plant.states if measured is None else len(measured)
    return System(np.zeros((0, 0)), np.zeros((0, seen)), np.zeros((len(control), 0)), None, plant.dt)  # type: ignore[arg-type]


def _build(shape: Feedback, gain_limit: float | None, terms: Terms) -> AffineLoop:
    if shape.measured is None:
        return state_feedback(shape, gain_limit)
    return output_feedback(shape, terms is h2_terms and not shape.discrete)
