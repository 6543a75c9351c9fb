"""Rays in the words of the problem: which constraints contradict each other."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from ._printing import table
from ._solution import Dual, Solution, Status

if TYPE_CHECKING:
    from ._problem import Problem

__all__ = ["explained", "weights"]

_SMALL = 1e-6  # of the largest weight; smaller ones play no part
_MOST = 12


def explained(problem: "Problem", solution: Solution) -> str:
    """The ray of an infeasible or unbounded problem, its largest terms first."""
    if solution.status is Status.INFEASIBLE and solution.dual is not None:
        return _infeasible(problem, solution.dual)
    if solution.status is Status.UNBOUNDED and solution.y is not None:
        return _unbounded(problem, solution.y)
    raise InputError(
        f"the solution is {solution.status.name}; expected INFEASIBLE or UNBOUNDED, with a ray to explain."
    )


def weights(problem: "Problem", dual: Dual) -> dict[str, float]:
    """What share of a ray of infeasibility each constraint has: of the sums of absolute gradients and
    constants.

    Zero means that the constraint may go, and the others still contradict each other.
    """
    program = problem.compile_cones()
    sizes = {}
    for name in problem.constraints:
        terms = [_term(program, place, dual) for place in problem.places(name)]
        sizes[name] = float(sum(np.abs(gradient).sum() + abs(offset) for gradient, offset in terms))
    total = sum(sizes.values()) or 1.0
    return {name: size / total for name, size in sizes.items()}


def _term(program: Any, place: Any, dual: Dual) -> tuple[np.ndarray, float]:
    """Gradient and constant of one multiplier's term in the Lagrangian."""
    sdp = program.sdp
    if place.field == "X":
        lmi, X = sdp.lmis[place.index], dual.X[place.index]
        return lmi.adjoint(X), float((lmi.F0.multiply(X)).sum())
    if place.field in ("z", "v"):
        matrix, vector = (sdp.G, sdp.h) if place.field == "z" else (sdp.A, sdp.b)
        part = np.zeros(vector.size)
        part[place.index] = getattr(dual, place.field)[place.index]
        return matrix.T @ part, float(vector @ part)
    if place.field == "s":
        cone, s = sdp.socs[place.index], dual.s[place.index]
        return cone.C.T @ s, float(cone.d @ s)
    cones = (program.exponentials if place.field == "e" else program.powers)[place.index]
    parts = getattr(dual, place.field)[place.index]
    gradient = sum((cone.C.T @ s for cone, s in zip(cones, parts, strict=True)), np.zeros(sdp.variables))
    return gradient, float(sum(cone.d @ s for cone, s in zip(cones, parts, strict=True)))


def _infeasible(problem: "Problem", dual: Dual) -> str:
    shares = weights(problem, dual)
    largest = max(shares.values(), default=0.0)
    if not largest:
        return "The objective contradicts itself: its functions have no common domain."
    live = sorted(((w, name) for name, w in shares.items() if w > _SMALL * largest), reverse=True)
    rows = [[f"{name}:", str(problem.constraints[name]), f"{100 * w:.3g} %"] for w, name in live[:_MOST]]
    rest = len(shares) - len(live)
    lines = ["No values of the variables satisfy these together:", *table(rows)]
    if len(live) > _MOST:
        lines.append(f"  and {len(live) - _MOST} more")
    if rest:
        lines.append(f"The other {rest} play no part." if rest > 1 else "The other one plays no part.")
    return "\n".join(lines)


def _unbounded(problem: "Problem", ray: np.ndarray) -> str:
    rows = []
    for name, variable in problem.variables.items():
        start = variable.evaluate(np.zeros(problem.size))
        change = variable.evaluate(ray[: problem.size]) - start
        size = float(np.abs(change).max(initial=0.0))
        rows.append((size, name, np.array2string(change, precision=3, threshold=10).replace("\n", " ")))
    largest = max(size for size, _, _ in rows) or 1.0
    live = sorted((row for row in rows if row[0] > _SMALL * largest), reverse=True)[:_MOST]
    sense = "falls" if problem.sign > 0 else "grows"
    lines = table([[name, text] for _, name, text in live])
    return "\n".join([f"The objective {sense} without end, by 1 for each step along:", *lines])
