"""Groups of indices of which the largest entry is wanted."""

import numpy as np

__all__ = ["equal_groups", "halved"]


def equal_groups(groups: list[np.ndarray], size: int, entries: int) -> np.ndarray:
    """(groups, size): repeats are of those entries that fewest places read, one after the other.

    The norm of the selection is the root of the largest number of places that read one entry.
    """
    lengths = np.array([g.size for g in groups])
    counts = np.bincount(np.concatenate(groups), minlength=entries)
    full = np.zeros((len(groups), size), dtype=np.int64)
    whole = lengths == size
    if whole.any():
        full[whole] = np.stack([g for g in groups if g.size == size])
    for k in np.flatnonzero(~whole):
        own = groups[k]
        full[k, : own.size] = own
        for j in range(own.size, size):
            entry = own[np.argmin(counts[own])]
            full[k, j] = entry
            counts[entry] += 1
    return full


def halved(sizes: list[int], pairs: int) -> list[np.ndarray]:
    """Where the entries of each group are after a round: its pairs come first, those left over last."""
    result, pair, over = [], 0, pairs
    for size in sizes:
        own = [*range(pair, pair + size // 2), *([over] if size % 2 else [])]
        pair, over = pair + size // 2, over + size % 2
        result.append(np.array(own))
    return result
