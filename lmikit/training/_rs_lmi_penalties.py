"""The sketched penalties of all layers at one step: what they do to the weights and to tau.

A sketch lives on the smaller side of its W_k, for W_k W_k' has the spectrum of W_k'W_k. A kept one goes from
step to step, and every few of them S <- orth(W_k'W_k S): subspace iteration for weights that move little
between steps, which costs one product and no random numbers, and forgets its Gaussian start.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import lapack

from .._eigen import eigenpairs
from ..formulations.rs_lmi import spectrum
from ..sketching import Gaussian
from ._callback import Arrays, read_only
from ._rs_lmi_options import RSLMIOptions
from ._rs_lmi_taus import TauState
from ._sketched_maps import SketchedMap

__all__ = ["Pulls", "first_sketches", "sketched_pulls"]

_REFINE = 4  # sketched steps between two refinements of a kept sketch; the layers take turns


@dataclasses.dataclass(frozen=True, eq=False)
class Pulls:
    """An array per W_k, d/dtau_k of price_k [tau_k + alpha_k P_k], and max(lambda_max, 0)/tau_k per layer.

    None stands for zeros, the array of a layer whose sketched LMI holds. `sketches` are those of the next
    step, none where they are drawn afresh; `eigenvalues` are those of S'(W'W - tau I)S where that has any
    above zero.
    """

    pulls: tuple[np.ndarray | None, ...]
    tau_gradients: tuple[float, ...]
    violation: tuple[float, ...]
    sketches: Arrays
    eigenvalues: tuple[np.ndarray, ...]


def first_sketches(
    maps: Sequence[SketchedMap], weights: Sequence[np.ndarray], options: RSLMIOptions
) -> Arrays:
    """Orthonormal S_k (n, m) that `seed` determines; none where a sketch is drawn at each step."""
    if options.sketch is not None:
        return ()
    found = []
    for k, (each, w) in enumerate(zip(maps, weights, strict=True)):
        operator = each.operator(w)
        m = min(options.m, operator.shape[1])
        drawn = Gaussian().draw(operator, m, seed=options.seed, block=k).matrix
        found.append(read_only(_orthonormal(drawn)))
    return tuple(found)


def sketched_pulls(
    maps: Sequence[SketchedMap],
    weights: Sequence[np.ndarray],
    sketches: Arrays,
    taus: TauState,
    options: RSLMIOptions,
    step: int,
    rate: float | None = None,
) -> Pulls:
    """`every` times the gradients of price_k alpha_k P_k in W_k, at `sketches` or, without, fresh ones.

    With a `rate`, steps instead: rate times that, at most the step that ends a small violation at once.
    """
    tau, turn, count = taus.tau, step // options.every, len(maps)
    weighs, penalty, exact = (taus.price * taus.alpha).tolist(), options.penalty, options.penalty.exact
    tau_gradients, violation = taus.price.tolist(), [0.0] * count
    pulls: list[np.ndarray | None] = [None] * count
    spectra: list[np.ndarray] = []
    kept = list(sketches)
    for k, (each, w) in enumerate(zip(maps, weights, strict=True)):
        s = sketches[k] if sketches else _drawn(each, w, options, step * count + k)
        image = each.image(w, s)
        if sketches and (turn + k) % _REFINE == 0:
            kept[k] = read_only(_orthonormal(each.adjoint(w, image)))
        metric = None
        if sketches:
            gram = image.T @ image
            if exact and _holds(gram, tau[k]):
                continue
            values, vectors = eigenpairs(gram)
            values, norms = values - values.dtype.type(tau[k]), values.dtype.type(1.0)
        else:
            metric = s.T @ s
            values, vectors, norms = spectrum(image, tau[k], metric)
        spectra.append(values)
        size, top = options.every * weighs[k], max(float(values[-1]), 0.0)
        violation[k] = top / tau[k]
        if top == 0.0 and exact:
            continue
        if rate is not None:
            size = min(rate * size, _largest_step(tau[k] + top, metric))
        slope = penalty.derivative(np, values)
        tau_gradients[k] -= weighs[k] * float((slope * norms).sum())
        if exact:  # ascending eigenvalues: those below 0 pull at nothing
            first = int(values.searchsorted(0.0, side="right"))
            vectors, slope = vectors[:, first:], slope[first:]
        scale = w.dtype.type(2.0 * size) * slope.astype(w.dtype, copy=False)
        pulls[k] = each.gradient(w, image @ vectors, s @ (vectors * scale))
    return Pulls(tuple(pulls), tuple(tau_gradients), tuple(violation), tuple(kept), tuple(spectra))


def _holds(gram: np.ndarray, tau: float) -> bool:
    """gram - tau I < 0, by a Cholesky factor: a third of what eigenvalues cost."""
    gap = -gram
    gap.ravel()[:: len(gap) + 1] += gap.dtype.type(tau)
    return bool(_CHOLESKY[gap.dtype.char](gap.T, overwrite_a=1, clean=0)[1] == 0)


def _drawn(each: SketchedMap, w: np.ndarray, options: RSLMIOptions, block: int) -> np.ndarray:
    assert options.sketch is not None
    operator = each.operator(w)
    m = min(options.m, operator.shape[1])
    drawn = options.sketch.draw(operator, m, seed=options.seed, block=block).matrix
    return np.asarray(drawn.astype(w.dtype, copy=False))


def _largest_step(square: float, metric: np.ndarray | None) -> float:
    """A step on P = sum (lambda)_+^2 that takes at most half of a singular value, and all of a small excess.

    d sigma = step 4 sigma (sigma^2 - tau) for orthonormal S; in general |S|^4 times it, at most.
    """
    norm = 1.0 if metric is None else float(np.abs(metric).sum(axis=0).max())
    return 0.125 / (square * norm * norm)


def _orthonormal(y: np.ndarray) -> np.ndarray:
    """Q of y = QR by Householder: orthonormal whatever the rank; NumPy's own costs twice as much here."""
    factor, form = _QR[y.dtype.char]
    m = y.shape[1]
    reflectors, scales, _, _ = factor(y, lwork=32 * m)
    q: Any = form(reflectors, scales, lwork=32 * m, overwrite_a=1)[0]
    return np.asarray(q)


_QR = {"f": (lapack.sgeqrf, lapack.sorgqr), "d": (lapack.dgeqrf, lapack.dorgqr)}
_CHOLESKY = {"f": lapack.spotrf, "d": lapack.dpotrf}
