"""Verified positive definiteness of symmetric block-tridiagonal matrices given as mid +- rad.

THEOREM. u = 2**-53, round to nearest with gradual underflow, B symmetric with b_jj in [1/4, 1) and
|b_ij| < 1, R the factor that floating-point Cholesky computes of B~ = B - diag(c) (in any order of
summation, blocked, with or without fused multiply-add, divisions by a diagonal entry done as one
division or as a multiplication by its rounded reciprocal). t_j is the number of structural nonzeros
above the diagonal in column j of R. If Cholesky completes with R finite and r_jj > 0, then

    R'R = B~ + E,   |E_ij| <= d_i d_j + 4 (n + 2) 2**-1022,   d_j^2 = gamma_j b_jj,
    gamma_j = (t_j + 4) u / (1 - (t_j + 4) u),   E_ij = 0 outside the pattern of R'R.

Proof. r_ij is computed from a sum of b_ij and at most t = min(t_i, t_j) products, then at most two
roundings (reciprocal and product; a square root needs two when squared). Dividing by the factors
(1 + delta) on the path of b_ij, every term carries at most t + 2 factors, so without underflow
|E_ij| <= g_(t+2) |R|_i'|R|_j <= g_(t+2) ||r_i|| ||r_j|| with g_k = k u/(1 - k u) (Higham, Accuracy and
Stability, Lemma 8.4 and Theorem 10.3; Rump and Jeannerod, SIMAX 2014, sharpen it). The diagonal
case gives ||r_j||^2 <= b~_jj / (1 - g_(t_j+2)), and g_(t+2)/(1 - g_(t+2)) <= g_(t+4) as long as
(t + 2)(t + 4) u <= 2, which is checked. Finally g_min(i,j) <= sqrt(g_i g_j). Underflow adds at most
2**-1075 per operation: entries of R are at most 1, reciprocals at most 2**538.

COROLLARY (what is implemented). For a nonnegative symmetric M and p > 0, M <= diag((M p)_i / p_i) in
the semidefinite order (Gershgorin on diag(p)^-1 M diag(p)). With p = d on the pattern of a block-
tridiagonal matrix, row i of block k needs sum of gamma_j b_jj over blocks k-1, k, k+1 only; with
p = 1 the radius needs its row sum. So every symmetric A' with |A' - A| <= rad is positive definite if
Cholesky completes on B - diag(c) where, n the dimension and i a row of block k,

    c_i = [ sum_{j in blocks k-1,k,k+1} gamma_j b_jj + sum_j rad_ij + 8 n (n + 2) 2**-1022 ]
          * (1 + (2n + 24) 2**-52).

The last factor covers the rounding of c itself; 8 n (n + 2) 2**-1022 covers underflow in the
factorisation (<= 4 n (n + 2) 2**-1022 in norm) and in the scaling of A to B and of rad (2**-1074 per
entry). The scalar form of this is in INTLAB's isspd and in ValidSDP (proved in Coq), with total trace
in place of the three blocks; Rump, Verification of positive definiteness, BIT 46 (2006).

NOT COVERED: kernels that invert diagonal blocks, or Strassen products. Hence CPU and float64 only.
"""

import dataclasses
import math

import numpy as np
import scipy.linalg.lapack
import scipy.sparse as sp

__all__ = [
    "BlockTridiagonal",
    "BorderedCholesky",
    "Equilibrated",
    "Verdict",
    "equilibrate",
    "verified_cholesky",
]

U = 2.0**-53
MIN_NORMAL = 2.0**-1022
_BELOW_ONE = 1.0 - 2.0**-53
_LARGE_GRAM = 1e9  # multiplications from which X'X is looked at for zeros
_SPARSE, _SPARSE_COST = 0.2, 100.0  # share of entries; of a multiplication, against a dense one


