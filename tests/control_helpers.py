"""Random linear systems."""

import numpy as np
from hypothesis import strategies as st

from lmikit.control import System


def random_system(rng, n, m, p, dt=None, *, stable=True, direct=True):
    A = rng.standard_normal((n, n))
    values = np.linalg.eigvals(A) if n else np.zeros(1)
    if dt is None:
        A = A - (values.real.max() + (0.3 if stable else -0.3)) * np.eye(n)
    else:
        A = A * ((0.9 if stable else 1.1) / max(abs(values).max(), 1e-3))
    D = rng.standard_normal((p, m)) if direct else np.zeros((p, m))
    return System(A, rng.standard_normal((n, m)), rng.standard_normal((p, n)), D, dt)


@st.composite
def systems(draw, *, stable=True, direct=True, square=False, states=6):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m, p = draw(st.integers(1, states)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dt = draw(st.sampled_from([None, 1.0, 0.1]))
    return random_system(rng, n, m, m if square else p, dt, stable=stable, direct=direct)


def sweep(system, points=4000):
    """The largest gain on a grid of frequencies."""
    top = np.pi if system.discrete else 50.0
    grid = np.concatenate([np.linspace(0.0, top, points // 2), np.geomspace(1e-3, top, points // 2)])
    return max(np.linalg.norm(system.response(w), 2) for w in grid)
