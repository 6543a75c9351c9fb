"""Claims about where the eigenvalues are, and about Lyapunov functions.

For two matrices of equal order, X > 0 means symmetric and positive definite.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ..._errors import InputError, NotCertified
from ._arithmetic import AbstractArithmetic, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric
from ._subjects import family, one, order, realised

__all__ = ["Lyapunov", "NoCommonLyapunov", "PoleOutside", "PolesInRegion", "decrease"]


def decrease(ops: AbstractArithmetic[Matrix], A: Matrix, P: Matrix, rate: float, discrete: bool) -> Matrix:
    """Positive definite where x'P x decreases: -(A'P + P A + 2 rate P), or rate^2 P - A'P A."""
    if discrete:
        r = ops.number(rate)
        return ops.times(r @ r, P) - A.T @ P @ A
    return -(A.T @ P + P @ A) - ops.scaled(2.0 * rate, P)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class Lyapunov(AbstractControlClaim):
    """One quadratic function decreases along every system of a family.

    P > 0 and A_i'P + P A_i + 2 rate P < 0 for every i (continuous), A_i'P A_i < rate^2 P (discrete), imply
    V(x(t)) <= exp(-2 rate t) V(x(0)), or V(x(k)) <= rate^(2k) V(x(0)), V = x'P x, for every switching
    signal and for every convex combination of the systems.
    Source: Boyd, El Ghaoui, Feron, Balakrishnan, Linear Matrix Inequalities in System and Control
    Theory (1994), section 5.1.
    """

    kind: ClassVar[str] = "lyapunov"
    rate: float

    def statement(self) -> str:
        return (
            "V(x) = x'Px, with the positive definite P of this file, decreases along every solution of each "
            f"system and of any switching between them, at the rate {self.rate!r} (V <= exp(-2 rate t) "
            f"V(0) in "
            "continuous, V <= rate^(2k) V(0) in discrete time): they are exponentially stable"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        n = order(family(subject)[0])
        return {"P": (n, n)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        systems = family(subject)
        discrete = systems[0].discrete
        P = ops.of(symmetric(witness, "P"))
        yield "the rate is in its range", 0.0 < self.rate <= 1.0 if discrete else self.rate >= 0.0
        yield "P > 0", ops.definite(P)
        for i, system in enumerate(systems):
            A = realised(ops, system)[0]
            yield f"x'Px decreases along system {i}", ops.definite(decrease(ops, A, P, self.rate, discrete))


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class NoCommonLyapunov(AbstractControlClaim):
    """No quadratic function decreases along every system of a family.

    X_i >= 0 with S = sum_i (A_i X_i + X_i A_i') > 0 (continuous), sum_i (A_i X_i A_i' - X_i) > 0
    (discrete): if P > 0 had A_i'P + P A_i < 0 for all i, then 0 < tr(P S) = sum_i tr(X_i (A_i'P + P
    A_i)) <= 0. For one system this says that it is not stable. Source: as for `Lyapunov`, section 5.1
    and the theorem of alternatives in 2.2.1.
    """

    kind: ClassVar[str] = "no-common-lyapunov"

    def statement(self) -> str:
        return "no quadratic V(x) = x'Px with P positive definite decreases along every one of these systems"

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        systems = family(subject)
        n = order(systems[0])
        return {"X": (len(systems), n, n)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        systems = family(subject)
        n = order(systems[0])
        yield "there are states", n > 0
        total = ops.zeros(n, n)
        for i, (system, array) in enumerate(zip(systems, symmetric(witness, "X"), strict=True)):
            A, X = realised(ops, system)[0], ops.of(array)
            yield f"X_{i} >= 0", ops.definite(X, strict=False)
            total = total + (A @ X @ A.T - X if system.discrete else A @ X + X @ A.T)
        yield "the sum is positive definite", ops.definite(total)


def _region_order(L: np.ndarray, M: np.ndarray) -> int:
    """k of L and M (k, k); raises InputError."""
    k = L.shape[0] if L.ndim else 0
    if k < 1 or L.shape != (k, k) or M.shape != (k, k):
        raise InputError(f"the region has L of shape {L.shape} and M of {M.shape}; expected (k, k), k >= 1.")
    return k


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class PolesInRegion(AbstractControlClaim):
    """All eigenvalues z of A satisfy L + z M + conj(z) M' < 0.

    P > 0 with L (x) P + M (x) (A P) + M' (x) (P A') < 0 implies it.
    Source: Chilali and Gahinet, IEEE Trans. Automat. Control 41 (1996), Theorem 2.2.
    """

    kind: ClassVar[str] = "poles-in-region"
    L: np.ndarray
    M: np.ndarray

    def statement(self) -> str:
        return "every eigenvalue z of A satisfies L + z M + conj(z) M' < 0, with the L and M of this file"

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        n = order(one(subject))
        _region_order(self.L, self.M)
        return {"P": (n, n)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        A, P = realised(ops, one(subject))[0], ops.of(symmetric(witness, "P"))
        yield "L is symmetric", bool(np.array_equal(self.L, self.L.T) and self.L.shape == self.M.shape)
        AP, PA = A @ P, P @ A.T
        k = self.L.shape[0]
        rows = [
            [
                ops.scaled(float(self.L[i, j]), P)
                + ops.scaled(float(self.M[i, j]), AP)
                + ops.scaled(float(self.M[j, i]), PA)
                for j in range(k)
            ]
            for i in range(k)
        ]
        yield "P > 0", ops.definite(P)
        yield "the region's inequality", ops.definite(-ops.block(rows))


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class PoleOutside(AbstractControlClaim):
    """Some eigenvalue z of A violates L + z M + conj(z) M' < 0.

    With any q, the region lies in the half-plane l + 2 Re(m z) < 0, l = q*L q, m = q*M q. If a Hermitian P
    satisfies l P + m A P + conj(m) P A' < 0 but v*P v <= 0 for some v != 0, then not all eigenvalues lie in
    the half-plane: otherwise l/2 I + m A would be Hurwitz, and the solution of its Lyapunov equation
    positive definite (Horn and Johnson, Topics in Matrix Analysis, Theorem 2.2.1).
    """

    kind: ClassVar[str] = "pole-outside"
    L: np.ndarray
    M: np.ndarray

    def statement(self) -> str:
        return "some eigenvalue z of A violates L + z M + conj(z) M' < 0, with the L and M of this file"

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        n, k = order(one(subject)), _region_order(self.L, self.M)
        return {"q": (2, k, 1), "P_re": (n, n), "P_im": (n, n), "v": (2, n, 1)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        A = realised(ops, one(subject))[0]
        skew = witness["P_im"]
        if not np.array_equal(skew, -skew.T):
            raise NotCertified("P_im is not skew-symmetric.")
        P, S = ops.of(symmetric(witness, "P_re")), ops.of(skew)
        yield "L is symmetric", bool(np.array_equal(self.L, self.L.T) and self.L.shape == self.M.shape)
        L, M = ops.of(self.L), ops.of(self.M)
        a, b = (ops.of(part) for part in witness["q"])
        level = a.T @ L @ a + b.T @ L @ b
        re, im = a.T @ M @ a + b.T @ M @ b, a.T @ M @ b - b.T @ M @ a
        U = ops.times(re, A @ P) - ops.times(im, A @ S)
        V = ops.times(re, A @ S) + ops.times(im, A @ P)
        top, side = ops.times(level, P) + U + U.T, ops.times(level, S) + V - V.T
        yield "the half-plane's inequality", ops.definite(-ops.block([[top, -side], [side, top]]))
        v = ops.of(np.vstack(list(witness["v"])))
        yield "v is not zero", bool(witness["v"].any())
        yield "v*P v <= 0", ops.definite(-(v.T @ ops.block([[P, -S], [S, P]]) @ v), strict=False)
