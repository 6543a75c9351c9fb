"""Interior point with the dense Schur complement, for blocks of order 50 to 500 without sparsity."""

from ._solver import Dense

__all__ = ["Dense"]
