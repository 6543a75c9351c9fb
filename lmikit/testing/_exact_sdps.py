"""SDPs in small integers whose answer is known exactly, for tests of proofs with no tolerance at all.

Orthogonal bases are Hadamard matrices, so that complementary X and Z are integers, points on the
boundary of second-order cones are Pythagorean. Every number in the SDP and its optimum is exact in binary64.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from hypothesis import strategies as st

from ..lmi import LMI, SDP, SOC
from ..lmi._entries import lmi_from_entries
from ..lmi._triplets import CONSTANT, Triplets
from ._sdps import KnownSDP

__all__ = ["exact_sdps", "random_exact"]

_KINDS = ("interior", "degenerate", "infeasible", "unbounded")


def _symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    half = rng.integers(-2, 3, (n, n))
    return half + half.T


def _spectral(values: np.ndarray) -> np.ndarray:
    basis = scipy.linalg.hadamard(values.size)
    return basis @ np.diag(values) @ basis.T


def _lmi(F0: np.ndarray, F: list[np.ndarray], name: str) -> LMI:
    n, parts = F0.shape[0], []
    for var, matrix in [(CONSTANT, F0), *enumerate(F)]:
        row, col = np.nonzero(np.triu(matrix))
        parts.append(Triplets((n, n), row, col, np.full(row.size, var), matrix[row, col].astype(float)))
    return lmi_from_entries(Triplets.concatenate((n, n), parts).canonical(), len(F), name=name)


def _rows(matrix: np.ndarray) -> sp.csc_array:
    return sp.csc_array(matrix.astype(float))


def random_exact(rng: np.random.Generator, kind: str = "interior", *, quadratic: bool = False) -> KnownSDP:
    """An SDP in integers with its exact optimum, +inf where infeasible, -inf where unbounded.

    kind: "interior" (both sides have one), "degenerate" (no strict complementarity, a repeated block,
    a redundant equality, perhaps no interior), "infeasible" or "unbounded" (with an interior ray).
    """
    m = int(rng.integers(2, 6))
    sizes = [int(n) for n in rng.choice((1, 2, 4, 8), int(rng.integers(1, 3)))]
    F = [[_symmetric(rng, n) for _ in range(m)] for n in sizes]
    if kind == "infeasible":
        return _infeasible(rng, sizes, F)
    if kind == "unbounded":
        return _unbounded(rng, sizes, F)
    return _optimal(rng, sizes, F, degenerate=kind == "degenerate", quadratic=quadratic)


def _optimal(
    rng: np.random.Generator,
    sizes: list[int],
    F: list[list[np.ndarray]],
    *,
    degenerate: bool,
    quadratic: bool,
) -> KnownSDP:
    m = len(F[0])
    y, c, lmis = rng.integers(-2, 3, m), np.zeros(m, dtype=np.int64), []
    for k, n in enumerate(sizes):
        if not degenerate:
            F[k][0] = np.eye(n, dtype=np.int64)  # a direction into the interior
        rank = int(rng.integers(0, n + 1))
        in_x, in_z = np.arange(n) < rank, np.arange(n) >= rank
        if degenerate:
            in_x[0] = in_z[0] = False
        X, Z = (_spectral(rng.integers(1, 6, n) * part) for part in (in_x, in_z))
        c += np.array([int((f * X).sum()) for f in F[k]])
        lmis.append(_lmi(Z - sum(v * f for v, f in zip(y, F[k], strict=True)), F[k], f"F{k}"))
    if degenerate:
        lmis.append(lmis[0])
    G, z, slack = (
        rng.integers(-3, 4, (2, m)),
        np.array([int(rng.integers(0, 4)), 0]),
        np.array([0, int(rng.integers(0, 3))]),
    )
    G[:, 0] = -1
    h = G @ y + slack
    c = c - G.T @ z
    if not degenerate:  # a box, inactive at y, gives the multipliers an interior
        eye = np.eye(m, dtype=np.int64)
        G, h = np.vstack([G, eye, -eye]), np.r_[h, y + 9, 9 - y]
    A = rng.integers(-2, 3, (1, m))
    A[:, 0] = 0
    A = np.vstack([A, 2 * A]) if degenerate else A
    c = c - A.T @ rng.integers(-2, 3, A.shape[0])
    C = rng.integers(-2, 3, (3, m))
    C[:, 0] = (1, 0, 0)
    point, multiplier = np.array([5, 3, 4]), int(rng.integers(0, 3)) * np.array([5, -3, -4])
    c = c + C.T @ multiplier
    H = None
    if quadratic:
        factor = rng.integers(-1, 2, (m, m))
        H = factor @ factor.T
        c = c - H @ y
    sdp = SDP(
        c.astype(float),
        tuple(lmis),
        G=_rows(G),
        h=h.astype(float),
        A=_rows(A),
        b=(A @ y).astype(float),
        socs=(SOC(_rows(C), (point - C @ y).astype(float), name="cone"),),
        H=None if H is None else _rows(H),
    )
    return KnownSDP(sdp, y.astype(float), None, sdp.objective(y.astype(float)), strict=not degenerate)


def _infeasible(rng: np.random.Generator, sizes: list[int], F: list[list[np.ndarray]]) -> KnownSDP:
    m = len(F[0])
    gradient, value, lmis = np.zeros(m, dtype=np.int64), 0, []
    for k, n in enumerate(sizes):
        X, F0 = _spectral(rng.integers(1, 4, n)), _symmetric(rng, n)
        gradient += np.array([int((f * X).sum()) for f in F[k]])
        value += int((F0 * X).sum())
        lmis.append(_lmi(F0, F[k], f"F{k}"))
    G, h = _rows(gradient[None, :]), np.array([-value - int(rng.integers(1, 4))], dtype=float)
    return KnownSDP(SDP(rng.integers(-3, 4, m).astype(float), tuple(lmis), G=G, h=h), None, None, np.inf)


def _unbounded(rng: np.random.Generator, sizes: list[int], F: list[list[np.ndarray]]) -> KnownSDP:
    m = len(F[0])
    ray = np.r_[1, rng.integers(-1, 2, m - 1)]
    lmis = []
    for k, n in enumerate(sizes):
        F[k][0] = _spectral(rng.integers(1, 4, n)) - sum(
            r * f for r, f in zip(ray[1:], F[k][1:], strict=True)
        )
        lmis.append(_lmi(_symmetric(rng, n), F[k], f"F{k}"))
    c, G = rng.integers(-3, 4, m), rng.integers(-3, 4, (1, m))
    c[0] = -1 - c[1:] @ ray[1:]
    G[:, 0] = -1 - G[:, 1:] @ ray[1:]
    sdp = SDP(c.astype(float), tuple(lmis), G=_rows(G), h=rng.integers(-3, 4, 1).astype(float))
    return KnownSDP(sdp, ray.astype(float), None, -np.inf)


@st.composite
def exact_sdps(draw: st.DrawFn, kinds: tuple[str, ...] = _KINDS) -> KnownSDP:
    """SDPs in integers whose optimum is exactly known (`random_exact`), of these kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_exact(rng, draw(st.sampled_from(kinds)), quadratic=draw(st.booleans()))
