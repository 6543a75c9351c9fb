"""The independent checker: the claim of a certificate file, proven again by other means than `verify`.

It shares with `verify` the reading of files and the test of the floating-point environment, nothing
else: its own hashes, its own exact-zero rule (reachability), its own forming of the LMI, its own
factorisation and another theorem. Given any lower-triangular G of the block pattern, however it
was computed,

    B = G G' + F,   G G' >= 0,   so  F diagonally dominant with nonnegative diagonal  =>  B >= 0.

Float mode bounds F with radii (`_check_float`), exact mode computes it in integers
(`_check_exact`), where no rounding theory is needed at all.
"""

import hashlib
import math
from fractions import Fraction

import numpy as np

from .._errors import InputError
from ..network import DenseMap, Network, SparseMap
from ._check_exact import eliminated_exact_margin, exact_margin
from ._check_float import eliminated_float_margin, float_margin
from ._check_wide import LARGEST_DENSE, wide_margin
from ._format_read import parse
from ._kinds import CheckResult, guarded, register
from ._records import FORMAT, Document

__all__ = ["check_lipschitz"]


class _Refused(Exception):
    """A reason to refuse; it never leaves this file."""


def check_lipschitz(text: str, network: Network, exact: bool) -> CheckResult:
    """The checker of `lmikit-cert` files, Lipschitz bounds; raises InputError for what is no Network."""
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    return guarded(lambda: parse(text), lambda document: _decide(document, network, exact))


def _decide(document: Document, network: Network, exact: bool) -> CheckResult:
    try:
        return _check_document(document, network, exact)
    except _Refused as refusal:
        return CheckResult(False, str(refusal))


def _check_document(document: Document, network: Network, exact: bool) -> CheckResult:
    _compare_network(document, network)
    wide = any(layer.linear.shape[0] * layer.linear.shape[1] > LARGEST_DENSE for layer in network.layers)
    weights = [] if wide else _scaled_weights(network, document.witness.layer_pow2)
    slopes = [(layer.alpha, layer.beta) for layer in network.layers[:-1]]
    rho, bound = document.witness.rho, document.bound
    if not (rho >= 0.0 and bound >= 0.0):
        raise _Refused(f"rho={rho!r} or L={bound!r} is negative")
    if Fraction(rho) * Fraction(4) ** sum(document.witness.layer_pow2) > Fraction(bound) ** 2:
        raise _Refused(f"rho={rho!r} exceeds L^2 for L={bound!r}")
    for k, t in enumerate(document.witness.multipliers):
        if (t < 0.0).any():
            raise _Refused(f"multipliers[{k}] holds a negative number")
    if wide:
        return _check_wide(document, network, slopes, exact)
    alive = _alive(weights, slopes)
    if not all(a.any() for a in alive):
        return CheckResult(True, "the output is exactly independent of the input", 0.0)
    if bound == 0.0:
        raise _Refused("L = 0 is claimed, but the output depends on the input")
    weights = [w[np.ix_(alive[k + 1], alive[k])] for k, w in enumerate(weights)]
    slopes = [(a[m], b[m]) for (a, b), m in zip(slopes, alive[1:-1], strict=True)]
    if document.witness.kind == "lipsdp":
        multipliers = [t[m] for t, m in zip(document.witness.multipliers, alive[1:-1], strict=True)]
        margin = _margin(weights, slopes, multipliers, rho, exact, document.version == 2)
        what = "the lifted LMI is positive semidefinite"
    else:
        margin = _check_layers(document, weights, slopes, exact)
        what = "every tau_k I - W_k'W_k is positive semidefinite"
    how = "in exact integers" if exact else "with radii for every rounding"
    if margin >= 0.0:
        return CheckResult(True, f"{what}, {how}", margin)
    return CheckResult(False, f"not proven that {what}, {how}", margin)


def _margin(
    weights: list[np.ndarray],
    slopes: list[tuple[np.ndarray, np.ndarray]],
    multipliers: list[np.ndarray],
    rho: float,
    exact: bool,
    eliminated: bool = False,
) -> float:
    if eliminated:
        multipliers = [t[a < b] for t, (a, b) in zip(multipliers, slopes, strict=True)]
    if not (rho > 0.0 and all((t > 0.0).all() for t in multipliers)):
        raise _Refused("rho or the multiplier of a neuron that matters is zero")
    if eliminated:
        how = eliminated_exact_margin if exact else eliminated_float_margin
    else:
        how = exact_margin if exact else float_margin
    return how(weights, slopes, multipliers, rho)


def _check_layers(
    document: Document, weights: list[np.ndarray], slopes: list[tuple[np.ndarray, np.ndarray]], exact: bool
) -> float:
    _check_product(document, slopes)
    margin = math.inf
    for w, t in zip(weights, document.witness.multipliers, strict=True):
        oriented = w if w.shape[1] >= w.shape[0] else w.T
        margin = min(margin, _margin([oriented], [], [], float(t[0]), exact))
    return margin


