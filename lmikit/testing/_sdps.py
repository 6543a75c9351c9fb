"""Semidefinite programs whose answer is known by construction, as hypothesis strategies.

Optimal ones choose complementary X and Z first and derive the data from the optimality
conditions; infeasible and unbounded ones choose the ray first. Every strategy is constructive.
The plain functions take a numpy Generator, for benchmarks and for tests that loop themselves.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st

from ..lmi import LMI, SDP, SOC, Dual

__all__ = [
    "KnownSDP",
    "degenerate_sdps",
    "infeasible_sdps",
    "random_infeasible",
    "random_optimal",
    "random_unbounded",
    "sdps_with_optimum",
    "unbounded_sdps",
]


@dataclasses.dataclass(frozen=True)
class KnownSDP:
    """An SDP with its answer: optimal (`y`, `dual`, `optimum`), infeasible (`dual` is the ray,
    normalised to -1) or unbounded (`y` is the ray, c'y = -1; `optimum` is -inf)."""

    sdp: SDP
    y: np.ndarray | None
    dual: Dual | None
    optimum: float
    strict: bool = True  # Slater holds on both sides and complementarity is strict


def _orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((n, n)))[0] if n else np.zeros((0, 0))


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _positive(rng: np.random.Generator, n: int) -> np.ndarray:
    basis = _orthogonal(rng, n)
    return _symmetric((basis * rng.uniform(0.5, 2, n)) @ basis.T)


