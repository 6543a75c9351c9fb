"""Exact mode: both sides redone in integers and rationals, from the file and the problem's entries."""

from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ...lmi import SDP
from ...lmi._svec import SvecOrder, svec_pairs
from ._data import ExactEntries, exact_entries
from ._exact import dependent_fault, exact_gradient, exact_objective
from ._exact_linear import Refused, common_power, enclose_solution, psd_exactly
from ._format import SDPDocument
from ._records import Drop, DualSide, PrimalSide
from ._sides import metric

__all__ = ["exact_bounds"]

_ZERO = Fraction(0)


def exact_bounds(sdp: SDP, document: SDPDocument) -> str:
    """Why the claim of the document does not follow; the empty string where it is proven."""
    try:
        _decide(sdp, document)
    except Refused as refusal:
        return str(refusal)
    return ""


def _decide(sdp: SDP, document: SDPDocument) -> None:
    witness, entries = document.witness, exact_entries(sdp)
    bounds = None if witness.bounds is None else [Fraction(v) for v in witness.bounds.tolist()]
    if document.upper is not None:
        assert witness.primal is not None
        value = _primal(sdp, entries, witness.primal, ray=False)
        _need(value <= Fraction(document.upper), "the objective exceeds the upper bound")
    if document.lower is not None:
        assert witness.dual is not None
        value = _dual(sdp, entries, witness.dual, bounds, ray=False)
        _need(value >= Fraction(document.lower), "the dual value is below the lower bound")
    if document.status == "infeasible":
        assert witness.dual_ray is not None
        _need(_dual(sdp, entries, witness.dual_ray, bounds, ray=True) > 0, "the ray's value is not positive")
    if document.status == "unbounded":
        _unbounded(sdp, entries, document)


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def _unbounded(sdp: SDP, entries: ExactEntries, document: SDPDocument) -> None:
    ray = document.witness.primal_ray
    assert ray is not None
    if sdp.H is not None and sdp.H.nnz:
        _need(not sdp.b.size, "with equalities and a quadratic objective there is no rule")
        _need(not any(exact_gradient(np.zeros_like(ray.y), sdp.H, ray.y)), "H r = 0 does not hold exactly")
    _need(_primal(sdp, entries, ray, ray=True) < 0, "c'r is not negative")
    if document.witness.primal is not None:
        _primal(sdp, entries, document.witness.primal, ray=False)
        return
    _need(not sdp.b.size, "a feasible y is missing")
    _primal(sdp, entries, ray, ray=True, interior=True)


def _equalities(sdp: SDP, side: PrimalSide, right: np.ndarray) -> list[Fraction]:
    """Radii of y: a solution of A y = right is within them."""
    A = sp.csr_array(sdp.A)
    fault = dependent_fault(A, right.tolist(), side.drop)
    _need(not fault, f"equalities: {fault}")
    keep = [j for j in range(right.size) if j not in side.drop]
    y = [Fraction(v) for v in side.y.tolist()]
    columns: list[dict[int, Fraction]] = [{} for _ in y]
    defect = []
    for new, j in enumerate(keep):
        total, part = Fraction(float(right[j])), slice(A.indptr[j], A.indptr[j + 1])
        for i, v in zip(A.indices[part].tolist(), A.data[part].tolist(), strict=True):
            columns[i][new] = Fraction(v)
            total -= Fraction(v) * y[i]
        defect.append(total)
    return enclose_solution(columns, [Fraction(1)] * len(y), len(keep), defect)


def _primal(
    sdp: SDP, entries: ExactEntries, side: PrimalSide, *, ray: bool, interior: bool = False
) -> Fraction:
    """The objective of a feasible point, or of a direction, near y; raises Refused."""
    radius = _equalities(sdp, side, np.zeros_like(sdp.b) if ray else sdp.b)
    y = [Fraction(v) for v in side.y.tolist()]
    mid, rad = [], []
    for column in entries.columns:
        value = _ZERO if ray else column.get(-1, _ZERO)
        error = _ZERO
        for i, v in column.items():
            if i >= 0:
                value += v * y[i]
                if radius[i]:
                    error += abs(v) * radius[i]
        mid.append(value)
        rad.append(error)
    if interior:
        _interior(entries, mid)
    else:
        _in_cone(entries, mid, rad)
    return exact_objective(sdp.c, None if ray else sdp.H, side.y, radius)


def _interior(entries: ExactEntries, mid: list[Fraction]) -> None:
    """Every block stays PSD less a thousandth of a millionth of its diagonal: a point of the interior."""
    shape = entries.layout
    shrunk = list(mid)
    for n, part in zip(shape.psd, shape.psd_slices(), strict=True):
        rows, cols = svec_pairs(n, SvecOrder.UPPER)
        for j in np.flatnonzero(rows == cols).tolist():
            value = mid[part.start + j]
            _need(value > 0, "the ray is not interior, and no feasible y is given")
            shrunk[part.start + j] = value - value / (1 << 44)
    for j in range(shape.linear_slice.start, shape.linear_slice.stop):
        _need(mid[j] > 0, "the ray is not interior, and no feasible y is given")
    for part in shape.soc_slices():
        if part.stop > part.start:
            first = mid[part.start]
            shrunk[part.start] = first - first / (1 << 44)
            _need(first > 0, "the ray is not interior, and no feasible y is given")
    _in_cone(entries, shrunk, [_ZERO] * len(mid))