def _check_wide(
    document: Document, network: Network, slopes: list[tuple[np.ndarray, np.ndarray]], exact: bool
) -> CheckResult:
    """Every layer by itself: dense blocks where they fit, else weighted row sums of the sparse entries."""
    if document.witness.kind != "layerwise":
        raise _Refused("a layer is too large for dense blocks; expected a layerwise certificate")
    if not document.bound > 0.0:
        raise _Refused("L = 0 is claimed for a network with layers too large for the exact-zero rule")
    _check_product(document, slopes)
    margin = math.inf
    taus = [float(t[0]) for t in document.witness.multipliers]
    for k, (layer, p, tau) in enumerate(zip(network.layers, document.witness.layer_pow2, taus, strict=True)):
        rows, columns = layer.linear.shape
        if rows * columns > LARGEST_DENSE:
            # tau I - V'V for V = 2**-p W says the same as 4**p tau I - W'W
            margin = min(
                margin, wide_margin(layer.linear.to_sparse(), Fraction(tau) * Fraction(4) ** p, exact)
            )
        else:
            w = _scaled_weight(layer.linear.to_dense(), p, k)
            margin = min(margin, _margin([w if columns >= rows else w.T], [], [], tau, exact))
    how = "exactly" if exact else "with radii for every rounding"
    what = "every tau_k I - W_k'W_k is positive semidefinite, of wide layers by weighted row sums"
    return CheckResult(margin >= 0.0, f"{'' if margin >= 0.0 else 'not proven that '}{what}, {how}", margin)


def _check_product(document: Document, slopes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    product = Fraction(1)
    for t in document.witness.multipliers:
        product *= Fraction(float(t[0]))
    for alpha, beta in slopes:
        product *= max(Fraction(float(abs(v))) for pair in (alpha, beta) for v in pair) ** 2
    if product > Fraction(document.witness.rho):
        raise _Refused("rho is below the product of all tau and squared slope gains")


def _compare_network(document: Document, network: Network) -> None:
    record = document.network
    dims = (network.input_dim, *(layer.linear.shape[0] for layer in network.layers))
    if record.dims != dims:
        raise _Refused(f"it is for a network with dims {list(record.dims)}; this one has {list(dims)}")
    for k, (alpha, beta) in enumerate(record.slopes):
        layer = network.layers[k]
        if not (np.array_equal(alpha, layer.alpha) and np.array_equal(beta, layer.beta)):
            raise _Refused(f"the slope bounds of hidden layer {k + 1} are not this network's")
    for k, (weight, layer) in enumerate(zip(record.weights, network.layers, strict=True)):
        if weight.sha256 != _sha256(layer.linear):
            raise _Refused(f"the SHA-256 of weight {k} is not this network's")
        if weight.kind != _kind(layer.linear):
            raise _Refused(f"weight {k} is {weight.kind!r}; this network's is {_kind(layer.linear)!r}")


def _kind(linear: object) -> str:
    if isinstance(linear, (DenseMap, SparseMap)):
        return "dense" if isinstance(linear, DenseMap) else "csr"
    return type(linear).__name__


def _sha256(linear: object) -> str:
    """The hash of docs/certificate_format.md, by this file's own code."""
    if isinstance(linear, DenseMap):
        rows, cols = linear.matrix.shape
        body = linear.matrix.astype("<f8").tobytes("C")
        return hashlib.sha256(b"dense F64 %dx%d\n" % (rows, cols) + body).hexdigest()
    if isinstance(linear, SparseMap):
        m = linear.matrix
        rows, cols = m.shape
        body = m.indptr.astype("<i8").tobytes() + m.indices.astype("<i8").tobytes()
        body += m.data.astype("<f8").tobytes()
        return hashlib.sha256(b"csr F64 %dx%d\n" % (rows, cols) + body).hexdigest()
    return str(linear.digest)  # type: ignore[attr-defined]  # other maps define their own


def _scaled_weights(network: Network, pow2: tuple[int, ...]) -> list[np.ndarray]:
    result = []
    for k, (layer, p) in enumerate(zip(network.layers, pow2, strict=True)):
        result.append(_scaled_weight(layer.linear.to_dense(), p, k))
    return result


def _scaled_weight(w: np.ndarray, p: int, k: int) -> np.ndarray:
    scaled = np.ldexp(w, -p)
    if not (np.isfinite(scaled).all() and np.array_equal(np.ldexp(scaled, p), w)):
        raise _Refused(f"weight {k} cannot be scaled by 2**{-p} exactly")
    return scaled


def _alive(weights: list[np.ndarray], slopes: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Units of each layer (input and output included) on a path of nonzero weights and slopes.

    All inputs and outputs are kept as long as one path joins them; otherwise the layers come
    back empty and the output is constant.
    """
    usable = [np.ones(weights[0].shape[1], dtype=bool)]
    usable += [(alpha != 0.0) | (beta != 0.0) for alpha, beta in slopes]
    usable.append(np.ones(weights[-1].shape[0], dtype=bool))
    edges = [w != 0.0 for w in weights]
    forward = [usable[0]]
    for k, edge in enumerate(edges):
        forward.append(usable[k + 1] & (edge @ forward[k]))
    backward = [usable[-1]]
    for k in range(len(edges) - 1, -1, -1):
        backward.append(usable[k] & (edges[k].T @ backward[-1]))
    both = [f & b for f, b in zip(forward, reversed(backward), strict=True)]
    if not both[0].any():
        return both
    return [np.ones_like(both[0]), *both[1:-1], np.ones_like(both[-1])]


register(FORMAT, check_lipschitz)
