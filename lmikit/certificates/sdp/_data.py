"""The data of an SDP as one linear cone problem, with a radius for every rounding, and exactly.

    minimise c'y + 1/2 y'Hy   subject to   s = f + T'y,   s in K,

K: PSD blocks (upper triangles by columns), s >= 0 (h - G y), second-order cones (C y + d), s = 0
(b - A y). Multipliers x live in the same space; <x, s> = sum_j weight_j x_j s_j, where weight is 2
off the diagonal of a block, else 1. An entry of a block is a sum of products of floats; it is exact
in binary64 where the integers behind the factors are short enough, which is decided here, and has
a radius elsewhere. With a face V (D, r) of integers, block F becomes V'F V of order r.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ...lmi import LMI, SDP
from ...lmi._svec import SvecOrder, svec_index, svec_pairs, svec_size
from ...lmi._triplets import Columns

__all__ = ["Cone", "ConeLayout", "ExactEntries", "exact_entries", "layout"]

_U = 2.0**-53
_LARGEST = 2.0**200  # factors outside [2^-200, 2^200] could underflow in products
_ORDER = SvecOrder.UPPER

Faces = Sequence[np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class ConeLayout:
    """Where each part of a point of K stands: PSD blocks, then rows >= 0, cones, rows = 0."""

    psd: tuple[int, ...]
    linear: int
    soc: tuple[int, ...]
    zero: int

    @property
    def sizes(self) -> list[int]:
        return [*(svec_size(n) for n in self.psd), self.linear, *self.soc, self.zero]

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @property
    def slices(self) -> list[slice]:
        ends = np.cumsum(self.sizes).tolist()
        return [slice(e - n, e) for e, n in zip(ends, self.sizes, strict=True)]

    def psd_slices(self) -> list[slice]:
        return self.slices[: len(self.psd)]

    @property
    def linear_slice(self) -> slice:
        return self.slices[len(self.psd)]

    def soc_slices(self) -> list[slice]:
        return self.slices[len(self.psd) + 1 : -1]

    @property
    def zero_slice(self) -> slice:
        return self.slices[-1]

    def weights(self) -> np.ndarray:
        parts = []
        for n in self.psd:
            rows, cols = svec_pairs(n, _ORDER)
            parts.append(np.where(rows == cols, 1.0, 2.0))
        return np.concatenate([*parts, np.ones(self.linear + sum(self.soc) + self.zero)])

    def matrix(self, x: np.ndarray, k: int) -> np.ndarray:
        """Block k of a point, in full."""
        n = self.psd[k]
        rows, cols = svec_pairs(n, _ORDER)
        full = np.zeros((n, n))
        full[rows, cols] = full[cols, rows] = x[self.slices[k]]
        return full

    def pack(self, blocks: Sequence[np.ndarray], rest: Sequence[np.ndarray]) -> np.ndarray:
        """A point from full blocks and the vectors (rows >= 0, cones, rows = 0)."""
        parts = [b[svec_pairs(b.shape[0], _ORDER)] for b in blocks]
        return np.concatenate([*parts, *rest]) if parts or rest else np.zeros(0)


def layout(sdp: SDP, faces: Faces | None = None) -> ConeLayout:
    """The layout of an SDP, its blocks on their faces."""
    faces = [None] * len(sdp.lmis) if faces is None else faces
    orders = tuple(lmi.size if v is None else v.shape[1] for lmi, v in zip(sdp.lmis, faces, strict=True))
    return ConeLayout(orders, sdp.h.size, tuple(soc.d.size for soc in sdp.socs), sdp.b.size)


def _bits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(e, n): nonzero x is an odd integer of n bits times 2**e."""
    mantissa, exponent = np.frexp(x)
    integer = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    shift = np.frexp((integer & -integer).astype(np.float64))[1] - 1
    return exponent.astype(np.int64) - 53 + shift, 53 - shift.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class _Records:
    """Summands of a matrix function of y: the product of `factors` at (row, col) for variable var."""

    row: np.ndarray
    col: np.ndarray
    var: np.ndarray  # -1 is the constant
    factors: tuple[np.ndarray, ...]

    def expand(self, source: np.ndarray, factor: np.ndarray, **changes: np.ndarray) -> "_Records":
        keep = {name: getattr(self, name)[source] for name in ("row", "col", "var")}
        return _Records(**{**keep, **changes}, factors=(*(f[source] for f in self.factors), factor))


