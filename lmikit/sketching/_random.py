"""Random numbers of our own, drawn on the host."""

import numpy as np

__all__ = ["random_stream"]

_OURS = int.from_bytes(b"lmikit", "big")


def random_stream(purpose: int, seed: int, block: int = 0) -> np.random.Generator:
    """A generator that repeats no stream a caller is likely to have drawn the layer from.

    NumPy pads seeds with zeros: default_rng([0, 0]) is default_rng(0). A sketch that repeats the
    numbers of the layer is not independent of it.
    """
    return np.random.default_rng([_OURS, purpose, int(seed), int(block)])
