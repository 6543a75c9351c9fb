"""Witnesses as they come from anywhere: good, stalled, random, zero, NaN, negative, huge."""

import math

import numpy as np
from hypothesis import strategies as st

from .._witness import Witness
from ..network import Network

__all__ = ["ODD_FLOATS", "witnesses"]

ODD_FLOATS = (0.0, -0.0, math.nan, math.inf, -math.inf, -1.0, 1e-300, 1e300, 5e-324, 1.0)


@st.composite
def witnesses(draw: st.DrawFn, network: Network) -> Witness:
    """A `Witness` of the right sizes for `network`, with any numbers that a solver may return."""
    kind = draw(st.sampled_from(("lipsdp", "lipsdp", "layerwise")))
    sizes = network.dims[1:-1] if kind == "lipsdp" else (1,) * len(network.layers)
    numbers = st.one_of(st.floats(1e-6, 1e6), st.sampled_from(ODD_FLOATS))
    style = draw(st.sampled_from(("zero", "nan", "random", "odd", "equal")))
    if style == "random":
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        multipliers = [10.0 ** rng.uniform(-3, 3, n) for n in sizes]
    elif style == "odd":
        multipliers = [np.array([draw(numbers) for _ in range(n)]) for n in sizes]
    else:
        multipliers = [np.full(n, {"zero": 0.0, "nan": math.nan, "equal": 1.0}[style]) for n in sizes]
    return Witness(kind, draw(numbers), tuple(multipliers), produced_by=style)  # type: ignore[arg-type]
