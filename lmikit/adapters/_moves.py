"""Where entries of values and constants go, found by moving their numbers about."""

from collections.abc import Callable, Sequence

import numpy as np

from ._onnx_values import Tensor
from ._steps import Steps, size_of

__all__ = ["moved"]

Mover = Callable[[list[np.ndarray]], list[np.ndarray]]


def moved(steps: Steps, where: str, operands: Sequence[Tensor | np.ndarray], mover: Mover) -> list[Tensor]:
    """What `mover` makes of the operands: it is given arrays of numbers, and gives arrays of some of them."""
    parents: list[int] = []
    arrays, which, index, fill = [], [], [], []
    start = 0
    for operand in operands:
        shape = tuple(operand.shape)
        size = size_of(shape)
        steps.spend(where, 4 * size)
        value = isinstance(operand, Tensor)
        which.append(np.full(size, len(parents) if value else -1))
        index.append(np.arange(size))
        fill.append(np.zeros(size) if value else np.asarray(operand, np.float64).reshape(-1))
        arrays.append(np.arange(start, start + size).reshape(shape))
        start += size
        if isinstance(operand, Tensor):
            parents.append(operand.step)
    pool = [np.concatenate(parts) for parts in (which, index, fill)]
    results = []
    for result in mover(arrays):
        taken = result.reshape(-1)
        step = steps.gather(where, parents, *(part[taken] for part in pool))
        results.append(Tensor(step, tuple(int(n) for n in result.shape)))
    return results
