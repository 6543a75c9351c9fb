"""The multipliers of a degenerate cell: the exact solution of sum_i lambda_i row_i = 0."""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

__all__ = ["exact_kernel"]


def exact_kernel(rows: Sequence[Sequence[int]]) -> list[int] | None:
    """Integers lambda with sum_i lambda_i rows[i] = 0 where these are unique up to a factor, else None."""
    count, width = len(rows), len(rows[0])
    columns = [[Fraction(rows[i][j]) for i in range(count)] for j in range(width)]
    pivots: list[int] = []
    for i in range(count):
        done = len(pivots)
        found = next((j for j in range(done, width) if columns[j][i]), None)
        if found is None:
            continue
        columns[done], columns[found] = columns[found], columns[done]
        pivot = columns[done][i]
        columns[done] = [value / pivot for value in columns[done]]
        for j in range(width):
            factor = columns[j][i]
            if j != done and factor:
                columns[j] = [a - factor * b for a, b in zip(columns[j], columns[done], strict=True)]
        pivots.append(i)
    free = [i for i in range(count) if i not in pivots]
    if len(free) != 1:
        return None
    solution = [Fraction(0)] * count
    solution[free[0]] = Fraction(1)
    for row, pivot_index in enumerate(pivots):
        solution[pivot_index] = -columns[row][free[0]]
    scale = lcm(*(value.denominator for value in solution))
    return [int(value * scale) for value in solution]
