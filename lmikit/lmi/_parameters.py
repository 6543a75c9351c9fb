"""Parameters: numbers that may change between solves, and their products with variables.

A record of `Triplets` names a variable i >= 0, the constant 1 as -1, or the monomial j as -2 - j: a parameter
p_k, or a product p_k y_i. Expressions stay linear in monomials, hence affine in the parameters.
"""

from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from .._errors import InputError
from ._triplets import CONSTANT

__all__ = ["Owner", "Parameters"]


class Owner(Protocol):
    """What an expression needs of the problem that its variables belong to."""

    parameters: "Parameters"

    def value_of(self, expression: Any) -> Any:
        """The value at the last solution."""


class Parameters:
    """The parameters of one problem, by name, and the table of monomials."""

    def __init__(self) -> None:
        self._values = np.zeros(0)
        self._places: dict[str, tuple[slice, tuple[int, int], np.ndarray]] = {}
        self._keys: list[tuple[int, int]] = []  # (parameter entry, variable or CONSTANT) of each monomial
        self._index: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in the order in which they were made."""
        return tuple(self._places)

    def add(self, name: str, row: np.ndarray, col: np.ndarray, index: np.ndarray) -> np.ndarray:
        """A new parameter whose entry (row, col) is number `index`; the codes of its entries, NaN at
        first.
        """
        start, count = self._values.size, int(index.max()) + 1
        self._values = np.concatenate([self._values, np.full(count, np.nan)])
        position = np.zeros((int(row.max()) + 1, int(col.max()) + 1), dtype=np.int64)
        position[row, col] = index
        self._places[name] = (slice(start, start + count), position.shape, position)
        return self._codes(start + index, np.full(index.size, CONSTANT))

    def set(self, name: str, value: Any) -> None:
        """Give a parameter its value; raises InputError where the shape or symmetry is not its own."""
        if name not in self._places:
            known = ", ".join(self._places) or "none"
            raise InputError(f"no parameter is named {name!r}; there are: {known}.")
        where, shape, position = self._places[name]
        given = value.toarray() if sp.issparse(value) else value
        dense = floats(f"the parameter {name!r}", given)
        if dense.ndim < 2:
            dense = dense.reshape(-1, 1)
        if dense.shape != shape:
            raise InputError(f"the parameter {name!r} has shape {dense.shape}; expected {shape}.")
        entries = np.zeros(where.stop - where.start)
        entries[position.ravel()] = dense.ravel()
        if (entries[position] != dense).any():
            raise InputError(f"the parameter {name!r} is not symmetric; pass (S + S')/2.")
        self._values[where] = entries

    def get(self, name: str) -> np.ndarray:
        """The value of a parameter, as a matrix."""
        where, _, position = self._places[name]
        return np.asarray(self._values[where][position])

    def _codes(self, k: np.ndarray, i: np.ndarray) -> np.ndarray:
        codes = np.empty(k.size, dtype=np.int64)
        for at, key in enumerate(zip(k.tolist(), i.tolist(), strict=True)):
            number = self._index.get(key)
            if number is None:
                number = self._index[key] = len(self._keys)
                self._keys.append(key)
            codes[at] = -2 - number
        return codes

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        table = np.array(self._keys, dtype=np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def alone(self, codes: np.ndarray) -> bool:
        """Whether these name no variable: constants and bare parameters only."""
        if (codes > CONSTANT).any():
            return False
        return bool((self._table()[1][-2 - codes[codes < CONSTANT]] == CONSTANT).all())

    def variables_in(self, codes: np.ndarray) -> np.ndarray:
        """The variables that these name, in monomials too; CONSTANT where there is none."""
        if not self._keys:
            return codes
        return np.where(codes < CONSTANT, self._table()[1][np.where(codes < CONSTANT, -2 - codes, 0)], codes)

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Codes of the products, pairwise; raises InputError where both sides have a parameter or
        variable.
        """
        result = np.where(left == CONSTANT, right, left)
        both = np.flatnonzero((left != CONSTANT) & (right != CONSTANT))
        if not both.size:
            return result
        a, b = left[both], right[both]
        a, b = np.where(a < CONSTANT, a, b), np.where(a < CONSTANT, b, a)
        k, i = self._table()
        if (b < CONSTANT).any() or (a > CONSTANT).any() or (i[-2 - a] != CONSTANT).any():
            raise InputError(
                "the product is not affine in the parameters and in the variables; make the product a "
                "parameter of its own."
            )
        pairs, where = np.unique(np.stack([k[-2 - a], b]), axis=1, return_inverse=True)
        result[both] = self._codes(pairs[0], pairs[1])[where.ravel()]
        return result

    def monomials(self, y: np.ndarray) -> np.ndarray:
        """The value of every monomial at y, NaN where a parameter has no value yet."""
        if not self._keys:
            return np.zeros(0)
        k, i = self._table()
        return np.asarray(self._values[k] * np.append(y, 1.0)[i])

    def require_values(self) -> None:
        """Raise InputError where a parameter has no value yet."""
        missing = [
            name for name, (where, _, _) in self._places.items() if np.isnan(self._values[where]).any()
        ]
        if missing:
            raise InputError(
                f"the parameter {missing[0]!r} has no value; set it: problem.update({missing[0]}=...)."
            )

    def substitution(self, variables: int, monomials: int) -> tuple[sp.csc_array, np.ndarray]:
        """S (variables + monomials, variables), s with (y, monomials) = S y + s at the present values.

        For the first so many monomials: those that were known when the problem was compiled.
        """
        self.require_values()
        k, i = (part[:monomials] for part in self._table())
        total = variables + k.size
        live = i >= 0
        rows = np.r_[np.arange(variables), variables + np.flatnonzero(live)]
        S = sp.csc_array(
            (np.r_[np.ones(variables), self._values[k[live]]], (rows, np.r_[np.arange(variables), i[live]])),
            shape=(total, variables),
        )
        s = np.zeros(total)
        s[variables:][~live] = self._values[k[~live]]
        return S, s

    def label(self, monomial: int, variable_name: Any) -> str:
        """A monomial in words."""
        k, i = self._keys[monomial]
        name, where = next((n, w) for n, (w, _, _) in self._places.items() if w.start <= k < w.stop)
        head = f"{name}[{k - where.start}]"
        return head if i == CONSTANT else f"{head} {variable_name(i)}"
