"""Fuzz the verifier against exact arithmetic: python benchmarks/fuzz_verifier.py --cases 100000.

Every case is a symmetric matrix (or a set of them, with radii), or a network with a witness, at or
next to the boundary of positive definiteness. What the verified Cholesky, `verify` without repair, both
modes of `check` and the stand-alone checker accept must be positive definite by exact elimination (Bareiss).
Counts per family: how many cases, how many are not positive definite, accepted ones, false accepts
(must be 0), and, for comparison, false accepts of a plain floating-point Cholesky.
"""

import argparse
import copy
import functools
import importlib.util
import itertools
import math
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import scipy.linalg

from lmikit import Network, NotCertified, Witness
from lmikit.certificates import Certificate, check, verify
from lmikit.certificates._verified_cholesky import BlockTridiagonal, verified_cholesky
from lmikit.network import Slopes

# ------------------------------------------------------------------------------ exact arithmetic


def integers(matrix: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    """The matrix times the power of two that makes every (dyadic) entry an integer."""
    scale = max(f.denominator for row in matrix for f in row)
    return [[f.numerator * (scale // f.denominator) for f in row] for row in matrix]


def exactly_positive_definite(matrix: Sequence[Sequence[Fraction]]) -> bool:
    """Whether all leading minors of a symmetric rational matrix are positive (Bareiss, fraction-free)."""
    a = integers(matrix)
    previous = 1
    for k in range(len(a)):
        pivot = a[k][k]
        if pivot <= 0:
            return False
        for i in range(k + 1, len(a)):
            for j in range(k + 1, i + 1):
                a[i][j] = (a[i][j] * pivot - a[i][k] * a[j][k]) // previous
            for j in range(i + 1, len(a)):
                a[i][j] = 0
        for i in range(k + 1, len(a)):
            for j in range(i + 1, len(a)):
                a[i][j] = a[j][i]
        previous = pivot
    return True


def rationals(a: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(v)) for v in row] for row in a]


def exact_lmi(network: Network, witness: Witness) -> list[list[Fraction]]:
    """M(rho, T) itself (not lifted) in rationals, by the definition: rho E'E - Y'Y + V, S, Pi, T terms."""
    weights = [
        [[Fraction(float(v)) / Fraction(2) ** p for v in row] for row in w]
        for w, p in zip(network.weights, witness.layer_pow2 or (0,) * len(network.layers), strict=True)
    ]
    starts = [0, *itertools.accumulate(network.dims[:-1])]
    m = [[Fraction(0)] * starts[-1] for _ in range(starts[-1])]
    for i in range(network.input_dim):
        m[i][i] += Fraction(witness.rho)
    for k, (alpha, beta) in enumerate(network.slopes):
        for i, t in enumerate(witness.multipliers[k]):
            a, b, t = Fraction(float(alpha[i])), Fraction(float(beta[i])), Fraction(float(t))
            row, at = weights[k][i], starts[k + 1] + i
            m[at][at] += 2 * t
            for j, w in enumerate(row):
                m[at][starts[k] + j] -= (a + b) * t * w
                m[starts[k] + j][at] -= (a + b) * t * w
                for h, v in enumerate(row):
                    m[starts[k] + j][starts[k] + h] += 2 * a * b * t * w * v
    last = starts[-2]
    for row in weights[-1]:
        for j, w in enumerate(row):
            for h, v in enumerate(row):
                m[last + j][last + h] -= w * v
    return m


# ------------------------------------------------------------------------- adversarial families

Case = tuple[BlockTridiagonal, list[list[Fraction]]]  # what is verified, a member of the set it stands for


def _gram(rng: np.random.Generator, n: int, rank: int) -> np.ndarray:
    g = rng.integers(-9, 10, (n, max(rank, 1))).astype(float)
    return g @ g.T


def _dense(a: np.ndarray, member: np.ndarray | None = None, rad: np.ndarray | None = None) -> Case:
    return BlockTridiagonal.dense(a, rad), rationals(a if member is None else member)


def singular(rng: np.random.Generator) -> Case:
    n = int(rng.integers(1, 11))
    return _dense(_gram(rng, n, int(rng.integers(0, n)) if n > 1 else 1))


def ulps(rng: np.random.Generator) -> Case:
    """Exactly singular, then one entry moved by a few units in the last place."""
    n = int(rng.integers(2, 10))
    a = _gram(rng, n, n - 1) / 7.0
    a = np.tril(a) + np.tril(a, -1).T
    i, j = rng.integers(0, n, 2)
    for _ in range(int(rng.integers(1, 4))):
        a[i, j] = a[j, i] = np.nextafter(a[i, j], rng.choice([-np.inf, np.inf]))
    return _dense(a)


def duplicates(rng: np.random.Generator) -> Case:
    """Equal or negated rows and columns."""
    n = int(rng.integers(2, 9))
    g = rng.standard_normal((n, n + 1))
    i, j = rng.choice(n, 2, replace=False)
    g[i] = rng.choice([-1.0, 1.0]) * g[j]
    a = np.round(g @ g.T * 2**20) / 2**20
    a[i], a[:, i] = np.sign(g[i, 0] * g[j, 0]) * a[j], np.sign(g[i, 0] * g[j, 0]) * a[:, j]
    a[i, i] = a[j, j]
    return _dense(a)


def scaled(rng: np.random.Generator) -> Case:
    """Powers of two up to 2**+-60 on rows and columns of a nearly singular matrix."""
    n = int(rng.integers(2, 9))
    a = _gram(rng, n, n - 1) + np.diag(np.full(n, rng.choice([0.0, 1e-13, 1e-15, -1e-15, 1e-10])))
    e = rng.integers(-60, 61, n)
    return _dense(np.ldexp(a, e[:, None] + e))


def subnormal(rng: np.random.Generator) -> Case:
    n = int(rng.integers(1, 8))
    a = _gram(rng, n, int(rng.integers(1, n + 1)))
    return _dense(np.ldexp(a, int(rng.integers(-1074, -1030))))


def near_singular(rng: np.random.Generator) -> Case:
    """Singular integer Gram plus or minus delta I, delta from 1e-18 to 1e-8 of its size."""
    n = int(rng.integers(2, 11))
    a = _gram(rng, n, n - 1)
    delta = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-18, -8) * max(np.abs(a).max(), 1.0)
    return _dense(a + delta * np.eye(n))


def float_product(rng: np.random.Generator) -> Case:
    """fl(G G') of rank n-1: its definiteness is decided by rounding errors."""
    n = int(rng.integers(2, 10))
    g = rng.standard_normal((n, n - 1)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
    a = g @ g.T
    return _dense(np.tril(a) + np.tril(a, -1).T)


def graded(rng: np.random.Generator) -> Case:
    """fl(R'R) with pivots falling to 1e-12, then the last diagonal entry moved by rounding amounts."""
    n = int(rng.integers(2, 10))
    r = np.triu(rng.standard_normal((n, n)), 1) + np.diag(10.0 ** -np.linspace(0, rng.uniform(2, 9), n))
    a = r.T @ r
    a = np.tril(a) + np.tril(a, -1).T
    a[-1, -1] -= r[-1, -1] ** 2 * rng.choice([1.0, 1.0 + 1e-6, 1.0 - 1e-6])
    return _dense(a)


def hilbert(rng: np.random.Generator) -> Case:
    n = int(rng.integers(2, 14))
    a = 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1.0)
    return _dense(a - rng.choice([0.0, 1e-17, 1e-14, 1e-11]) * np.eye(n))


def with_radius(rng: np.random.Generator) -> Case:
    """A good-looking midpoint whose radius reaches a matrix at the boundary."""
    n = int(rng.integers(2, 9))
    member = _gram(rng, n, n - 1) * 8.0
    e = rng.integers(-3, 4, (n, n)) * 2.0 ** rng.integers(-40, -1)
    e = np.tril(e) + np.tril(e, -1).T + np.diag(np.abs(e).sum(axis=1) * rng.choice([1.0, 2.0]))
    a = member + e  # exact: small integers times powers of two
    return _dense(a, member, np.abs(a - member))


def odd_values(rng: np.random.Generator) -> Case:
    """Huge and tiny entries, zeros, minus zero, sizes next to overflow."""
    n = int(rng.integers(1, 6))
    a = _gram(rng, n, n) * rng.choice([1e300, 1e-300, 1.0])
    i, j = rng.integers(0, n, 2)
    a[i, j] = a[j, i] = rng.choice([0.0, -0.0, 1e308, 1e-308, 5e-324, -1.0, a[i, i]])
    return _dense(a)


def blocks(rng: np.random.Generator) -> Case:
    """Block tridiagonal: exact G G' of a block bidiagonal integer G, plus or minus almost nothing."""
    sizes = rng.integers(1, 4, int(rng.integers(2, 5)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n = int(starts[-1])
    g = np.zeros((n, n))
    for k in range(sizes.size):
        rows = slice(starts[k], starts[k + 1])
        g[rows, rows] = np.tril(rng.integers(-4, 5, (sizes[k], sizes[k])))
        if k:
            g[rows, starts[k - 1] : starts[k]] = rng.integers(-4, 5, (sizes[k], sizes[k - 1]))
    vector = bool(rng.integers(2))
    if vector:
        g[: sizes[0], : sizes[0]] = np.diag(rng.choice([1.0, 2.0, 4.0], sizes[0]))
    if rng.integers(3):
        i = int(rng.integers(sizes[0] if vector else 0, n))
        g[i, i] = 0.0  # exactly singular
    a = g @ g.T
    np.fill_diagonal(a, np.diagonal(a) + rng.choice([0.0, 1e-15, 1e-12, 1e-9, -1e-14, -1e-10]))
    e = rng.integers(-30, 31, n)
    a = np.ldexp(a, e[:, None] + e)
    cut = [slice(starts[k], starts[k + 1]) for k in range(sizes.size)]
    diagonal = [a[c, c] for c in cut]
    if vector:
        diagonal[0] = np.diagonal(diagonal[0]).copy()
    lower = [a[cut[k + 1], cut[k]] for k in range(sizes.size - 1)]
    nothing: list[np.ndarray | None] = [None] * sizes.size
    return BlockTridiagonal(tuple(diagonal), tuple(lower), tuple(nothing), tuple(nothing[1:])), rationals(a)


MATRICES: dict[str, Callable[[np.random.Generator], Case]] = {
    f.__name__: f
    for f in (
        singular,
        ulps,
        duplicates,
        scaled,
        subnormal,
        near_singular,
        float_product,
        graded,
        hilbert,
        with_radius,
        odd_values,
        blocks,
    )
}

_SLOPES = (
    (0.0, 1.0),
    (-0.1, 1.1),
    (-1.0, 1.0),
    (0.2, 0.9),
    (-0.9, -0.2),
    (0.01, 1.0),
    (1.0, 1.0),
    (0.0, 3.0),
)
_NUDGES = (0.0, *(s * 10.0**-k for k in (3, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17) for s in (1.0, -1.0, -1.0)))


def some_network(rng: np.random.Generator, linear: float) -> Network:
    """A small network of simple rationals; each neuron is linear with probability `linear`."""
    dims = rng.integers(1, 4, int(rng.integers(2, 6 if linear else 5)))
    weights = [rng.integers(-4, 5, (b, a)) / rng.choice([1.0, 3.0, 7.0]) for a, b in itertools.pairwise(dims)]
    weights = [np.where(rng.random(w.shape) < 0.05, 0.0, w) for w in weights]
    if rng.integers(2):
        weights = [np.ldexp(w, int(rng.integers(-30, 31))) for w in weights]
    phis = []
    for n in dims[1:-1]:
        pairs = np.array([_SLOPES[i] for i in rng.integers(0, len(_SLOPES), n)])
        pairs = pairs if rng.integers(2) else np.repeat(pairs[:1], n, axis=0)
        straight = rng.random(n) < linear
        pairs[straight] = rng.choice([1.0, -1.0, 0.3, 2.0], int(straight.sum()))[:, None]
        phis.append(Slopes(*pairs.T))
    return Network.from_arrays(weights, activation=phis)


@functools.lru_cache(maxsize=4)
def certified(linear: float, seed: int, kind: str = "lipsdp") -> tuple[Network, Certificate]:
    """A small network and a certificate; several cases share them, because the search takes longest."""
    rng = np.random.default_rng([seed, int(100 * linear), len(kind)])
    network = some_network(rng, linear)
    given = tuple(10.0 ** rng.uniform(-1, 1, n) for n in network.dims[1:-1])
    if kind == "layerwise":
        given = tuple(np.ones(1) for _ in network.layers)
        return network, verify(network, Witness("layerwise", 1.0, given))
    return network, verify(network, Witness("lipsdp", 1.0, given))


def witness_case(rng: np.random.Generator, linear: float, seed: int) -> tuple[Network, Certificate, Witness]:
    """A certificate and its witness with rho moved by 1e-3 to 1e-17 of itself."""
    network, certificate = certified(linear, seed)
    proven = certificate.witness
    rho = proven.rho * (1.0 + rng.choice(_NUDGES))
    multipliers = [np.array(t) for t in proven.multipliers]
    if multipliers and rng.integers(4) == 0:
        k = int(rng.integers(len(multipliers)))
        multipliers[k][rng.integers(multipliers[k].size)] *= 1.0 + rng.choice(_NUDGES)
    return network, certificate, Witness("lipsdp", rho, tuple(multipliers), proven.layer_pow2)


# ------------------------------------------------------------------------------------- counting


def run_matrix(family: str, rng: np.random.Generator, seed: int) -> tuple[int, int, int, int]:
    """(not PD, accepted, false accept, plain Cholesky's false accept) as 0 or 1."""
    case, member = MATRICES[family](rng)
    accepted = verified_cholesky(case).ok
    good = exactly_positive_definite(member)
    plain = plain_cholesky(np.array([[float(v) for v in row] for row in member]))
    return int(not good), int(accepted), int(accepted and not good), int(plain and not good)


def plain_cholesky(a: np.ndarray) -> bool:
    """What is often taken for a test of positive definiteness."""
    factor, info = scipy.linalg.lapack.dpotrf(a, lower=1)
    return bool(info == 0 and np.isfinite(factor).all())


def useful(network: Network) -> list[np.ndarray] | None:
    """Per layer, the neurons that the exact-zero rule keeps; None if the output is constant."""
    paths = [np.ones(network.input_dim, dtype=bool)]
    for w, (alpha, beta) in zip(network.weights, [*network.slopes, (np.ones(1), np.ones(1))], strict=True):
        paths.append((w != 0.0) @ paths[-1] & ((alpha != 0.0) | (beta != 0.0)))
    back = np.ones(network.output_dim, dtype=bool)
    for k in range(len(network.layers) - 1, -1, -1):
        back = (network.weights[k] != 0.0).T @ (back & paths[k + 1])
        paths[k] = paths[k] & back if k else paths[k]
        back = paths[k]
    if not all(p.any() for p in paths[:-1]) or not (network.weights[-1] != 0.0)[:, paths[-2]].any():
        return None
    return paths


def reduced_lmi(network: Network, witness: Witness, eliminate: bool = True) -> list[list[Fraction]] | None:
    """The exact LMI without the rows that the exact-zero rule drops; None if nothing is left.

    With `eliminate` it is restricted to the subspace where neurons with alpha = beta have w = alpha v.
    """
    paths = useful(network)
    if paths is None:
        return None
    keep = np.flatnonzero(np.concatenate(paths[:-1]))
    counted = [np.where(p, t, 0.0) for p, t in zip(paths[1:-1], witness.multipliers, strict=True)]
    m = exact_lmi(network, Witness("lipsdp", witness.rho, tuple(counted), witness.layer_pow2))
    m = [[m[i][j] for j in keep] for i in keep]
    return restricted(m, substitution(network, witness, paths)) if eliminate else m


def substitution(network: Network, witness: Witness, paths: Sequence[np.ndarray]) -> list[list[Fraction]]:
    """K: all kept units from the input and the neurons with alpha < beta."""
    free = [np.ones(network.input_dim, dtype=bool)]
    free += [(alpha < beta) & p for (alpha, beta), p in zip(network.slopes, paths[1:-1], strict=True)]
    columns = sum(int(f.sum()) for f in free)
    rows: list[list[Fraction]] = []
    before: dict[int, list[Fraction]] = {}
    powers = witness.layer_pow2 or (0,) * len(network.layers)
    at = 0
    for k, kept in enumerate(paths[:-1]):
        here: dict[int, list[Fraction]] = {}
        for i in np.flatnonzero(kept):
            row = [Fraction(0)] * columns
            if free[k][i]:
                row[at] = Fraction(1)
                at += 1
            else:
                slope = Fraction(float(network.slopes[k - 1][0][i])) / Fraction(2) ** powers[k - 1]
                for j, other in before.items():
                    w = slope * Fraction(float(network.weights[k - 1][i, j]))
                    row = [a + w * b for a, b in zip(row, other, strict=True)]
            here[i] = row
            rows.append(row)
        before = here
    return rows


def restricted(m: list[list[Fraction]], k: list[list[Fraction]]) -> list[list[Fraction]]:
    """K'MK."""
    columns = list(zip(*k, strict=True))
    half = [[sum(a * b for a, b in zip(row, c, strict=True)) for c in columns] for row in m]
    other = list(zip(*half, strict=True))
    return [[sum(a * b for a, b in zip(c, h, strict=True)) for h in other] for c in columns]


def forged(certificate: Certificate, network: Network, witness: Witness, version: int) -> Certificate:
    """The certificate with another witness, past the door that only `verify` opens, on purpose."""
    result = copy.copy(certificate)
    for field, value in (
        ("witness", witness), ("rho", witness.rho), ("bound", 1e150), ("format_version", version),
    ):  # fmt: skip
        object.__setattr__(result, field, value)
    return result


def verdicts(network: Network, certificate: Certificate) -> list[bool]:
    """What both modes of `check` and the stand-alone checker say."""
    found = [check(certificate, network, exact=exact).ok for exact in (False, True)]
    if certificate.witness.kind == "lipsdp":
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(certificate.to_text())
            file.flush()
            try:
                standalone().check(file.name, network.weights, network.slopes)
                found.append(True)
            except standalone().Refused:
                found.append(False)
    return found


@functools.cache
def standalone() -> types.ModuleType:
    path = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_checker.py"
    spec = importlib.util.spec_from_file_location("standalone_checker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_witness(rng: np.random.Generator, seed: int, linear: float) -> tuple[int, int, int, int]:
    """`verify` without repair and all checkers judge the moved witness, each for itself."""
    network, certificate, witness = witness_case(rng, linear, seed)
    matrix = reduced_lmi(network, witness)
    good = matrix is None or exactly_positive_definite(matrix)
    try:
        verify(network, witness, repair=False)
        accepted = [True]
    except NotCertified:
        accepted = [False]
    accepted += verdicts(network, forged(certificate, network, witness, certificate.format_version))
    return int(not good), int(any(accepted)), int(any(accepted) and not good), 0


def run_version_1(rng: np.random.Generator, seed: int) -> tuple[int, int, int, int]:
    """Files of version 1 for networks with linear neurons, whose multipliers count there."""
    network, certificate, witness = witness_case(rng, 0.3, seed)
    large = 10.0 ** rng.uniform(-3, 9)
    full = [np.where(t > 0.0, t, large) for t in witness.multipliers]
    rho = witness.rho * (1.0 + 10.0 ** rng.uniform(-9, 1))
    witness = Witness("lipsdp", rho, tuple(full), witness.layer_pow2)
    matrix = reduced_lmi(network, witness, eliminate=False)
    good = matrix is None or exactly_positive_definite(matrix)
    accepted = verdicts(network, forged(certificate, network, witness, 1))
    return int(not good), int(any(accepted)), int(any(accepted) and not good), 0


def run_layerwise(rng: np.random.Generator, seed: int) -> tuple[int, int, int, int]:
    """tau_k and rho moved by 1e-3 to 1e-17 of themselves."""
    network, certificate = certified(0.1, seed, "layerwise")
    proven = certificate.witness
    taus = [t * (1.0 + rng.choice(_NUDGES)) for t in proven.multipliers]
    witness = Witness("layerwise", proven.rho * (1.0 + rng.choice(_NUDGES)), tuple(taus), proven.layer_pow2)
    paths = useful(network)
    good = paths is None or layerwise_holds(network, witness, paths)
    try:
        verify(network, witness, repair=False)
        accepted = [True]
    except NotCertified:
        accepted = [False]
    accepted += verdicts(network, forged(certificate, network, witness, 1))
    return int(not good), int(any(accepted)), int(any(accepted) and not good), 0


def layerwise_holds(network: Network, witness: Witness, paths: Sequence[np.ndarray]) -> bool:
    """rho >= prod tau m^2 and every tau I - W'W is positive semidefinite, of what `paths` keeps."""
    product = Fraction(1)
    for k, (w, t) in enumerate(zip(network.weights, witness.multipliers, strict=True)):
        tau = Fraction(float(t[0]))
        product *= tau
        if k < network.hidden_layers:
            pairs = [pair[paths[k + 1]] for pair in network.slopes[k]]
            product *= max(Fraction(float(abs(v))) for pair in pairs for v in pair) ** 2
        power = (witness.layer_pow2 or (0,) * len(network.layers))[k]
        kept = w[np.ix_(paths[k + 1] if k < network.hidden_layers else np.ones(w.shape[0], bool), paths[k])]
        rows = [[Fraction(float(v)) / Fraction(2) ** power for v in row] for row in kept]
        columns = list(zip(*rows, strict=True))
        gram = [[sum(a * b for a, b in zip(c, d, strict=True)) for d in columns] for c in columns]
        n = len(columns)
        for eps in (Fraction(0), Fraction(1, 2**2000)):  # semidefinite: definite after any positive shift
            shifted = [[(tau + eps) * (i == j) - gram[i][j] for j in range(n)] for i in range(n)]
            if exactly_positive_definite(shifted):
                break
        else:
            return False
    return product <= Fraction(witness.rho)


RUNS: dict[str, Callable[[np.random.Generator, int], tuple[int, int, int, int]]] = {
    **{family: functools.partial(run_matrix, family) for family in MATRICES},
    "witnesses": functools.partial(run_witness, linear=0.0),
    "linear neurons": functools.partial(run_witness, linear=0.4),
    "version 1": run_version_1,
    "layerwise": run_layerwise,
}
FAMILIES = tuple(RUNS)
_EACH = 10  # cases of one network


def run_case(family: str, seed: int) -> tuple[int, int, int, int]:
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    return RUNS[family](rng, seed // _EACH)


def _chunk(job: tuple[str, int, int]) -> tuple[str, np.ndarray]:
    """Cases, not PD, accepted, false accepts, plain Cholesky's false accepts."""
    family, start, stop = job
    return family, np.array(
        [stop - start, *np.sum([run_case(family, s) for s in range(start, stop)], axis=0)]
    )


def run(
    cases: int, first_seed: int = 0, processes: int = 2, minutes: float = math.inf
) -> dict[str, np.ndarray]:
    """Counts per family; after `minutes` of wall time what has been counted by then."""
    each = -(-cases // len(FAMILIES))
    size = 100
    jobs = [
        (family, first_seed + start, first_seed + min(start + size, each))
        for start in range(0, each, size)
        for family in FAMILIES
    ]
    counts = {family: np.zeros(5, dtype=int) for family in FAMILIES}
    started = time.perf_counter()

    def wanted() -> Iterator[tuple[str, int, int]]:
        for job in jobs:
            if time.perf_counter() - started > 60.0 * minutes:
                return
            yield job

    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        source = wanted()
        while group := list(itertools.islice(source, 2 * len(FAMILIES))):
            for family, result in pool.imap_unordered(_chunk, group):
                counts[family] += result
        pool.close()  # their CPU time counts once they have ended
        pool.join()
    return counts


def table(counts: dict[str, np.ndarray]) -> str:
    head = "| family | cases | not PD | accepted | false accepts | plain Cholesky: false accepts |"
    lines = [head, "|---|---:|---:|---:|---:|---:|"]
    rows: Iterable[tuple[str, np.ndarray]] = [*counts.items(), ("total", sum(counts.values()))]
    lines += [f"| {name} | " + " | ".join(f"{v:,}" for v in row) + " |" for name, row in rows]
    return "\n".join(lines)


def _cpu_seconds() -> float:
    """Of this process and the workers that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop early, with what was counted")
    parser.add_argument("--write", action="store_true", help="write docs/results/fuzz_verifier.md")
    options = parser.parse_args()
    started, cpu = time.perf_counter(), _cpu_seconds()
    counts = run(options.cases, options.seed, options.processes, options.minutes)
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    text = table(counts)
    print(text)
    print(f"{seconds:.0f} s, {options.processes} processes, {cpu / 60:.1f} CPU minutes")
    if options.write:
        target = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "fuzz_verifier.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            "# The verifier against exact arithmetic\n\n"
            f"`python benchmarks/fuzz_verifier.py --cases {options.cases} --seed {options.seed} "
            f"--minutes {options.minutes:g} --write`\n"
            f"({cpu / 60:.1f} CPU minutes; {seconds:.0f} s on {options.processes} processes).\n\n"
            "Each case is compared with exact elimination. The last four families: `verify` without repair,\n"
            "both modes of `check` and the stand-alone checker on networks whose rho was moved by 1e-3 to\n"
            "1e-17 of itself (`linear neurons`: files of version 2; `version 1`: old files of these);\n"
            "the others: the verified Cholesky. The last column is what a plain floating-point Cholesky\n"
            "would have accepted wrongly.\n\n" + text + "\n",
            encoding="utf-8",
        )
    return int(sum(c[3] for c in counts.values()) > 0)


if __name__ == "__main__":
    sys.exit(main())