def _records(lmi: LMI, face: np.ndarray | None) -> list[_Records]:
    """M with F(y) = (M + M')/2, on the face."""
    P, F0 = lmi.P.tocoo(), lmi.F0.tocoo()
    half = _Records(P.row, P.row, P.col, (P.data,))  # var holds the term for now
    source, row, value = Columns.of(lmi.Q).expand(P.col)
    half = half.expand(source, value, col=row)
    source, var, value = Columns.of(sp.csc_array(lmi.E.T)).expand(half.var)
    terms = half.expand(source, value, var=var)
    constant = _Records(F0.row, F0.col, np.full(F0.nnz, -1, dtype=P.row.dtype), (F0.data,))
    if face is None:
        return [terms, constant]
    rows = Columns.of(sp.csc_array(face.T.astype(np.float64)))
    result = []
    for records in (terms, constant):
        source, new, value = rows.expand(records.row)
        records = records.expand(source, value, row=new)
        source, new, value = rows.expand(records.col)
        result.append(records.expand(source, value, col=new))
    return result


@dataclasses.dataclass(frozen=True)
class _Grouped:
    """The summands of one block, sorted by (column of T, variable); starts of the runs."""

    col: np.ndarray  # position in the svec, per run
    var: np.ndarray
    val: np.ndarray
    rad: np.ndarray
    exact: list[Fraction] | None


def _group(lmi: LMI, face: np.ndarray | None, order: int, m: int, exactly: bool) -> _Grouped:
    low_bit, bits, values, keys, factors = [], [], [], [], []
    for records in _records(lmi, face):
        half = np.where(records.row == records.col, 1.0, 0.5)
        all_factors = (*records.factors, half)
        value = np.ones(half.size)
        for f in all_factors:
            value = value * f
        pairs = [_bits(f) for f in all_factors]
        low_bit.append(sum(p[0] for p in pairs))
        # a product of odd integers of n and k bits has at most n + k, and n where the other is 1
        bits.append(sum(np.where(p[1] == 1, 0, p[1]) for p in pairs))
        values.append(value)
        position = svec_index(records.row, records.col, order, _ORDER)
        keys.append(position * (m + 1) + records.var + 1)
        factors.append(all_factors)
    low, size, value, key = (np.concatenate(a) for a in (low_bit, bits, values, keys))
    sort = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[sort]) != 0]) if key.size else np.zeros(0, np.int64)
    col, var = np.divmod(key[sort][starts], m + 1)
    if not key.size:
        empty = np.zeros(0)
        return _Grouped(col, var - 1, empty, empty, [] if exactly else None)
    total = np.add.reduceat(value[sort], starts)
    mass = np.add.reduceat(np.abs(value[sort]), starts)
    count = np.diff(np.r_[starts, key.size])
    fits = np.logical_and.reduceat((size <= 53)[sort], starts)
    fits &= mass * (1 + 1e-6) <= np.ldexp(1.0, np.minimum(53 + np.minimum.reduceat(low[sort], starts), 1000))
    rad = np.where(fits, 0.0, (count + 8.0) * _U * (1 + 1e-6) * mass)
    exact = _exact_sums(total, fits, starts, count, sort, factors) if exactly else None
    return _Grouped(col, var - 1, total, rad, exact)


def _exact_sums(
    total: np.ndarray,
    fits: np.ndarray,
    starts: np.ndarray,
    count: np.ndarray,
    sort: np.ndarray,
    factors: list[tuple[np.ndarray, ...]],
) -> list[Fraction]:
    sums = [Fraction(v) for v in total.tolist()]
    first = factors[0][0].size
    for k in np.flatnonzero(~fits):
        sums[k] = Fraction(0)
        for r in sort[starts[k] : starts[k] + count[k]].tolist():
            product = Fraction(1)
            for f in factors[0] if r < first else factors[1]:
                product *= Fraction(float(f[r if r < first else r - first]))
            sums[k] += product
    return sums


def _rows(sdp: SDP) -> tuple[sp.csc_array, np.ndarray]:
    """T (m, ...) and f of the parts that are no blocks, exact as they are."""
    parts = [-sdp.G.T, *(soc.C.T for soc in sdp.socs), -sdp.A.T]
    f = np.concatenate([sdp.h, *(soc.d for soc in sdp.socs), sdp.b])
    return sp.csc_array(sp.hstack([sp.csc_array(p) for p in parts], format="csc")), f


