"""`SDP` as the cone program that Clarabel and SCS share, and its multipliers back.

    minimise 1/2 y'P y + q'y  subject to  A y + s = b,  s in zero x nonneg x second-order x PSD cones

With rows A = -svec(F_i), b = svec(F0) for an LMI, A = -C, b = d for a second-order cone, and
(G, h), (A, b) as they are, the multiplier z of A y + s = b is `Dual` piece by piece, with the
signs of lmikit's Lagrangian. Blocks of size 0 give no rows; diagonal LMIs and second-order cones of
dimension 1 are nonnegative rows. Exponential and power cones of a `ConicProgram` come last.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ..lmi import LMI, SDP, ConicProgram, Dual
from ..lmi._svec import SvecOrder, smat, svec, svec_size, to_svec

__all__ = ["ConicForm"]


@dataclasses.dataclass(frozen=True, eq=False)
class ConicForm:
    """Data (P upper triangular) and cone sizes, in the row order zero, nonneg, socs, psds."""

    sdp: SDP
    order: SvecOrder
    diagonal: tuple[bool, ...]  # which LMIs are rows of the orthant
    P: sp.csc_array | None
    q: np.ndarray
    A: sp.csc_array
    b: np.ndarray
    zero: int
    nonneg: int
    socs: tuple[int, ...]
    psds: tuple[int, ...]
    exponentials: int
    powers: tuple[float, ...]

    @classmethod
    def of(cls, program: SDP | ConicProgram, order: SvecOrder) -> "ConicForm":
        """Compile; time linear in the nonzeros of the blocks' svec forms."""
        program = ConicProgram(program) if isinstance(program, SDP) else program
        sdp = program.sdp
        m = sdp.variables
        diagonal = tuple(_is_diagonal(lmi) for lmi in sdp.lmis)
        lists = [lmi for lmi, flat in zip(sdp.lmis, diagonal, strict=True) if flat and lmi.size]
        big = [lmi for lmi, flat in zip(sdp.lmis, diagonal, strict=True) if not flat]
        lines = [soc for soc in sdp.socs if soc.d.size == 1]
        cones = [soc for soc in sdp.socs if soc.d.size > 1]
        rows, rhs = [sdp.A, sdp.G], [sdp.b, sdp.h]
        for lmi in lists:
            rows.append(-_diagonal_rows(lmi))
            rhs.append(lmi.F0.diagonal())
        for soc in (*lines, *cones):
            rows.append(-soc.C)
            rhs.append(soc.d)
        nonneg = sdp.h.size + sum(lmi.size for lmi in lists) + len(lines)
        for lmi in big:
            F0, F = to_svec(lmi, order)
            rows.append(-F)
            rhs.append(F0)
        for cone in program.cones:
            rows.append(-cone.C)
            rhs.append(cone.d)
        if nonneg + len(rows) == 2:  # 0'y <= 1: without a cone that has an interior the
            rows.append(sp.csc_array((1, m)))  # solvers refuse the data or never stop
            rhs.append(np.ones(1))
            nonneg = 1
        A = sp.csc_array(sp.vstack(rows, format="csc"))
        A.eliminate_zeros()  # an explicit zero would hide sparsity from chordal decomposition
        return cls(
            sdp=sdp,
            order=order,
            diagonal=diagonal,
            P=None if sdp.H is None else sp.csc_array(sp.triu(sdp.H, format="csc")),
            q=np.array(sdp.c),
            A=A,
            b=np.concatenate(rhs),
            zero=sdp.b.size,
            nonneg=nonneg,
            socs=tuple(soc.d.size for soc in cones),
            psds=tuple(lmi.size for lmi in big),
            exponentials=len(program.exponentials),
            powers=tuple(cone.exponent for cone in program.powers),
        )

    def dual(self, z: np.ndarray, *, X_complete: bool = True) -> Dual:
        """The multipliers of A y + s = b, shape (rows,), sorted into those of the SDP."""
        sdp = self.sdp
        at_nonneg, at_soc = self.zero, self.zero + self.nonneg
        at_psd = at_soc + sum(self.socs)
        equality, inequality = z[:at_nonneg], z[at_nonneg : at_nonneg + sdp.h.size]
        at_list = at_nonneg + sdp.h.size
        X, s = [], []
        for lmi, flat in zip(sdp.lmis, self.diagonal, strict=True):
            if flat:
                X.append(np.diag(z[at_list : at_list + lmi.size]))
                at_list += lmi.size
            else:
                X.append(smat(z[at_psd : at_psd + svec_size(lmi.size)], self.order))
                at_psd += svec_size(lmi.size)
        at_line = at_list
        for soc in sdp.socs:
            k = soc.d.size
            start = at_line if k <= 1 else at_soc
            s.append(np.array(z[start : start + k]))
            if k <= 1:
                at_line += k
            else:
                at_soc += k
        ends = at_psd + 3 * self.exponentials
        e, p = (tuple(np.array(part).reshape(-1, 3)) for part in (z[at_psd:ends], z[ends:]))
        return Dual(tuple(X), np.array(inequality), np.array(equality), tuple(s), X_complete, e, p)

    def multipliers(self, dual: Dual) -> np.ndarray:
        """The inverse of `dual`: the multipliers of A y + s = b."""
        lists = [X.diagonal() for X, flat in zip(dual.X, self.diagonal, strict=True) if flat]
        lines = [s for s in dual.s if s.size == 1]
        cones = [s for s in dual.s if s.size > 1]
        big = [svec(X, self.order) for X, flat in zip(dual.X, self.diagonal, strict=True) if not flat]
        parts = [dual.v, dual.z, *lists, *lines, *cones, *big, *dual.e, *dual.p]
        z = np.concatenate(parts)
        return z if z.size == self.b.size else np.append(z, 0.0)  # the row 0'y <= 1 of `of`


def _is_diagonal(lmi: LMI) -> bool:
    """Whether F(y) is diagonal by its pattern."""
    if lmi.size <= 1:
        return True
    F0 = lmi.F0
    constant = F0.nnz <= lmi.size and np.array_equal(
        F0.indices, np.repeat(np.arange(lmi.size), np.diff(F0.indptr))
    )
    return bool(constant and lmi.has_entries and np.array_equal(lmi.P.indices, lmi.Q.indices))


def _diagonal_rows(lmi: LMI) -> sp.csc_array:
    """F, shape (n, m), with diag(F(y)) = diag(F0) + F y, for a diagonal LMI."""
    if not lmi.has_entries:
        return to_svec(lmi, SvecOrder.TRIPLETS)[1]  # of order 1
    E, weight = lmi.E, lmi.P.data * lmi.Q.data
    rows = lmi.P.indices[E.indices]
    F = sp.csc_array((E.data * weight[E.indices], rows, E.indptr.copy()), shape=(lmi.size, E.shape[1]))
    F.sum_duplicates()
    return F
