"""The forward elimination of the LipSDP matrix, its gradient, and exact calibration of scales.

Notation (one hidden layer k; everything per neuron is a vector): W = W_{k-1}, slopes in
[alpha, beta], centre c = (alpha + beta)/2, radius r = (beta - alpha)/2, gain
m = max(|alpha|, |beta|) = |c| + r, ratio kappa = r/m in [0, 1]. Multipliers are carried as
d = 1/Lambda, Lambda = 2 T / rho (identity on the input, F = 1/rho on the output).

Eliminating the layers in order from the matrix of `lmikit.Witness` gives, with X_0 = I,

    Xhat = X_{k-1} + W'diag(alpha beta Lambda)W,  X_k = Lambda - c Lambda W Xhat^-1 W' Lambda c,
    rho = lambda_max(W_L X_L^-1 W_L')            (Xu, Sivaranjani, ECLipsE, NeurIPS 2024).

Lemma 1. With G = W X_{k-1}^-1 W': Xhat > 0 and X_k > 0 if and only if K = diag(d) - r G r > 0, and
then (all vectors as diagonal matrices)

    X_k^-1 = d + c (G + G r K^-1 r G) c = (1 - g^2) d + g d K^-1 d g,     g = c/r (where r > 0).

Proof. [[Xhat, -W'Lambda c], [-c Lambda W, Lambda]] is congruent to diag(Xhat, X_k) and, eliminating the
other way round, to diag(Lambda, X_{k-1} - W'r^2 Lambda W), because c^2 - alpha beta = r^2. The last
block is positive if and only if Lambda^-1 > r G r. X_k^-1 is the lower right block of the inverse,
d + c W (X_{k-1} - W' r^2 Lambda W)^-1 W' c; Woodbury gives the first form, and
r G r = d - K the second. Every sign of alpha beta is covered, and no inverse of X is taken.

Lemma 2. If E is diagonal, E >= m G m (Loewner) and d = kappa E, then K >= 0 and X_k^-1 <= E.
Proof. E >= m G m means X_{k-1} >= W'(m^2/E)W. With v = Wx and |beta| >= |alpha| (mirror v otherwise),
m^2 v^2 - w^2 - (m/r)(w - alpha v)(beta v - w) = (beta + alpha)/(beta - alpha) (beta v - w)^2 >= 0,
so w'X_k w = min_x x'X_{k-1}x - sum (1/d)(w - alpha v)(beta v - w) >= sum w^2/E when 1/d = m/(r E).
K = kappa E - kappa (m G m) kappa >= kappa (1 - kappa) E >= 0.
Slopes [0, 1]: kappa = 1/2, d = E/2: Theorem 1 of Syed and Hu (arXiv 2503.14297).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import blas, lapack

from .._eigen import top_eigenpair
from ..network import Network

__all__ = [
    "COMPACT_RATIO",
    "EliminatedChain",
    "Evaluation",
    "Step",
    "advance",
    "chain_of",
    "evaluate",
    "exact_shift",
    "finish",
    "first_gram",
    "gradient",
    "rescaled",
]

# c/r beyond this cancels digits in the compact form of Lemma 1; the first form has no differences.
COMPACT_RATIO = 16.0
# Multipliers of neurons with alpha = beta are kept finite: the bound loosens by about this factor.
_SMALLEST_KAPPA = 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class EliminatedChain:
    """A feed-forward network as the recursion sees it; weights are 2**-layer_pow2 times the original."""

    weights: tuple[np.ndarray, ...]
    centre: tuple[np.ndarray, ...]
    radius: tuple[np.ndarray, ...]
    gain: tuple[np.ndarray, ...]
    kappa: tuple[np.ndarray, ...]
    layer_pow2: tuple[int, ...]

    @property
    def hidden_layers(self) -> int:
        return len(self.weights) - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One eliminated layer: the Cholesky factor of K, d, and what the adjoint needs."""

    factor: np.ndarray
    d: np.ndarray
    ratio: np.ndarray | None  # c/r in the compact form
    cross: np.ndarray | None  # factor^-1 r G c otherwise

    def solve(self, a: np.ndarray, radius: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b, z) with b = K^-1 r G c a and z = c a + r b, for a of shape (n, j)."""
        if self.cross is not None:
            b = blas.dtrsm(1.0, self.factor, self.cross @ a, lower=1, trans_a=1)
            return b, centre[:, None] * a + radius[:, None] * b
        assert self.ratio is not None
        scaled = blas.dtrsm(1.0, self.factor, (self.d * self.ratio)[:, None] * a, lower=1)
        scaled = blas.dtrsm(1.0, self.factor, scaled, lower=1, trans_a=1)
        return scaled - self.ratio[:, None] * a, radius[:, None] * scaled


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """rho for given multipliers, the output direction that attains it, and the eliminated layers."""

    rho: float
    direction: np.ndarray
    steps: tuple[Step, ...]
    d: tuple[np.ndarray, ...]


def chain_of(network: Network) -> EliminatedChain:
    """The chain of `network`, whose layers are prepared: squares of its entries are in range."""
    centre, radius, gain, kappa = [], [], [], []
    for alpha, beta in network.slopes:
        m = np.maximum(np.abs(alpha), np.abs(beta))
        r = 0.5 * beta - 0.5 * alpha
        centre.append(0.5 * alpha + 0.5 * beta)
        radius.append(r)
        gain.append(m)
        kappa.append(np.maximum(r / np.where(m > 0.0, m, 1.0), _SMALLEST_KAPPA))
    weights = tuple(np.ascontiguousarray(w) for w in network.weights)
    unscaled = (0,) * len(weights)
    return EliminatedChain(weights, tuple(centre), tuple(radius), tuple(gain), tuple(kappa), unscaled)


def rescaled(chain: EliminatedChain, extra_pow2: Sequence[int]) -> EliminatedChain:
    """The chain with weights 2**-extra_pow2[k] * W_k."""
    if not any(extra_pow2):
        return chain
    weights = tuple(np.ldexp(w, -p) if p else w for w, p in zip(chain.weights, extra_pow2, strict=True))
    pow2 = tuple(p + q for p, q in zip(chain.layer_pow2, extra_pow2, strict=True))
    return dataclasses.replace(chain, weights=weights, layer_pow2=pow2)


def exact_shift(weight: np.ndarray, wanted: int) -> int:
    """The power nearest to `wanted` by which 2**-power * weight stays exact (no underflow)."""
    if wanted <= 0:
        return wanted
    magnitude = np.abs(weight[weight != 0.0])
    if magnitude.size == 0:
        return 0
    room = math.frexp(float(magnitude.min()))[1] + 1020
    return max(0, min(wanted, room))


def advance(chain: EliminatedChain, k: int, g: np.ndarray, d: np.ndarray) -> tuple[Step, np.ndarray] | None:
    """(step, W_k X_k^-1 W_k') for hidden layer k = 1..L from g = W_{k-1} X_{k-1}^-1 W_{k-1}' and
    d = 1/Lambda_k; None where K of Lemma 1 is not positive definite."""
    centre, radius, weight = chain.centre[k - 1], chain.radius[k - 1], chain.weights[k]
    k_matrix = g * radius
    k_matrix *= -radius[:, None]
    k_matrix.ravel()[:: k_matrix.shape[0] + 1] += d
    factor, info = lapack.dpotrf(k_matrix.T, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        return None
    if (np.abs(centre) <= COMPACT_RATIO * radius).all():
        ratio = centre / np.where(radius > 0.0, radius, 1.0)
        v = blas.dtrsm(1.0, factor, (d * ratio)[:, None] * weight.T, lower=1, overwrite_b=1)
        following = v.T @ v
        rest = (1.0 - ratio * ratio) * d
        if rest.any():
            following += (weight * rest) @ weight.T
        return Step(factor, d, ratio, None), following
    cross = blas.dtrsm(1.0, factor, radius[:, None] * g * centre, lower=1)
    inverse = centre[:, None] * g * centre + cross.T @ cross
    inverse.ravel()[:: inverse.shape[0] + 1] += d
    return Step(factor, d, None, cross), weight @ inverse @ weight.T


def first_gram(chain: EliminatedChain) -> np.ndarray:
    """W_0 W_0' (X_0 = I)."""
    w = chain.weights[0]
    return w @ w.T


def finish(gram: np.ndarray, steps: Sequence[Step]) -> Evaluation | None:
    """The evaluation whose last matrix W_L X_L^-1 W_L' is `gram`."""
    if not np.isfinite(gram).all():
        return None
    rho, vector = top_eigenpair(gram)
    return Evaluation(rho, vector, tuple(steps), tuple(s.d for s in steps))


def evaluate(chain: EliminatedChain, d: Sequence[np.ndarray]) -> Evaluation | None:
    """rho minimised for the multipliers Lambda_k = 1/d[k-1]; None where they are infeasible."""
    gram, steps = first_gram(chain), []
    for k, d_k in enumerate(d, start=1):
        result = advance(chain, k, gram, d_k)
        if result is None:
            return None
        steps.append(result[0])
        gram = result[1]
    return finish(gram, steps)


def gradient(chain: EliminatedChain, at: Evaluation) -> tuple[np.ndarray, ...]:
    """d log(rho) / d log(d_k), one array per hidden layer.

    With a_L = W_L'u: d rho/d d_k = a_k^2 - b_k^2, b_k = K^-1 r G c a_k, and a_{k-1} = W_{k-1}'(c a_k + r b_k)
    (differentiate Lemma 1; the adjoint of a quadratic form stays of rank one).
    """
    a = (chain.weights[-1].T @ at.direction)[:, None]
    result: list[np.ndarray] = []
    for k in range(chain.hidden_layers, 0, -1):
        b, z = at.steps[k - 1].solve(a, chain.radius[k - 1], chain.centre[k - 1])
        result.append(((a * a - b * b)[:, 0] * at.d[k - 1]) / at.rho)
        a = chain.weights[k - 1].T @ z
    return tuple(result[::-1])