def _in_cone(entries: ExactEntries, mid: list[Fraction], rad: list[Fraction]) -> None:
    shape = entries.layout
    for j in range(shape.linear_slice.start, shape.linear_slice.stop):
        _need(mid[j] >= rad[j], f"row {j - shape.linear_slice.start + 1} of the inequalities is negative")
    for k, part in enumerate(shape.soc_slices()):
        if part.stop > part.start:
            first = mid[part.start] - rad[part.start]
            rest = sum(((abs(a) + r) ** 2 for a, r in zip(mid[part][1:], rad[part][1:], strict=True)), _ZERO)
            _need(first >= 0 and first**2 >= rest, f"second-order cone {k + 1} is not satisfied")
    for k, (n, part) in enumerate(zip(shape.psd, shape.psd_slices(), strict=True)):
        whole, power = common_power(mid[part])
        rows, cols = svec_pairs(n, SvecOrder.UPPER)
        values = np.zeros((n, n), dtype=object)
        values[rows, cols] = values[cols, rows] = np.array(whole, dtype=object)
        sums = [_ZERO] * n
        for i, j, r in zip(rows.tolist(), cols.tolist(), rad[part], strict=True):
            if r:
                sums[i] += r
                if i != j:
                    sums[j] += r
        _need(psd_exactly(values, power, sums), f"block {k + 1} is not proven positive semidefinite")


def _convex(sdp: SDP) -> None:
    if sdp.H is None:
        return
    dense = sdp.H.toarray()
    whole, power = common_power([Fraction(v) for v in dense.ravel().tolist()])
    values = np.array(whole, dtype=object).reshape(dense.shape)
    _need(psd_exactly(values, power, [_ZERO] * dense.shape[0]), "H is not proven positive semidefinite")


def _dual(
    sdp: SDP, entries: ExactEntries, side: DualSide, bounds: list[Fraction] | None, *, ray: bool
) -> Fraction:
    """The exact lower bound of exact multipliers near those of the file; raises Refused."""
    if not all(face is None for face in side.faces):
        entries = exact_entries(sdp, side.faces)
    shape, m = entries.layout, sdp.variables
    H = None if ray or sdp.H is None else sp.csr_array(sdp.H)
    if H is not None:
        _convex(sdp)
    u = np.zeros(m) if H is None or side.u is None else side.u
    right = exact_gradient(np.zeros(m) if ray else sdp.c, H, u)
    packed = shape.pack(side.X, [side.z, *side.s, side.v])
    x = [Fraction(v) for v in packed.tolist()]
    weight = [int(w) for w in shape.weights().tolist()]
    defect = list(right)
    for column, value, w in zip(entries.columns, x, weight, strict=True):
        if value:
            for i, v in column.items():
                if i >= 0:
                    defect[i] -= w * v * value
    paid = _ZERO
    if side.metric == "paid":
        _need(bounds is not None, "the defect is to be paid, but no bounds on y are given")
        assert bounds is not None
        paid = sum((abs(d) * b for d, b in zip(defect, bounds, strict=True)), _ZERO)
        rad = [_ZERO] * len(x)
    else:
        rad = _onto_stationarity(entries, side, packed, right, defect)
    _in_cone(entries, x, rad)
    value = -paid
    for column, point, error, w in zip(entries.columns, x, rad, weight, strict=True):
        f = column.get(-1)
        if f:
            value -= w * (f * point + abs(f) * error)
    if H is not None:
        value -= exact_objective(np.zeros(m), H, u, [_ZERO] * m)
    return value


def _onto_stationarity(
    entries: ExactEntries, side: DualSide, x: np.ndarray, right: list[Fraction], defect: list[Fraction]
) -> list[Fraction]:
    """Radii of x: exact multipliers are within them."""
    drop: Drop = side.drop
    if not any(defect):
        return [_ZERO] * len(entries.columns)
    _require_dependent(entries, right, drop)
    kept = [i for i in range(len(right)) if i not in drop]
    new = {i: k for k, i in enumerate(kept)}
    g = metric(entries.layout, x, side.metric).tolist()
    weight = [Fraction(w) for w in entries.layout.weights().tolist()]
    # x moves by metric * T'w; the equation weighs it, so T is weighted once where it is read
    columns = [{new[i]: v for i, v in column.items() if i in new} for column in entries.columns]
    size = [Fraction(a) * w for a, w in zip(g, weight, strict=True)]
    rad = enclose_solution(columns, size, len(kept), [defect[i] for i in kept])
    return [r / w for r, w in zip(rad, weight, strict=True)]


def _require_dependent(entries: ExactEntries, right: list[Fraction], drop: Drop) -> None:
    for i, combination in drop.items():
        _need(not any(j in drop for j in combination), f"equation {i + 1} is dropped for a dropped one")
        total = sum((f * right[j] for j, f in combination.items()), _ZERO)
        _need(right[i] == total, f"equation {i + 1} contradicts its combination")
    if drop:
        for column in entries.columns:
            for i, combination in drop.items():
                own = column.get(i, _ZERO)
                total = sum((f * column.get(j, _ZERO) for j, f in combination.items()), _ZERO)
                _need(own == total, f"equation {i + 1} is not its combination")
