"""The checker's own way to version 2: neurons with alpha = beta folded in, by balls or by integers.

A neuron with alpha = beta has w = alpha v exactly. Per layer the pre-activations are rows over the input
and the layers of neurons with alpha < beta before it; of the latter only, the LMI is formed:

    rho I on the input, 2 T per layer, -S T R below, 2 R'Pi T R, and -Y over I for the output.

`operations` is `BallOperations` or `IntegerOperations`; everything is written once for both.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["eliminated_blocks"]

Slopes = tuple[np.ndarray, np.ndarray]


def eliminated_blocks(
    weights: Sequence[np.ndarray],
    slopes: Sequence[Slopes],
    multipliers: Sequence[np.ndarray],
    rho: float,
    operations: Any,
) -> tuple[list[Any], list[Any]]:
    """Diagonal and lower blocks, block tridiagonal; arrays are exact vectors on the diagonal.

    `multipliers` has one array per hidden layer, for its neurons with alpha < beta.
    """
    sizes, terms, output = _terms(weights, slopes, multipliers, operations)
    n, m = weights[0].shape[1], weights[-1].shape[0]
    if len(sizes) == 1 and m > n:  # rho >= ||Y||^2 either way round; the longer side stays diagonal
        below = operations.block((n, m), [(0, 0, operations.transposed(output[0]))])
        return [np.full(m, rho), np.ones(n)], [below]
    terms |= {(len(sizes), j): y for j, y in output.items()}
    diagonals = [np.full(n, rho), *(2.0 * t for t in multipliers if t.size), np.ones(m)]
    sizes = [*sizes, m]
    bags = _bags(terms, len(sizes))
    return (
        [_on_diagonal(terms, bag, sizes, diagonals, operations) for bag in bags],
        [_below(terms, low, high, sizes, operations) for high, low in itertools.pairwise(bags)],
    )


def _terms(
    weights: Sequence[np.ndarray],
    slopes: Sequence[Slopes],
    multipliers: Sequence[np.ndarray],
    operations: Any,
) -> tuple[list[int], dict[tuple[int, int], Any], dict[int, Any]]:
    """(sizes of the input and the layers, terms below and beside the diagonal, -Y)."""
    sizes = [weights[0].shape[1]]
    terms: dict[tuple[int, int], Any] = {}
    rows: dict[int, Any] = {0: operations.of(weights[0])}
    for w, (alpha, beta), t in zip(weights[1:], slopes, multipliers, strict=True):
        bent, straight = np.flatnonzero(alpha != beta), np.flatnonzero(alpha == beta)
        here = {j: operations.take(r, bent) for j, r in rows.items()}
        through = {j: operations.take(r, straight) for j, r in rows.items()}
        rows = {}
        if straight.size:
            into = w[:, straight]
            rows = {
                j: operations.product(into, operations.by_rows([alpha[straight]], r))
                for j, r in through.items()
            }
        if bent.size:
            k = len(sizes)
            sizes.append(bent.size)
            _add_layer(terms, k, here, (alpha[bent], beta[bent]), t, operations)
            rows[k] = operations.of(w[:, bent])
    minus = -np.ones(weights[-1].shape[0])
    return sizes, terms, {j: operations.by_rows([minus], r) for j, r in rows.items()}


def _add_layer(
    terms: dict[tuple[int, int], Any],
    k: int,
    rows: dict[int, Any],
    slopes: Slopes,
    t: np.ndarray,
    operations: Any,
) -> None:
    alpha, beta = slopes
    mixed = np.flatnonzero((alpha != 0.0) & (beta != 0.0))
    for j, r in rows.items():
        _accumulate(terms, (k, j), operations.coupling(alpha, beta, t, r), operations)
        if not mixed.size:
            continue
        for i, other in rows.items():
            if i <= j:
                left, right = operations.take(r, mixed), operations.take(other, mixed)
                term = operations.quadratic(left, alpha[mixed], beta[mixed], t[mixed], right)
                _accumulate(terms, (j, i), term, operations)


def _accumulate(terms: dict[tuple[int, int], Any], at: tuple[int, int], term: Any, operations: Any) -> None:
    if at in terms:
        shape = (term.mid if hasattr(term, "mid") else term.values).shape
        term = operations.block(shape, [(0, 0, terms[at]), (0, 0, term)])
    terms[at] = term


def _bags(terms: dict[tuple[int, int], Any], count: int) -> list[list[int]]:
    """Layers in order, the input alone, such that every term joins two of the same or neighbouring bags."""
    bags = [[0]]
    while bags[-1][-1] + 1 < count:
        start = bags[-1][-1] + 1
        last = max([start, *(i for i, j in terms if j in bags[-1])])
        bags.append(list(range(start, last + 1)))
    return bags


def _on_diagonal(
    terms: dict[tuple[int, int], Any],
    bag: list[int],
    sizes: list[int],
    diagonals: list[np.ndarray],
    operations: Any,
) -> Any:
    diagonal = np.concatenate([diagonals[k] for k in bag])
    if not any(i in bag and j in bag for i, j in terms):
        return diagonal
    at = _starts(bag, sizes)
    pieces = []
    for (i, j), term in terms.items():
        if i in bag and j in bag:
            pieces.append((at[i], at[j], term))
            if i != j:
                pieces.append((at[j], at[i], operations.transposed(term)))
    return operations.plus_diagonal(operations.block((diagonal.size, diagonal.size), pieces), diagonal)


def _below(
    terms: dict[tuple[int, int], Any], rows: list[int], columns: list[int], sizes: list[int], operations: Any
) -> Any:
    at, to = _starts(rows, sizes), _starts(columns, sizes)
    pieces = [(at[i], to[j], term) for (i, j), term in terms.items() if i in rows and j in columns]
    return operations.block((sum(sizes[k] for k in rows), sum(sizes[k] for k in columns)), pieces)


def _starts(bag: list[int], sizes: list[int]) -> dict[int, int]:
    return {k: sum(sizes[bag[0] : k]) for k in bag}