@dataclasses.dataclass(frozen=True)
class BlockTridiagonal:
    """Symmetric matrices A' with |A' - A| <= rad, A block tridiagonal.

    diagonal[k] is (n_k,) for a diagonal block or (n_k, n_k), symmetric; lower[k] is block
    (k+1, k), shape (n_{k+1}, n_k). The radii have the same shapes; None means exactly 0.
    """

    diagonal: tuple[np.ndarray, ...]
    lower: tuple[np.ndarray, ...]
    diagonal_rad: tuple[np.ndarray | None, ...]
    lower_rad: tuple[np.ndarray | None, ...]

    @classmethod
    def dense(cls, a: np.ndarray, rad: np.ndarray | None = None) -> "BlockTridiagonal":
        """One block: every symmetric matrix within `rad` of `a`."""
        return cls((a,), (), (rad,), ())


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`ok` is a proof; `shift` is the largest c_i; `reason` says why not."""

    ok: bool
    shift: float
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Equilibrated:
    """The equilibrated matrix B with its shifted diagonal; exponents e_i with B = 2**-e A 2**-e."""

    diagonal: tuple[np.ndarray, ...]
    shifted: tuple[np.ndarray, ...]
    lower: tuple[np.ndarray, ...]
    exponents: tuple[np.ndarray, ...]
    shifts: tuple[np.ndarray, ...]  # c, one array per block

    @property
    def shift(self) -> float:
        """The largest c_i."""
        return max(float(c.max()) for c in self.shifts)


def _scaled(block: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """2**-rows_i block_ij 2**-cols_j, exact or with one underflow (<= 2**-1075) per entry."""
    if max(int(np.abs(rows).max()), int(np.abs(cols).max())) < 500:  # products of powers stay normal
        return block * (np.ldexp(1.0, -rows)[:, None] * np.ldexp(1.0, -cols))
    return np.ldexp(block, -(rows[:, None] + cols))


def _diagonal_of(block: np.ndarray) -> np.ndarray:
    return block if block.ndim == 1 else np.diagonal(block)


def equilibrate(a: BlockTridiagonal, headroom: float = 1.0) -> Equilibrated | str:
    """Equilibrate by powers of two and compute the shift c; a string says why A cannot be PD.

    `headroom` >= 1 multiplies c, to leave room for a checker with larger margins.
    """
    diagonals = [_diagonal_of(block) for block in a.diagonal]
    if not all(np.isfinite(d).all() and (d > 0.0).all() for d in diagonals):
        return "a diagonal entry is not a positive finite number"
    if not all(d.ndim == 1 or np.array_equal(d, d.T) for d in a.diagonal):
        return "a diagonal block is not symmetric"
    exponents = [_half_exponents(d) for d in diagonals]
    scaled = [
        np.ldexp(block, -2 * e) if block.ndim == 1 else _scaled(block, e, e)
        for block, e in zip(a.diagonal, exponents, strict=True)
    ]
    lower = [_scaled(c, exponents[k + 1], exponents[k]) for k, c in enumerate(a.lower)]
    inside = all((np.abs(c) < 1.0).all() for c in (*lower, *scaled))  # False for NaN
    if not inside:
        return "an off-diagonal entry reaches the geometric mean of its diagonal entries"
    n = sum(d.size for d in diagonals)
    if (n + 4.0) * (n + 4.0) * U > 1.0:
        return f"the matrix has {n} rows; the rounding theorem is used below 9e7"
    shifts = [max(headroom, 1.0) * c for c in _shifts(a, [_diagonal_of(b) for b in scaled], exponents, n)]
    shifted = [np.nextafter(_diagonal_of(b) - c, -np.inf) for b, c in zip(scaled, shifts, strict=True)]
    if not all((d > 0.0).all() for d in shifted):
        return "a diagonal entry is not above the rounding margin"
    return Equilibrated(tuple(scaled), tuple(shifted), tuple(lower), tuple(exponents), tuple(shifts))


def _shifts(
    a: BlockTridiagonal, diagonals: list[np.ndarray], exponents: list[np.ndarray], n: int
) -> list[np.ndarray]:
    """c of the corollary, one array per block."""
    sums = []
    for k, d in enumerate(diagonals):
        before = diagonals[k - 1].size if k else 0
        t = np.zeros(d.size) if k == 0 and a.diagonal[0].ndim == 1 else np.arange(d.size) + float(before)
        gamma = (t + 4.0) * U / (1.0 - (t + 4.0) * U)
        sums.append(float(np.sum(gamma * d)))
    rows = [np.zeros(d.size) for d in diagonals]
    for k, rad in enumerate(a.diagonal_rad):
        if rad is not None:
            e = exponents[k]
            rows[k] += np.ldexp(rad, -2 * e) if rad.ndim == 1 else _scaled(rad, e, e).sum(axis=1)
    for k, rad in enumerate(a.lower_rad):
        if rad is not None:
            block = _scaled(rad, exponents[k + 1], exponents[k])
            rows[k + 1] += block.sum(axis=1)
            rows[k] += block.sum(axis=0)
    underflow = 8.0 * n * (n + 2.0) * MIN_NORMAL
    factor = 1.0 + (2.0 * n + 24.0) * 2.0**-52
    return [(math.fsum(sums[max(k - 1, 0) : k + 2]) + row + underflow) * factor for k, row in enumerate(rows)]


def verified_cholesky(a: BlockTridiagonal, headroom: float = 1.0) -> Verdict:
    """Prove that every symmetric matrix within the radii of A is positive definite, or say why not.

    Never raises on any floating-point data; `ok` is never true for a matrix that is not positive
    definite (theorem above). The caller has checked the floating-point environment.
    """
    with np.errstate(all="ignore"):
        b = equilibrate(a, headroom)
        if isinstance(b, str):
            return Verdict(False, math.nan, b)
        if _last_factor(b, len(b.diagonal)) is None:
            return Verdict(False, b.shift, "Cholesky broke down after subtracting the rounding margin")
    return Verdict(True, b.shift)


def _last_factor(b: Equilibrated, blocks: int) -> np.ndarray | None:
    """The diagonal block of the factor in the last of so many blocks; None where Cholesky breaks down."""
    factor: np.ndarray | None = None
    for k in range(blocks):
        panel = None if k == 0 else _panel(factor, b.lower[k - 1])
        if panel is not None and not np.isfinite(panel).all():
            return None
        factor = _factor(b.diagonal[k], b.shifted[k], panel)
        if factor is None:
            return None
    return factor


class BorderedCholesky:
    """One factorisation of A for many borders: whether [[A', w'], [w, rho]] is proven PD, per row w.

    The theorem for every bordered matrix: its factor is that of A, shared, and one more column. The
    shifts are those of a border whose diagonal entry is the largest float below 1; no border has a larger
    one after equilibration, and shifts may be larger than needed. Rows and rho carry no radii
    (`graph._rows` gives rows some).
    """

    def __init__(self, a: BlockTridiagonal, headroom: float = 1.0) -> None:
        widest = a.lower[-1].shape[0] if a.lower else _diagonal_of(a.diagonal[0]).size
        bordered = BlockTridiagonal(
            (*a.diagonal, np.array([_BELOW_ONE])),
            (*a.lower, np.zeros((1, widest))),
            (*a.diagonal_rad, None),
            (*a.lower_rad, None),
        )
        self._factor: np.ndarray | None = None
        with np.errstate(all="ignore"):
            b = equilibrate(bordered, headroom)
            if not isinstance(b, str):
                self._factor = _last_factor(b, len(a.diagonal))
                self._exponents, self._shift = b.exponents[-2], float(b.shifts[-1][0])

    def least(self, rows: np.ndarray) -> np.ndarray:
        """For every row w about the least rho that `holds` accepts; NaN where there is none."""
        if self._factor is None:
            return np.full(rows.shape[0], np.nan)
        with np.errstate(all="ignore"):
            size = np.abs(np.ldexp(rows, -self._exponents)).max(axis=1)
            e = np.frexp(size)[1]
            for _ in range(2):  # the second time with the exponents of the rho that came out
                panel = _panel(self._factor, _scaled(rows, e, self._exponents))
                needed = (np.einsum("ij,ij->j", panel, panel) + self._shift) * (1.0 + 2.0**-40)
                rho = np.ldexp(needed, 2 * e)
                e = _half_exponents(rho)
        return np.where(rho > 0.0, rho, np.nan)

    def holds(self, rows: np.ndarray, rho: np.ndarray) -> np.ndarray:
        """Booleans (p,): True is a proof that every matrix within the radii, bordered, is PD."""
        if self._factor is None:
            return np.zeros(rho.shape, dtype=bool)
        with np.errstate(all="ignore"):
            usable = np.isfinite(rho) & (rho > 0.0)
            e = _half_exponents(np.where(usable, rho, 1.0))
            border = _scaled(rows, e, self._exponents)
            shifted = np.nextafter(np.ldexp(rho, -2 * e) - self._shift, -np.inf)
            usable &= (np.abs(border) < 1.0).all(axis=1) & (shifted > 0.0)
            panel = _panel(self._factor, border)
            pivots = shifted - np.einsum("ij,ij->j", panel, panel)
            return np.asarray(usable & np.isfinite(panel).all(axis=0) & (pivots > 0.0) & np.isfinite(pivots))


def _half_exponents(diagonal: np.ndarray) -> np.ndarray:
    """e with 4**-e d in [1/4, 1)."""
    return -((-np.frexp(diagonal)[1]) // 2)  # ceil(x / 2)


def _panel(factor: np.ndarray | None, lower: np.ndarray) -> np.ndarray:
    """X with factor X = lower', shape (n_{k-1}, n_k)."""
    assert factor is not None
    if factor.ndim == 1:
        return np.ascontiguousarray(lower.T) / factor[:, None]
    solution, info = scipy.linalg.lapack.dtrtrs(factor, lower.T, lower=1)
    return solution if info == 0 else np.full_like(solution, np.nan)


