"""Scaling of rows and variables by powers of two: exact, and it leaves the objective alone.

With y = s y' and the rows of each LMI scaled by d, F'(y') = diag(d) F(s y') diag(d), the optimum
is the same and X = diag(d) X' diag(d). The start decides: F' gets a diagonal near 1 there and y'
entries near 1, so that weights of 1e+-100 neither overflow nor underflow in products.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ...lmi import LMI, SDP

__all__ = ["Scaling"]

_HUGE = 1e250  # beyond this the objective is unbounded rather than badly scaled


@dataclasses.dataclass(frozen=True)
class Scaling:
    """`y` (m,) and one array of row factors per LMI; all powers of two."""

    y: np.ndarray
    rows: tuple[np.ndarray, ...]

    @staticmethod
    def of(sdp: SDP, y: np.ndarray | None) -> "Scaling":
        """From the start y of `levelwise`; no scaling where there is none."""
        none = Scaling(np.ones(sdp.variables), tuple(np.ones(lmi.size) for lmi in sdp.lmis))
        if y is None or not (np.abs(y) > 0).all() or np.abs(y).max() > _HUGE or _moderate(y):
            return none
        diagonal = sdp.lmis[0].evaluate(y).diagonal()
        if not (diagonal > 0).all():
            return none
        return Scaling(_power(y), (_power(1.0 / np.sqrt(diagonal)),))

    def apply(self, sdp: SDP) -> SDP:
        """The scaled problem."""
        if (self.y == 1.0).all() and all((d == 1.0).all() for d in self.rows):
            return sdp
        lmis = tuple(self._scaled(lmi, d) for lmi, d in zip(sdp.lmis, self.rows, strict=True))
        return dataclasses.replace(
            sdp, c=sdp.c * self.y, lmis=lmis, G=sp.csc_array(sdp.G @ sp.diags_array(self.y))
        )

    def _scaled(self, lmi: LMI, d: np.ndarray) -> LMI:
        """Terms are rescaled too, so that neither P, Q nor E overflows."""
        D = sp.diags_array(d)
        P, Q, E = D @ lmi.P, D @ lmi.Q, lmi.E @ sp.diags_array(self.y)
        p, q = _power(_largest(P)), _power(_largest(Q))
        P, Q = P @ sp.diags_array(1.0 / p), Q @ sp.diags_array(1.0 / q)
        return dataclasses.replace(
            lmi, F0=sp.csc_array(D @ lmi.F0 @ D), P=P, Q=Q, E=sp.diags_array(p * q) @ E
        )


def _moderate(y: np.ndarray) -> bool:
    """Whether no scaling is called for; without it the arithmetic is that of the problem as given."""
    return bool(np.abs(y).max() < 1e8 * np.abs(y).min())


def _power(values: np.ndarray) -> np.ndarray:
    """The nearest powers of two (1 for 0)."""
    values = np.where(values == 0.0, 1.0, np.abs(values))
    return np.exp2(np.round(np.log2(values)))


def _largest(matrix: sp.csc_array) -> np.ndarray:
    """Largest absolute value per column."""
    return abs(sp.csc_array(matrix)).max(axis=0).toarray().ravel()
