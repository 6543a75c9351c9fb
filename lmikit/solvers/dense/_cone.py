"""What the interior point asks of a cone with its Nesterov-Todd scaling.

A scaling W of (S, Z) has  W^-T S = W Z = l; the laws below hold for each kind:

    scaled_slack(S) = W^-T S,  multiplier(x) = W^-1 x,  scaled_adjoint(x) = F*(W^-1 x),

and the Schur complement is M_ij = <F_i, (W'W)^-1 F_j>. Sources: L. Vandenberghe, "The CVXOPT linear
and quadratic cone program solvers", 2010, sections 4 and 5 (scalings, products, steps).
"""

import abc
from typing import Any

import numpy as np

__all__ = ["AbstractCone"]


class AbstractCone(abc.ABC):
    """One cone K with F(y) + F0 in K; `scale` makes W for a pair of interior points."""

    degree: float
    norms: np.ndarray  # ||F_i|| for each i (m,)
    F0: Any

    @abc.abstractmethod
    def linear(self, y: np.ndarray) -> Any:
        """F(y)."""

    @abc.abstractmethod
    def adjoint(self, Z: Any) -> np.ndarray:
        """F*(Z), shape (m,)."""

    def relative(self, residual: Any, y: np.ndarray) -> float:
        """The size of a residual of F(y) + F0 relative to that of its terms."""
        scale = float(np.linalg.norm(self.F0)) + float(np.abs(y) @ self.norms)
        scale += 0.0 if np.any(self.F0) else float(np.abs(y).max() * self.norms.max())
        return float(np.linalg.norm(residual)) / (scale or 1.0)

    @abc.abstractmethod
    def identity(self) -> Any:
        """e."""

    @abc.abstractmethod
    def least(self, x: Any) -> float:
        """The smallest eigenvalue."""

    @abc.abstractmethod
    def rescale(self, S: Any, Z: Any) -> bool:
        """Take the scaling of (S, Z); False where either is not in the interior."""

    @abc.abstractmethod
    def add_schur(self, M: np.ndarray) -> None:
        """M += F*(W'W)^-1 F."""

    @abc.abstractmethod
    def scaled_slack(self, S: Any) -> Any:
        """W^-T S."""

    @abc.abstractmethod
    def multiplier(self, x: Any) -> Any:
        """W^-1 x."""

    def scaled_adjoint(self, x: Any) -> np.ndarray:
        """F*(W^-1 x), shape (m,)."""
        return self.adjoint(self.multiplier(x))

    @abc.abstractmethod
    def square(self) -> Any:
        """l o l."""

    @abc.abstractmethod
    def product(self, a: Any, b: Any) -> Any:
        """a o b."""

    @abc.abstractmethod
    def divide(self, d: Any) -> Any:
        """x with l o x = d."""

    @abc.abstractmethod
    def longest(self, a: Any, b: Any) -> float:
        """sup of t with l + t a and l + t b in K."""
