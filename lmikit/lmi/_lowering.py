"""From constraints as they were written to constraints by cones, with the variables that these need."""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._errors import InputError
from ._constraint import Constraint, Kind
from ._curved import Curved
from ._expression import Expression
from ._parameters import Owner
from ._structure import vstack
from ._triplets import Triplets

__all__ = ["Lowered"]


class Lowered:
    """New variables from `start` on, and cone constraints: what a curved constraint or objective becomes."""

    def __init__(self, owner: Owner, start: int) -> None:
        self.owner = owner
        self.size = start

    def _variables(self, shape: tuple[int, int], entries: np.ndarray, values: np.ndarray) -> Expression:
        row, col, index = entries
        records = Triplets(shape, row, col, self.size + index, values)
        self.size += int(index.max()) + 1
        return Expression(shape, self.owner, records)

    def matrix(self, rows: int, cols: int) -> Expression:
        """A full matrix of new variables."""
        index = np.arange(rows * cols)
        return self._variables((rows, cols), np.stack([*np.divmod(index, cols), index]), np.ones(index.size))

    def symmetric(self, n: int) -> Expression:
        """A symmetric matrix of new variables."""
        row, col = np.divmod(np.arange(n * n), n)
        high, low = np.maximum(row, col), np.minimum(row, col)
        return self._variables((n, n), np.stack([row, col, high * (high + 1) // 2 + low]), np.ones(n * n))

    def hermitian(self, n: int) -> Expression:
        """A Hermitian matrix of new variables."""
        real, below = self.symmetric(n), self.matrix(n, n)
        return real + 1j * (below - below.T) if n > 1 else real

    def constraint(self, given: Constraint, margin: float) -> list[Constraint]:
        """Constraints by cones; the first carries the multiplier. A margin of a cone is left to the
        compiler.
        """
        if given.function is None:
            return [given]
        return self.below_zero(given.function, margin)

    def below_zero(self, f: Curved, margin: float) -> list[Constraint]:
        """f + margin <= 0 for a convex f."""
        bound = -f.linear - margin * np.ones((1, 1))
        if f.is_affine:
            return [bound >= 0]
        if len(f.atoms) == 1 and not f.squares:
            return f.atoms[0][1].below(f.atoms[0][0], bound, self)
        if not f.atoms:
            return [self._squares(f, bound)]
        linear, rest = self.objective(f, margin)
        if not linear.squares:
            return [linear.linear + margin * np.ones((1, 1)) <= 0, *rest]
        top = self.matrix(1, 1)
        squares = dataclasses.replace(linear, linear=linear.linear * 0.0)
        return [linear.linear + top + margin * np.ones((1, 1)) <= 0, self._squares(squares, top), *rest]

    def objective(self, f: Curved, margin: float = 0.0) -> tuple[Curved, list[Constraint]]:
        """A linear and quadratic function to be minimised instead of a convex f, and constraints for it."""
        linear, constraints = f.linear, list[Constraint]()
        for weight, atom in f.atoms:
            top = self.matrix(1, 1)
            constraints += atom.below(weight, top, self)
            linear = linear + top
        return Curved(linear, f.squares), constraints

    def _squares(self, f: Curved, bound: Expression) -> Constraint:
        """sum e'W e <= bound: |(2 R e, bound - 1)| <= bound + 1."""
        one = np.ones((1, 1))
        roots = [2.0 * (_certain_root(sp.csc_array(W)) @ e) for e, W in f.squares]
        return Constraint(Kind.SECOND_ORDER, vstack([bound + one, *roots, bound - one]))


def _certain_root(W: sp.csc_array) -> sp.csc_array:
    """R with R'R = W to rounding and the rank of W: a constraint must not lose a direction, however small.

    Raises InputError where rounding leaves the rank of W open: then the sum of squares has to be written.
    """
    diagonal = W.diagonal()
    if (W - sp.diags_array(diagonal)).count_nonzero() == 0:
        if diagonal.min(initial=0.0) < 0.0:
            raise InputError(f"quad_form: W has the eigenvalue {diagonal.min():.3g}; expected W PSD.")
        keep = np.flatnonzero(diagonal)
        shape = (keep.size, diagonal.size)
        return sp.csc_array((np.sqrt(diagonal[keep]), (np.arange(keep.size), keep)), shape=shape)
    used = np.flatnonzero(abs(W).sum(axis=1))
    values = scipy.linalg.eigvalsh(W[used][:, used].toarray())
    if values[0] <= 1e-10 * values[-1]:
        raise InputError(
            f"quad_form in a constraint: W has eigenvalues from {values[0]:.3g} to {values[-1]:.3g}, so that "
            "rounding leaves its rank open; write sum_squares(L @ x) with W = L'L."
        )
    root = scipy.linalg.cholesky(W[used][:, used].toarray(), lower=False)
    columns = sp.csc_array((np.ones(used.size), (np.arange(used.size), used)), shape=(used.size, W.shape[0]))
    return sp.csc_array(sp.csc_array(root) @ columns)