def _require_range(sdp: SDP) -> None:
    arrays = [sdp.c, sdp.h, sdp.b, sdp.G.data, sdp.A.data]
    arrays += [a.data for lmi in sdp.lmis for a in (lmi.F0, lmi.P, lmi.Q, lmi.E)]
    arrays += [a for soc in sdp.socs for a in (soc.C.data, soc.d)]
    arrays += [] if sdp.H is None else [sdp.H.data]
    for a in arrays:
        size = np.abs(a[a != 0])
        if size.size and not (size.min() >= 1 / _LARGEST and size.max() <= _LARGEST):
            raise InputError(
                f"the data of the SDP range from {size.min():.3g} to {size.max():.3g}; proofs take nonzero "
                "numbers from 2^-200 to 2^200. Rescale the problem."
            )


@dataclasses.dataclass(frozen=True)
class Cone:
    """The data as floats with radii: |exact T - T| <= T_rad (None: exact), |exact f - f| <= f_rad."""

    layout: ConeLayout
    c: np.ndarray
    H: sp.csr_array | None
    T: sp.csr_array
    T_rad: sp.csr_array | None
    f: np.ndarray
    f_rad: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, sdp: SDP, faces: Faces | None = None) -> "Cone":
        """Raises InputError where entries are outside [2^-200, 2^200]."""
        _require_range(sdp)
        m, shape = sdp.variables, layout(sdp, faces)
        used = [None] * len(sdp.lmis) if faces is None else faces
        f, f_rad = np.zeros(shape.total), np.zeros(shape.total)
        var: list[np.ndarray] = []
        col: list[np.ndarray] = []
        val: list[np.ndarray] = []
        rad: list[np.ndarray] = []
        for lmi, face, order, part in zip(sdp.lmis, used, shape.psd, shape.psd_slices(), strict=True):
            g = _group(lmi, face, order, m, exactly=False)
            fixed = g.var < 0
            f[part.start + g.col[fixed]], f_rad[part.start + g.col[fixed]] = g.val[fixed], g.rad[fixed]
            live = ~fixed & ((g.val != 0) | (g.rad != 0))
            for store, values in ((var, g.var), (col, part.start + g.col), (val, g.val), (rad, g.rad)):
                store.append(values[live])
        T_rest, f_rest = _rows(sdp)
        start = shape.linear_slice.start
        coo = T_rest.tocoo()
        f[start:] = f_rest
        for store, values in ((var, coo.row), (col, start + coo.col), (val, coo.data)):
            store.append(values)
        rad.append(np.zeros(coo.nnz))
        index = (np.concatenate(var), np.concatenate(col))
        radii = np.concatenate(rad)
        T = sp.csr_array((np.concatenate(val), index), shape=(m, shape.total))
        T_rad = sp.csr_array((radii, index), shape=(m, shape.total)) if radii.any() else None
        H = None if sdp.H is None else sp.csr_array(sdp.H)
        return cls(shape, sdp.c, H, T, T_rad, f, f_rad, shape.weights())

    def homogeneous(self) -> "Cone":
        """With f = 0: the cone of directions."""
        zero = np.zeros_like(self.f)
        return dataclasses.replace(self, f=zero, f_rad=zero)

    def linear(self) -> "Cone":
        """Without the quadratic part of the objective."""
        return dataclasses.replace(self, H=None)

    def without_objective(self) -> "Cone":
        """With c = 0 and no H: the cone of dual rays."""
        return dataclasses.replace(self, c=np.zeros_like(self.c), H=None)


@dataclasses.dataclass(frozen=True)
class ExactEntries:
    """The same data in rationals: {column: {variable: value}}, variable -1 the constant."""

    layout: ConeLayout
    columns: list[dict[int, Fraction]]


def exact_entries(sdp: SDP, faces: Faces | None = None) -> ExactEntries:
    """Every entry as a rational number, no rounding anywhere."""
    _require_range(sdp)
    shape, m = layout(sdp, faces), sdp.variables
    used = [None] * len(sdp.lmis) if faces is None else faces
    columns: list[dict[int, Fraction]] = [{} for _ in range(shape.total)]
    for lmi, face, order, part in zip(sdp.lmis, used, shape.psd, shape.psd_slices(), strict=True):
        g = _group(lmi, face, order, m, exactly=True)
        assert g.exact is not None
        for col, var, value in zip(g.col.tolist(), g.var.tolist(), g.exact, strict=True):
            if value:
                columns[part.start + col][var] = value
    T, f = _rows(sdp)
    start, coo = shape.linear_slice.start, T.tocoo()
    for j in np.flatnonzero(f).tolist():
        columns[start + j][-1] = Fraction(float(f[j]))
    for i, j, v in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True):
        if v:
            columns[start + j][i] = Fraction(v)
    return ExactEntries(shape, columns)
