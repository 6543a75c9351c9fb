"""From a witness to what is proven of an SDP: bounds, infeasibility, unboundedness. Float mode."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from ..._errors import InputError
from ...lmi import SDP
from ._data import Cone
from ._exact import exact_gradient
from ._records import DualSide, PrimalSide, SDPWitness
from ._sides import DualResult, PrimalResult, dual_side, primal_side

__all__ = ["SDPProof", "prove_witness", "require_witness"]


@dataclasses.dataclass(frozen=True)
class SDPProof:
    """`status` and bounds that were proven; `reasons` says what was tried and not proven."""

    status: str
    lower: float | None
    upper: float | None
    reasons: tuple[str, ...]


def require_witness(sdp: SDP, witness: SDPWitness) -> None:
    """Raises InputError where a part of the witness does not fit the SDP."""
    m = sdp.variables
    for primal in (witness.primal, witness.primal_ray):
        if primal is not None:
            _shape("y", primal.y, (m,))
            _drop(primal.drop, sdp.b.size)
    for dual in (witness.dual, witness.dual_ray):
        if dual is not None:
            _require_dual(sdp, dual)
    if witness.bounds is not None:
        _shape("bounds", witness.bounds, (m,))
        if (witness.bounds < 0).any():
            raise InputError("bounds holds a negative number; expected |y_i| <= bounds_i.")


def _require_dual(sdp: SDP, side: DualSide) -> None:
    faces = side.faces or (None,) * len(sdp.lmis)
    if not len(faces) == len(side.X) == len(sdp.lmis) or len(side.s) != len(sdp.socs):
        raise InputError(f"the multipliers have {len(side.X)} blocks, the SDP {len(sdp.lmis)}.")
    for k, (X, face, lmi) in enumerate(zip(side.X, faces, sdp.lmis, strict=True)):
        if face is not None and (face.ndim != 2 or face.shape[0] != lmi.size or face.dtype != np.int64):
            raise InputError(f"faces[{k}] has shape {face.shape}; expected integers ({lmi.size}, r).")
        order = lmi.size if face is None else face.shape[1]
        _shape(f"X[{k}]", X, (order, order))
        if not np.array_equal(X, X.T):
            raise InputError(f"X[{k}] is not symmetric.")
    _shape("z", side.z, (sdp.h.size,))
    _shape("v", side.v, (sdp.b.size,))
    for j, (s, soc) in enumerate(zip(side.s, sdp.socs, strict=True)):
        _shape(f"s[{j}]", s, (soc.d.size,))
    if side.u is not None:
        _shape("u", side.u, (sdp.variables,))
    if side.metric not in ("plain", "scaled", "paid"):
        raise InputError(f"metric is {side.metric!r}; expected 'plain', 'scaled' or 'paid'.")
    _drop(side.drop, sdp.variables)


def _shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise InputError(f"{name} has shape {array.shape}; expected finite float64 numbers {shape}.")


def _drop(drop: dict[int, dict[int, Fraction]], size: int) -> None:
    if any(not 0 <= i < size for row in drop.items() for i in (row[0], *row[1])):
        raise InputError(f"drop names an equation outside 1..{size}.")


def prove_witness(sdp: SDP, witness: SDPWitness) -> SDPProof:
    """What the witness proves, in float64 with radii; never more than was asked."""
    reasons: list[str] = []
    base = Cone.of(sdp)
    bounds = witness.bounds
    if witness.dual_ray is not None:
        ray = _dual(sdp, base, witness.dual_ray, bounds, ray=True)
        if ray.ok and ray.value > 0:
            return SDPProof("infeasible", None, None, ())
        reasons.append(f"infeasible: {ray.reason or 'the value of the ray is not proven positive'}")
    upper = PrimalResult(False)
    if witness.primal is not None:
        upper = primal_side(base, witness.primal)
        if not upper.ok:
            reasons.append(f"upper: {upper.reason}")
    if witness.primal_ray is not None:
        fault = _unbounded_fault(sdp, base, witness.primal_ray, upper)
        if not fault:
            return SDPProof("unbounded", None, upper.value if upper.ok else None, ())
        reasons.append(f"unbounded: {fault}")
    lower = DualResult(False)
    if witness.dual is not None:
        lower = _dual(sdp, base, witness.dual, bounds, ray=False)
        if not lower.ok:
            reasons.append(f"lower: {lower.reason}")
    has_upper = upper.ok and math.isfinite(upper.value)
    has_lower = lower.ok and math.isfinite(lower.value)
    status = {(True, True): "optimum", (False, True): "feasible", (True, False): "bounded"}.get(
        (has_lower, has_upper), "undecided"
    )
    return SDPProof(
        status, lower.value if has_lower else None, upper.value if has_upper else None, tuple(reasons)
    )


def _dual(sdp: SDP, base: Cone, side: DualSide, bounds: np.ndarray | None, *, ray: bool) -> DualResult:
    cone = base if all(v is None for v in side.faces) else Cone.of(sdp, side.faces)
    return dual_side(cone.without_objective() if ray else cone, side, bounds)


def _unbounded_fault(sdp: SDP, base: Cone, ray: PrimalSide, feasible: PrimalResult) -> str:
    """The empty string where the ray, and a feasible point if the ray is not interior, prove unboundedness.

    An interior direction r makes y + t r feasible for large t from any y; with equalities one
    solution of A y = b is needed, so a feasible y is asked for.
    """
    if base.H is not None and base.H.nnz:
        if sdp.b.size:
            return "with equalities and a quadratic objective there is no rule"
        if any(exact_gradient(np.zeros_like(ray.y), base.H, ray.y)):
            return "H r = 0 does not hold exactly"
    result = primal_side(base.homogeneous().linear(), ray)
    if not result.ok:
        return f"the ray: {result.reason}"
    if not result.value < 0:
        return "c'r is not proven negative"
    if feasible.ok or (result.strict and not sdp.b.size):
        return ""
    return "the ray is proven, but no feasible y is"
