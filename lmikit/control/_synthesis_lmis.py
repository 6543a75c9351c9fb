"""The closed loop in variables in which it is affine, and what its norms ask of them.

P, A, B, C, D are bold in Scherer, Gahinet and Chilali, IEEE Trans. Automat. Control 42 (1997), section IV.
State feedback: P = X, A = A X + B L, gain K = L X^-1. Output feedback of full order: P = [[X, I], [I, Y]],
and the controller from hatted variables by their equation (40).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import InputError
from ..lmi import Problem, Values, block
from ..systems import Feedback, System
from ._stability import symmetric_part

__all__ = ["AffineLoop", "h2_terms", "h_infinity_terms", "output_feedback", "state_feedback"]


@dataclasses.dataclass(frozen=True, eq=False)
class AffineLoop:
    """The loop in its affine variables, the problem that holds them, and the controller at a solution."""

    problem: Problem
    P: Any
    A: Any
    B: Any
    C: Any
    D: Any
    recover: Callable[[Values], System]
    conditioning: Callable[[Any], None]  # adds constraints in which a scalar to be minimised occurs


def state_feedback(shape: Feedback, gain_limit: float | None) -> AffineLoop:
    """u = K x, |K| at most `gain_limit` where that is given."""
    plant, u, w = shape.plant, list(shape.control), shape.free_inputs
    n, m = plant.states, len(u)
    problem = Problem()
    X, L = problem.symmetric(n, "X"), problem.matrix(m, n, "L")
    if gain_limit is not None:  # ||L|| <= limit * x and X >= x I give ||L X^-1|| <= limit
        x = problem.scalar("x")
        problem.add(X - x * np.eye(n) >> 0)
        _norm_at_most(problem, L, gain_limit * x, m, n)

    def recover(values: Values) -> System:
        K = np.linalg.solve(symmetric_part(values["X"]), np.reshape(values["L"], (m, n)).T).T
        return System(np.zeros((0, 0)), np.zeros((0, n)), np.zeros((m, 0)), K, plant.dt)

    def conditioning(size: Any) -> None:
        # X^-1 <= size and L X^-1 L' <= size give ||L X^-1|| <= size
        problem.add(block([[X, np.eye(n)], [np.eye(n), size * np.eye(n)]]) >> 0)
        problem.add(block([[X, L.T], [L, size * np.eye(m)]]) >> 0)

    B, D = plant.B[:, u], plant.D[:, u]
    return AffineLoop(
        problem,
        X,
        plant.A @ X + B @ L,
        plant.B[:, w],
        plant.C @ X + D @ L,
        plant.D[:, w],
        recover,
        conditioning,
    )


def _norm_at_most(problem: Problem, F: Any, bound: Any, rows: int, columns: int) -> None:
    problem.add(block([[bound * np.eye(rows), F], [F.T, bound * np.eye(columns)]]) >> 0)


def output_feedback(shape: Feedback, strict: bool) -> AffineLoop:
    """`strict`: a controller without a direct term."""
    plant, u, w, z = shape.plant, list(shape.control), shape.free_inputs, shape.free_outputs
    n, m = plant.states, len(u)
    Cy, Dyw = shape.measurement()
    p = Cy.shape[0]
    A, B, Bw = plant.A, plant.B[:, u], plant.B[:, w]
    Cz, Dzu, Dzw = plant.C[z], plant.D[z][:, u], plant.D[z][:, w]
    problem = Problem()
    X, Y = problem.symmetric(n, "X"), problem.symmetric(n, "Y")
    Ah, Bh = problem.matrix(n, n, "Ah"), problem.matrix(n, p, "Bh")
    Ch = problem.matrix(m, n, "Ch")
    Dh: Any = np.zeros((m, p)) if strict else problem.matrix(m, p, "Dh")
    eye = np.eye(n)

    def recover(values: Values) -> System:
        x, y = symmetric_part(values["X"]), symmetric_part(values["Y"])
        sizes_of = (("Ah", (n, n)), ("Bh", (n, p)), ("Ch", (m, n)))
        ah, bh, ch = (np.reshape(values[name], size) for name, size in sizes_of)
        dh = Dh if strict else np.reshape(values["Dh"], (m, p))
        left, sizes, right = np.linalg.svd(eye - x @ y)  # M N' = I - X Y
        M, N = left * np.sqrt(sizes), right.T * np.sqrt(sizes)
        Ck = np.linalg.solve(M, (ch - dh @ Cy @ x).T).T
        Bk = np.linalg.solve(N, bh - y @ B @ dh)
        inner = ah - N @ Bk @ Cy @ x - y @ B @ Ck @ M.T - y @ (A + B @ dh @ Cy) @ x
        Ak = np.linalg.solve(N, np.linalg.solve(M, inner.T).T)
        return System(Ak, Bk, Ck, dh, plant.dt)

    def conditioning(size: Any) -> None:
        for F in (X, Y):
            problem.add(F << size * eye)
        problem.add(block([[X, 1.1 * eye], [1.1 * eye, Y]]) >> 0)  # keeps I - X Y regular

    return AffineLoop(
        problem,
        block([[X, eye], [eye, Y]]),
        block([[A @ X + B @ Ch, A + B @ Dh @ Cy], [Ah, Y @ A + Bh @ Cy]]),
        block([[Bw + B @ Dh @ Dyw], [Y @ Bw + Bh @ Dyw]]),
        block([[Cz @ X + Dzu @ Ch, Cz + Dzu @ Dh @ Cy]]),
        Dzw + Dzu @ Dh @ Dyw,
        recover,
        conditioning,
    )


def h_infinity_terms(loop: AffineLoop, plant: System, level: Any) -> None:
    """The bounded real lemma; `level` is the norm."""
    p, m = loop.D.shape
    inputs, outputs = level * np.eye(m), level * np.eye(p)
    A, B, C, D, P, problem = loop.A, loop.B, loop.C, loop.D, loop.P, loop.problem
    n = A.shape[0]
    if plant.discrete:
        problem.add(
            block(
                [
                    [P, A, B, np.zeros((n, p))],
                    [A.T, P, np.zeros((n, m)), C.T],
                    [B.T, np.zeros((m, n)), inputs, D.T],
                    [np.zeros((p, n)), C, D, outputs],
                ]
            )
            >> 0
        )
    else:
        problem.add(block([[A + A.T, B, C.T], [B.T, -inputs, D.T], [C, D, -outputs]]) << 0)
        problem.add(P >> 0)


def h2_terms(loop: AffineLoop, plant: System, level: Any) -> None:
    """The Gramian's inequality; `level` is the square of the norm."""
    A, B, C, D, P, problem = loop.A, loop.B, loop.C, loop.D, loop.P, loop.problem
    p, m = D.shape
    Z = problem.symmetric(p, "Z")
    problem.add(Z.trace() <= level)
    n = A.shape[0]
    if plant.discrete:
        problem.add(block([[P, A, B], [A.T, P, np.zeros((n, m))], [B.T, np.zeros((m, n)), np.eye(m)]]) >> 0)
        corner = block([[Z, C, D], [C.T, P, np.zeros((n, m))], [D.T, np.zeros((m, n)), np.eye(m)]])
        problem.add(corner >> 0)
        return
    if D.any():
        raise InputError("the H2 norm is infinite: an input of the loop reaches an output directly.")
    problem.add(block([[A + A.T, B], [B.T, -np.eye(m)]]) << 0)
    problem.add(block([[P, C.T], [C, Z]]) >> 0)