def _gram(panel: np.ndarray) -> np.ndarray:
    """X'X, as a product of sparse matrices where that is quicker: zeros are terms that change no sum."""
    dense = 0.5 * panel.size * panel.shape[1]
    if dense > _LARGE_GRAM and np.count_nonzero(panel) < _SPARSE * panel.size:
        sparse = sp.csr_array(panel)
        if _SPARSE_COST * float((np.diff(sparse.indptr).astype(float) ** 2).sum()) < dense:
            return np.asarray((sparse.T @ sparse).toarray())
    return np.asarray(panel.T @ panel)


def _factor(block: np.ndarray, shifted: np.ndarray, panel: np.ndarray | None) -> np.ndarray | None:
    """Lower Cholesky factor of block (its diagonal replaced by `shifted`) - panel'panel, or None.

    A diagonal block without panel has a diagonal factor, returned as a vector.
    """
    if panel is None and block.ndim == 1:
        return np.sqrt(shifted)
    full = np.diag(shifted) if block.ndim == 1 else block.copy()
    np.fill_diagonal(full, shifted)
    if panel is not None:
        full -= _gram(panel)
    factor, info = scipy.linalg.lapack.dpotrf(full.T, lower=1, clean=1, overwrite_a=1)
    good = info == 0 and np.isfinite(factor).all() and (np.diagonal(factor) > 0.0).all()
    return factor if good else None
