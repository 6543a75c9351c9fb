"""Claims about gains: H-infinity and H2 norms from both sides, passivity and its refutation."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ..._errors import InputError
from ._arithmetic import AbstractArithmetic, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric
from ._stability import decrease
from ._subjects import Linear, one, realised, sizes

__all__ = ["H2Norm", "HInfinityNorm", "NotPassive", "Passive"]


def _dissipation(ops: AbstractArithmetic[Matrix], system: Linear, P: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Blocks (xx, xu, uu) of the derivative, or the difference, of x'P x along the system."""
    A, B, _, _ = realised(ops, system)
    if system.discrete:
        return A.T @ P @ A - P, A.T @ P @ B, B.T @ P @ B
    return A.T @ P + P @ A, P @ B, ops.zeros(B.shape[1], B.shape[1])


def _frequency_shapes(n: int, m: int) -> dict[str, tuple[int, ...]]:
    return {"frequency": (1, 1), "u": (2, m, 1), "x": (2, n, 1)}


def _response(ops: AbstractArithmetic[Matrix], system: Linear, witness: Arrays) -> tuple[Matrix, np.ndarray]:
    """(y, r): the output (Re y; Im y) for the input u at the frequency is within r of y; r may be inf.

    s = j w in continuous time. In discrete time the frequency is t and z = ((1 - t^2) + 2 j t)/(1 +
    t^2), a point of the unit circle exactly; the equation is multiplied by 1 + t^2. That s is no
    eigenvalue of A is proven.
    """
    A, B, C, D = realised(ops, system)
    n = A.shape[0]
    w, eye = ops.of(witness["frequency"]), ops.of(np.eye(n))
    u = [ops.of(part) for part in witness["u"]]
    if system.discrete:
        whole = ops.number(1.0) + w @ w
        re, im = ops.number(1.0) - w @ w, ops.scaled(2.0, w)
    else:
        whole, re, im = ops.number(1.0), ops.zeros(1, 1), w
    real, imag = ops.times(re, eye) - ops.times(whole, A), ops.times(im, eye)
    right = ops.block([[ops.times(whole, B @ u[0])], [ops.times(whole, B @ u[1])]])
    near = np.vstack(list(witness["x"]))
    radius = ops.solution_radius(ops.block([[real, -imag], [imag, real]]), right, near)
    x = [ops.of(part) for part in witness["x"]]
    y = ops.block([[C @ x[0] + D @ u[0]], [C @ x[1] + D @ u[1]]])
    if not np.isfinite(radius).all():
        return y, np.full((y.shape[0], 1), np.inf)
    size = ops.of(ops.magnitudes(C))
    halves = np.split(radius, 2)
    return y, np.vstack([ops.magnitudes(size @ ops.of(h)) for h in halves])


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class HInfinityNorm(AbstractControlClaim):
    """lower <= H-infinity norm <= upper, and the system is stable.

    Upper: P > 0 with [[A'P + P A + C'C, P B + C'D], [., D'D - upper^2 I]] < 0 (continuous) or
    [[A'P A - P + C'C, A'P B + C'D], [., B'P B + D'D - upper^2 I]] < 0 (discrete), the bounded real
    lemma. Lower: one frequency s on the boundary of stability and one u with |G(s) u| >= lower |u|.
    Source: Boyd et al. (1994), section 6.3.2; Scherer and Weiland, Linear Matrix Inequalities in
    Control, Theorem 3.3.
    """

    kind: ClassVar[str] = "h-infinity-norm"
    lower: float
    upper: float

    def statement(self) -> str:
        return (
            f"the system is stable and its H-infinity norm lies in [{self.lower!r}, {self.upper!r}]: "
            f"from x(0) = 0 "
            "the L2 norm of the outputs is at most the upper bound times that of the inputs"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        n, m, _ = sizes(one(subject))
        return {"P": (n, n), **_frequency_shapes(n, m)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        system = one(subject)
        _, B, C, D = realised(ops, system)
        P = ops.of(symmetric(witness, "P"))
        yield "P > 0", ops.definite(P)
        xx, xu, uu = _dissipation(ops, system, P)
        top, side = xx + C.T @ C, xu + C.T @ D
        eye = ops.scaled(self.upper, ops.of(np.eye(B.shape[1])))
        corner = uu + D.T @ D - eye @ eye
        yield "0 <= lower and 0 < upper", self.lower >= 0.0 and self.upper > 0.0
        yield "the bounded real inequality", ops.definite(-ops.block([[top, side], [side.T, corner]]))
        if self.lower > 0.0:
            yield "the gain at one frequency", self._reaches(ops, system, witness)

    def _reaches(self, ops: AbstractArithmetic[Matrix], system: Linear, witness: Arrays) -> bool:
        y, radius = _response(ops, system, witness)
        u = ops.of(np.vstack(list(witness["u"])))
        if not (np.isfinite(radius).all() and witness["u"].any()):
            return False
        # |y'| >= (y, y')/|y| >= |y| - |r| for every y' within r, and |r| <= sum r: so (|y| - |r|)^2 >=
        # |y|^2 - 2 |y| |r|
        length = ops.number(float(ops.magnitudes(y).sum()) * (1.0 + 1e-9))
        slack = ops.scaled(2.0, length @ ops.number(float(radius.sum()) * (1.0 + 1e-9)))
        reach = ops.number(self.lower)
        least = y.T @ y - slack - ops.times(reach @ reach, u.T @ u)
        return ops.definite(least, strict=False)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class H2Norm(AbstractControlClaim):
    """lower <= H2 norm <= upper, and the system is stable.

    With W the observability Gramian, the square of the norm is tr(B'W B) (+ tr(D'D) in discrete time; in
    continuous time D = 0). P > 0 with A'P + P A + C'C < 0 has P > W; Q with A'Q + Q A + C'C >= 0 has Q
    <= W, since W - Q solves a Lyapunov equation of a stable A with a right-hand side of one sign;
    likewise for A'P A - P.
    Source: Boyd et al. (1994), section 6.3.3; Scherer and Weiland, Proposition 3.13.
    """

    kind: ClassVar[str] = "h2-norm"
    lower: float
    upper: float

    def statement(self) -> str:
        return f"the system is stable and its H2 norm lies in [{self.lower!r}, {self.upper!r}]"

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        n, _, _ = sizes(one(subject))
        return {"P": (n, n), "Q": (n, n)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        system = one(subject)
        A, B, C, D = realised(ops, system)
        if not system.discrete and ops.magnitudes(D).any():
            raise InputError("the H2 norm is infinite: D is not 0 in continuous time.")
        rate = 1.0 if system.discrete else 0.0
        P, Q = (ops.of(symmetric(witness, name)) for name in "PQ")
        yield "P > 0", ops.definite(P)
        yield "P exceeds the Gramian", ops.definite(decrease(ops, A, P, rate, system.discrete) - C.T @ C)
        below = decrease(ops, A, Q, rate, system.discrete) - C.T @ C
        yield "Q is below the Gramian", ops.definite(-below, strict=False)
        extra = ops.trace(D.T @ D)
        low, high = (ops.number(v) @ ops.number(v) for v in (self.lower, self.upper))
        yield "0 <= lower, 0 <= upper", self.lower >= 0.0 and self.upper >= 0.0
        yield "the upper bound", ops.definite(high - extra - ops.trace(B.T @ P @ B), strict=False)
        yield "the lower bound", ops.definite(ops.trace(B.T @ Q @ B) + extra - low, strict=False)


def _square(system: Linear) -> None:
    _, m, p = sizes(system)
    if m != p:
        raise InputError(f"passivity needs as many outputs as inputs; got {p} and {m}.")


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class Passive(AbstractControlClaim):
    """integral of u'y >= index * integral of |u|^2 from x(0) = 0, over every interval [0, T].

    P >= 0 with [[A'P + P A, P B - C'], [., 2 index I - D - D']] <= 0, or the same with A'P A - P, A'P B - C',
    B'P B + ...: the positive real lemma; x'P x / 2 is a storage function. index >= 0: the system is passive.
    Source: Boyd et al. (1994), section 6.3.3; Scherer and Weiland, section 2.4.
    """

    kind: ClassVar[str] = "passive"
    index: float

    def statement(self) -> str:
        return (
            f"from x(0) = 0 the supply, the integral (or sum) of u'y, is at least {self.index!r} times "
            f"that of "
            "|u|^2, over every interval from 0 (passive where the factor is not negative)"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        _square(one(subject))
        n = sizes(one(subject))[0]
        return {"P": (n, n)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        system = one(subject)
        _, B, C, D = realised(ops, system)
        P = ops.of(symmetric(witness, "P"))
        yield "P >= 0", ops.definite(P, strict=False)
        xx, xu, uu = _dissipation(ops, system, P)
        side = xu - C.T
        corner = uu - D - D.T + ops.scaled(2.0 * self.index, ops.of(np.eye(B.shape[1])))
        matrix = ops.block([[xx, side], [side.T, corner]])
        yield "the positive real inequality", ops.definite(-matrix, strict=False)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class NotPassive(AbstractControlClaim):
    """The system is stable, and Re u*G(s) u < index |u|^2 at a frequency s on the boundary of stability.

    Inputs that approach u exp(s t) then violate the integral inequality of `Passive` (Parseval). Stability by
    P > 0 with A'P + P A < 0, or A'P A < P. Source: Scherer and Weiland, section 2.4.
    """

    kind: ClassVar[str] = "not-passive"
    index: float

    def statement(self) -> str:
        return (
            "the system is stable, and for some input with finite energy the integral (or sum) of u'y "
            "is below "
            f"{self.index!r} times that of |u|^2"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        _square(one(subject))
        n, m, _ = sizes(one(subject))
        return {"P": (n, n), **_frequency_shapes(n, m)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        system = one(subject)
        A, P = realised(ops, system)[0], ops.of(symmetric(witness, "P"))
        yield "P > 0", ops.definite(P)
        rate = 1.0 if system.discrete else 0.0
        yield "the system is stable", ops.definite(decrease(ops, A, P, rate, system.discrete))
        y, radius = _response(ops, system, witness)
        finite = bool(np.isfinite(radius).all())
        yield "the response at the frequency is enclosed", finite
        if finite:
            u = ops.of(np.vstack(list(witness["u"])))
            slack = ops.of(np.abs(np.vstack(list(witness["u"])))).T @ ops.of(radius)
            supply = ops.scaled(self.index, u.T @ u) - u.T @ y - slack
            yield "the supply is below", ops.definite(supply)