def _complementary(
    rng: np.random.Generator, n: int, *, degenerate: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """X, Z PSD with X Z = 0; rank X + rank Z = n, or less when degenerate."""
    basis, values = _orthogonal(rng, n), rng.uniform(0.5, 2, n)
    rank = int(rng.integers(0, n + 1))
    in_x = np.arange(n) < rank
    in_z = ~in_x
    if degenerate and n > 1:
        in_x[0] = in_z[0] = False
    return tuple(_symmetric((basis * (values * keep)) @ basis.T) for keep in (in_x, in_z))  # type: ignore[return-value]


def _random_terms(
    rng: np.random.Generator, n: int, m: int
) -> tuple[sp.csc_array, sp.csc_array, sp.csc_array]:
    """P, Q (n, r), E (r, m): sparse rank-one terms; variable 0 has F_0 = I (a Slater direction)."""
    r = 0 if n == 0 else int(rng.integers(max(1, m), 2 * m + 2))
    P, Q = (sp.random_array((n, r), density=0.5, rng=rng, format="csc") for _ in range(2))
    for factor in (P, Q):
        factor.data[:] = rng.uniform(-1, 1, factor.nnz)
    E = sp.random_array((r, m), density=0.6, rng=rng, format="lil")
    E[:, 0] = 0
    eye = sp.eye_array(n, format="csc")
    first = sp.csc_array((np.ones(n), (np.arange(n), np.zeros(n, dtype=int))), shape=(n, m))
    return sp.hstack([P, eye], "csc"), sp.hstack([Q, eye], "csc"), sp.vstack([E.tocsc(), first], "csc")


def _block(rng: np.random.Generator, Z: np.ndarray, y: np.ndarray, name: str) -> LMI:
    """A block with F(y) = Z up to rounding."""
    n = Z.shape[0]
    P, Q, E = _random_terms(rng, n, y.size)
    linear = LMI(sp.csc_array((n, n)), P, Q, E).evaluate(y).toarray()
    return LMI(sp.csc_array(_symmetric(Z - linear)), P, Q, E, name=name)


def _cone_pair(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Two complementary points on the boundary of the second-order cone of dimension k."""
    if k == 1:
        return (np.array([1.0]), np.zeros(1)) if rng.random() < 0.5 else (np.zeros(1), np.array([1.0]))
    direction = rng.standard_normal(k - 1)
    direction /= np.linalg.norm(direction)
    scales = rng.uniform(0.5, 2, 2)
    return scales[0] * np.r_[1.0, direction], scales[1] * np.r_[1.0, -direction]


def _bound(m: int, y: np.ndarray, kind: str, radius: float = 10.0) -> dict[str, tuple]:
    """Constraints inactive at y that keep the feasible set bounded, so that the dual has an interior."""
    if kind == "linear":
        rows = sp.vstack([sp.eye_array(m), -sp.eye_array(m)], "csc")
        return {"G": (rows,), "h": (np.r_[y + radius, radius - y],)}
    if kind == "soc":
        C = sp.vstack([sp.csc_array((1, m)), sp.eye_array(m)], "csc")
        return {"socs": (SOC(C, np.r_[radius + np.linalg.norm(y), np.zeros(m)], name="bound"),)}
    blocks = []
    for i in range(m):
        E = sp.csc_array(([1.0, -1.0], ([0, 1], [i, i])), shape=(2, m))
        eye = sp.eye_array(2, format="csc")
        blocks.append(LMI(sp.diags_array([radius - y[i], radius + y[i]]), eye, eye, E, name=f"bound{i}"))
    return {"lmis": tuple(blocks)}


def random_optimal(
    rng: np.random.Generator,
    sizes: Sequence[int] = (4, 3),
    m: int = 4,
    *,
    p: int = 2,
    q: int = 1,
    soc_sizes: Sequence[int] = (3,),
    bound: str = "linear",
    quadratic: bool = False,
    degenerate: bool = False,
) -> KnownSDP:
    """An SDP whose optimum is attained at a known y with known multipliers.

    bound: "linear", "soc" or "lmi", how the feasible set is kept bounded. degenerate: strict
    complementarity fails, the first block is repeated and an equality is redundant.
    """
    y = rng.uniform(-1, 1, m)
    pairs = [_complementary(rng, n, degenerate=degenerate) for n in sizes]
    lmis = [_block(rng, Z, y, f"F{k}") for k, (_, Z) in enumerate(pairs)]
    Xs = [X for X, _ in pairs]
    if degenerate and lmis:
        lmis.append(dataclasses.replace(lmis[0], name="repeated"))
        Xs[0] = Xs[0] / 2
        Xs.append(Xs[0])
    G, z = rng.uniform(-1, 1, (p, m)), np.zeros(p)
    slack = np.zeros(p)
    for i in range(p):
        G[i, 0] = -1.0
        (z if i % 2 == 0 else slack)[i] = rng.uniform(0.5, 2)
    A = rng.uniform(-1, 1, (min(q, m - 1), m))
    A[:, 0] = 0.0
    if degenerate and A.shape[0]:
        A = np.vstack([A, 2 * A[:1]])
    v = rng.uniform(-1, 1, A.shape[0])
    socs, ss = [], []
    for j, k in enumerate(soc_sizes):
        point, multiplier = _cone_pair(rng, k)
        C = rng.uniform(-1, 1, (k, m))
        C[:, 0] = np.eye(k)[0]
        socs.append(SOC(sp.csc_array(C), point - C @ y, name=f"soc{j}"))
        ss.append(multiplier)
    factor = rng.uniform(-1, 1, (m, max(1, m - 1)))
    H = _symmetric(factor @ factor.T) if quadratic else None
    c = sum((lmi.adjoint(X) for lmi, X in zip(lmis, Xs, strict=True)), np.zeros(m)) - G.T @ z - A.T @ v
    c = c + sum((soc.C.T @ s for soc, s in zip(socs, ss, strict=True)), np.zeros(m))
    c = c if H is None else c - H @ y
    extra = _bound(m, y, bound)
    extra_lmis, extra_socs = extra.get("lmis", ()), extra.get("socs", ())
    extra_G, extra_h = extra.get("G", (sp.csc_array((0, m)),))[0], extra.get("h", (np.zeros(0),))[0]
    sdp = SDP(
        c,
        (*lmis, *extra_lmis),
        G=sp.vstack([sp.csc_array(G), extra_G], "csc"),
        h=np.r_[G @ y + slack, extra_h],
        A=sp.csc_array(A),
        b=A @ y,
        socs=(*socs, *extra_socs),
        H=None if H is None else sp.csc_array(H),
    )
    dual = Dual(
        X=(*Xs, *(np.zeros((b.size, b.size)) for b in extra_lmis)),
        z=np.r_[z, np.zeros(extra_h.size)],
        v=np.asarray(v),
        s=(*ss, *(np.zeros(s.d.size) for s in extra_socs)),
    )
    return KnownSDP(sdp, y, dual, sdp.objective(y), strict=not degenerate)


def random_infeasible(
    rng: np.random.Generator, sizes: Sequence[int] = (4, 3), m: int = 3, *, p: int = 0, q: int = 0
) -> KnownSDP:
    """No y is feasible; `dual` is a ray with F*(X) = G'z + A'v and <X, F0> + h'z + b'v = -1.

    The dual is strictly feasible, so that infeasibility is the only right answer.
    """
    nonempty = [n for n in sizes if n] or [2]
    if nonempty == [1] and p + q == 0:
        nonempty = [2]  # F would be rounding noise around a constant, and feasible far out
    Xs = [_positive(rng, n) for n in nonempty]
    z, v = rng.uniform(0.5, 2, p), rng.uniform(-1, 1, q)
    G, A = rng.uniform(-1, 1, (p, m)), rng.uniform(-1, 1, (q, m))
    h, b = rng.uniform(-1, 1, p), rng.uniform(-1, 1, q)
    parts = []
    for n in nonempty:
        P, Q, E = _random_terms(rng, n, m)
        parts.append(LMI(sp.csc_array(_symmetric(rng.uniform(-1, 1, (n, n)))), P, Q, E))
    gradient = sum((lmi.adjoint(X) for lmi, X in zip(parts, Xs, strict=True)), np.zeros(m))
    gradient = gradient - G.T @ z - A.T @ v
    u = rng.uniform(0.5, 1, (nonempty[0], 1))  # one more term that cancels the gradient
    E = sp.vstack([parts[0].E, sp.csc_array(-gradient[None, :] / (u.T @ Xs[0] @ u))], "csc")
    P, Q = (sp.hstack([factor, sp.csc_array(u)], "csc") for factor in (parts[0].P, parts[0].Q))
    parts[0] = LMI(parts[0].F0, P, Q, E)
    value = sum(float((lmi.F0 * X).sum()) for lmi, X in zip(parts, Xs, strict=True)) + h @ z + b @ v
    shift = (value + 1) / np.trace(Xs[0])
    parts[0] = dataclasses.replace(parts[0], F0=parts[0].F0 - shift * sp.eye_array(nonempty[0]))
    c = sum((lmi.adjoint(_positive(rng, lmi.size)) for lmi in parts), np.zeros(m))
    c = c - G.T @ rng.uniform(0.5, 2, p) - A.T @ rng.uniform(-1, 1, q)
    sdp = SDP(c, tuple(parts), G=sp.csc_array(G), h=h, A=sp.csc_array(A), b=b)
    return KnownSDP(sdp, None, Dual(tuple(Xs), z, np.asarray(v)), np.inf)


def random_unbounded(
    rng: np.random.Generator, sizes: Sequence[int] = (4, 3), m: int = 3, *, p: int = 1, q: int = 0
) -> KnownSDP:
    """`y` is a ray: F_k(y) - F0_k PSD, G y <= 0, A y = 0, c'y = -1; zero is strictly feasible."""
    ray = np.r_[1.0, rng.uniform(-0.1, 0.1, m - 1)]
    lmis = []
    for n in sizes:
        P, Q, E = _random_terms(rng, n, m)
        linear = LMI(sp.csc_array((n, n)), P, Q, E).evaluate(ray).toarray()
        shift = max(0.0, 0.5 - (np.linalg.eigvalsh(linear)[0] if n else 0.0))
        E = sp.csc_array(
            E
            + sp.csc_array(
                (np.full(n, shift), (np.arange(n) + E.shape[0] - n, np.zeros(n, int))), shape=E.shape
            )
        )
        lmis.append(LMI(sp.csc_array(_positive(rng, n)), P, Q, E))
    G, A = rng.uniform(-1, 1, (p, m)), rng.uniform(-1, 1, (min(q, m - 1), m))
    G[:, 0] -= G @ ray + 0.5
    A[:, 0] = -(A[:, 1:] @ ray[1:])
    c = rng.uniform(-1, 1, m)
    c[0] = -1.0 - c[1:] @ ray[1:]
    sdp = SDP(c, tuple(lmis), G=sp.csc_array(G), h=np.ones(p), A=sp.csc_array(A), b=np.zeros(A.shape[0]))
    return KnownSDP(sdp, ray, None, -np.inf)


def _rngs() -> st.SearchStrategy[np.random.Generator]:
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def _sizes(min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[list[int]]:
    # 0 is an empty block, 1 a scalar; the last choice is many small blocks
    return st.one_of(
        st.lists(st.integers(0, 6), min_size=min_size, max_size=max_size),
        st.lists(st.integers(1, 2), min_size=10, max_size=20),
    )


@st.composite
def sdps_with_optimum(draw: st.DrawFn, quadratic: bool | None = False) -> KnownSDP:
    """SDPs with a known optimum; quadratic None draws both kinds of objective."""
    return random_optimal(
        draw(_rngs()),
        draw(_sizes()),
        draw(st.integers(1, 6)),
        p=draw(st.integers(0, 3)),
        q=draw(st.integers(0, 2)),
        soc_sizes=draw(st.lists(st.integers(1, 4), max_size=2)),
        bound=draw(st.sampled_from(("linear", "soc", "lmi"))),
        quadratic=draw(st.booleans()) if quadratic is None else quadratic,
    )


@st.composite
def degenerate_sdps(draw: st.DrawFn) -> KnownSDP:
    """A known optimum without strict complementarity, with repeated and redundant constraints."""
    return random_optimal(draw(_rngs()), draw(_sizes(max_size=3)), draw(st.integers(2, 5)), degenerate=True)


@st.composite
def infeasible_sdps(draw: st.DrawFn) -> KnownSDP:
    """Strongly infeasible SDPs with their certificate."""
    counts = {"p": draw(st.integers(0, 2)), "q": draw(st.integers(0, 2))}
    return random_infeasible(draw(_rngs()), draw(_sizes(max_size=3)), draw(st.integers(1, 5)), **counts)


@st.composite
def unbounded_sdps(draw: st.DrawFn) -> KnownSDP:
    """Unbounded SDPs with their ray."""
    counts = {"p": draw(st.integers(0, 2)), "q": draw(st.integers(0, 2))}
    return random_unbounded(draw(_rngs()), draw(_sizes(max_size=3)), draw(st.integers(1, 5)), **counts)
