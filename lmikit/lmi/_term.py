"""Rank-one terms of an affine matrix expression, kept as they were written."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ._triplets import Columns, Triplets

__all__ = ["Term"]


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """P diag(x) Q': P (rows, r), Q (columns, r), x an affine (r, 1) column."""

    P: Columns
    Q: Columns
    x: Triplets

    def expand(self) -> Triplets:
        """The same function as entry records."""
        return self.x.as_diagonal().left(self.P).right(self.Q)

    @property
    def is_complex(self) -> bool:
        """Whether coefficients may have imaginary parts."""
        return "c" in (self.P.data.dtype.kind, self.Q.data.dtype.kind, self.x.val.dtype.kind)

    def scaled(self, factor: complex) -> "Term":
        """factor times the term."""
        return dataclasses.replace(self, x=self.x.scale(factor))

    def select(self, rows: np.ndarray, cols: np.ndarray) -> "Term":
        """The rows and columns at these positions."""
        P, Q = (sp.csc_array(f.scipy().tocsr()[k]) for f, k in ((self.P, rows), (self.Q, cols)))
        return Term(Columns.of(P), Columns.of(Q), self.x)
