"""The proof of a torus witness, and the repair that looks for a provable one near a proposal.

THEOREM (`lmikit.torus._form`): the circular inequality per frequency proves the bound of the network.
Without a head: the lifted matrix of every frequency with D_out = d_out I is positive definite, so that
2 s'dy <= d_in |dx|^2 + d_out |s|^2 frequency by frequency, and |dy|^2 <= d_in d_out |dx|^2.

With a head, v_1 = M^(-1/2) sum_w U(w) z(w), M = m_1 m_2, z unitary. For every frequency a real
symmetric G_w is taken for which [[trunk(w), -U(w)'], [-U(w), G_w]] is positive definite on real s; with
s(w) = M^(-1/2) s and the sum over all frequencies, 2 s'v_1 <= d_in |dx|^2 + s'G s, G = sum_w G_w / M. Taking
s = S_1 T_1 w_1 (the first fully connected nonlinearity has Pi_1 = 0), positive definiteness of the head's
matrix, whose first block is 2 T_1 - S_1 T_1 G T_1 S_1, adds up with the constraints of the head to
2 s'dy <= d_in |dx|^2 + d_out |s|^2.
"""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import scipy.linalg

from ..._errors import InputError, NotCertified
from ...graph._enclosure import EnclosedMatrix
from ...torus import TorusForm, TorusWitness
from .._verified_cholesky import BlockTridiagonal, Verdict, verified_cholesky
from ._frequency import Frequency, frequencies, slope_factors

__all__ = ["TorusProof", "fault", "prove_torus", "repair_torus", "root_above"]

_U = 2.0**-53
_HEADROOM = 6.0  # room for other checkers' margins
_GROWTHS = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
_TILTS = (0.0, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2)
_ABOVE = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)  # of G_w over U X^-1 U', relatively


@dataclasses.dataclass(frozen=True)
class TorusProof:
    """The witness as proven, the bound that follows, and the largest rounding shift it survived."""

    witness: TorusWitness
    bound: float
    shift: float


def fault(form: TorusForm, witness: TorusWitness) -> str:
    """Why the witness is no admissible one for the form; the empty string if it is."""
    sizes = [form.graph.nodes[k].size for k in form.head_nodes]
    if [t.size for t in witness.multipliers] != list(form.channels) or [
        t.size for t in witness.head
    ] != sizes:
        return "the multipliers do not have the sizes of the network's channels and neurons"
    if witness.cells != form.cells:
        return f"the witness is for {witness.cells} cells, not {form.cells}"
    if not all(math.isfinite(d) and d > 0.0 for d in (witness.d_in, witness.d_out)):
        return "d_in or d_out is not a positive number"
    if not all(np.isfinite(t).all() and (t >= 0.0).all() for t in (*witness.multipliers, *witness.head)):
        return "a multiplier is NaN, infinite or negative"
    return ""


def root_above(witness: TorusWitness) -> float:
    """The least float found at or above sqrt(d_in d_out)."""
    square = Fraction(witness.d_in) * Fraction(witness.d_out)
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    try:  # the square alone may leave the range, its root does not
        bound = math.ldexp(math.sqrt(float(square / Fraction(4) ** half)), half)
    except OverflowError:
        return math.inf
    while math.isfinite(bound) and Fraction(bound) ** 2 < square:
        bound = math.nextafter(bound, math.inf)
    return bound


def prove_torus(form: TorusForm, witness: TorusWitness, headroom: float = 1.0) -> TorusProof:
    """Prove exactly what the witness says; raises NotCertified, InputError for one of another network."""
    wrong = fault(form, witness)
    if wrong:
        raise InputError(f"the witness does not fit the network: {wrong}.")
    shift = 0.0
    gram: EnclosedMatrix | None = None
    for frequency in frequencies(form, witness):
        if form.head is None:
            rows = np.full(frequency.last.mid.shape[0], witness.d_out)
            verdict = verified_cholesky(frequency.lifted(rows), headroom)
        else:
            verdict, own = _proven_gram(frequency, headroom)
            term = EnclosedMatrix(frequency.weight * own)  # 1 or 2 times a float: exact
            gram = term if gram is None else gram + term
        if not verdict.ok:
            raise NotCertified(
                f"the matrix of frequency {frequency.point} is not proven positive definite "
                f"({verdict.reason}). Verify with repair=True, or solve more accurately."
            )
        shift = max(shift, verdict.shift)
    if form.head is not None:
        assert gram is not None
        verdict = verified_cholesky(head_matrix(form, witness, _divided(gram, form.positions)), headroom)
        if not verdict.ok:
            raise NotCertified(
                f"the matrix of the fully connected layers is not proven definite ({verdict.reason})."
            )
        shift = max(shift, verdict.shift)
    return TorusProof(witness, root_above(witness), shift)


def _proven_gram(frequency: Frequency, headroom: float) -> tuple[Verdict, np.ndarray]:
    """(verdict, G_w): the first of some symmetric matrices slightly above U X^-1 U' that is proven."""
    gram = _gram(frequency)
    index = np.diag_indices_from(gram)
    floor = 1e-3 * np.trace(gram) / len(gram) + _floor(frequency)
    for above in _ABOVE:
        own = gram * (1.0 + above)
        own[index] = own[index] * (1.0 + above) + above * floor
        verdict = verified_cholesky(frequency.lifted(own), headroom)
        if verdict.ok:
            break
    return verdict, own


def _floor(frequency: Frequency) -> np.ndarray:
    """Per row of U, what its terms are worth where they cancel, so that radii are covered; (r,), positive.

    In the units of U X^-1 U', whatever those of the nodes that U reads: each term has its own entry of X.
    """
    U, X = frequency.last, frequency.trunk.diagonal[-1]
    rad = np.zeros_like(U.mid) if U.rad is None else U.rad
    size = 2.0**50 * rad / np.sqrt(np.maximum(np.diagonal(X), 1e-300))
    return np.asarray(1e-3 * size.max(axis=1) ** 2 + 1e-250)


def _gram(frequency: Frequency) -> np.ndarray:
    """U X^-1 U', X the Schur complement of the last level, in floats; raises NotCertified."""
    t = frequency.trunk
    X = t.diagonal[0]
    try:
        for k, lower in enumerate(t.lower):
            half = scipy.linalg.solve_triangular(np.linalg.cholesky(X), lower.T, lower=True)
            X = t.diagonal[k + 1] - half.T @ half
        half = scipy.linalg.solve_triangular(np.linalg.cholesky(X), frequency.last.mid.T, lower=True)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise NotCertified(f"the trunk's matrix of frequency {frequency.point} is not definite.") from error
    gram = half.T @ half
    return np.asarray(np.tril(gram) + np.tril(gram, -1).T)


def _divided(gram: EnclosedMatrix, m: int) -> EnclosedMatrix:
    """The sum over all frequencies divided by their number."""
    mid = gram.mid / m
    rad = (1.0 + 2.0**-40) * (
        2.0 * _U * np.abs(mid) + (0.0 if gram.rad is None else gram.rad) / m
    ) + 2.0**-1060
    return EnclosedMatrix(mid, rad)


def head_matrix(form: TorusForm, witness: TorusWitness, gram: EnclosedMatrix) -> BlockTridiagonal:
    """The head's matrix in (w_1, .., w_H, s)."""
    assert form.head is not None
    outputs = np.full(form.graph.output_dim, witness.d_out)
    if not form.head_nodes:
        top = (EnclosedMatrix(np.diag(outputs)) + -gram).symmetric()
        return BlockTridiagonal((top.mid,), (), (top.rad,), ())
    diagonal: list[EnclosedMatrix] = []
    lower: list[EnclosedMatrix] = []
    for index, (k, t) in enumerate(zip(form.head_nodes, witness.head, strict=True)):
        factors, square = slope_factors(*form.slopes(k), t)
        block = EnclosedMatrix(np.diag(2.0 * t))
        if index == 0:
            scaled = gram.rows_times(*factors).T.rows_times(*factors)
            block = (block + -scaled).symmetric()
        else:
            linear = form.head.maps[index - 1]
            lower.append(linear.rows_times(*factors))
            if square is not None:
                diagonal[-1] = (diagonal[-1] + linear.T @ linear.rows_times(*square)).symmetric()
        diagonal.append(block)
    lower.append(-form.head.maps[-1])
    return BlockTridiagonal(
        (*(d.mid for d in diagonal), outputs),
        tuple(e.mid for e in lower),
        (*(d.rad for d in diagonal), None),
        tuple(e.rad for e in lower),
    )


def repair_torus(form: TorusForm, witness: TorusWitness) -> TorusProof:
    """The best proof near the witness: d_out as its multipliers ask for, perhaps tilted; NotCertified."""
    clipped = dataclasses.replace(
        witness,
        multipliers=tuple(_clipped(t) for t in witness.multipliers),
        head=tuple(_clipped(t) for t in witness.head),
    )
    wrong = fault(form, dataclasses.replace(clipped, d_out=1.0))
    if wrong:
        raise InputError(f"the witness does not fit the network: {wrong}.")
    best: TorusProof | None = None
    for tilt in _TILTS:
        tilted = _tilted(clipped, tilt)
        needed = _needed_output(form, tilted)
        if not math.isfinite(needed) or (best is not None and needed >= best.witness.d_out):
            continue
        found = _at_least(form, tilted, needed)
        if found is not None and (best is None or found.bound < best.bound):
            best = found
        if best is not None and best.witness.d_out <= needed * (1.0 + max(1e-6, 10.0 * tilt)):
            break
    if best is None:
        raise NotCertified(
            "no output weight made the matrices of all frequencies provably positive definite."
        )
    return best


def _clipped(t: np.ndarray) -> np.ndarray:
    t = np.where(np.isfinite(t), t, 0.0)
    return np.asarray(np.maximum(t, 1e-10 * t.max(initial=0.0)))


def _tilted(witness: TorusWitness, e: float) -> TorusWitness:
    """T_k (1 + e)^(- k), which turns >= 0 into > 0 along a chain."""
    if e == 0.0:
        return witness
    count = len(witness.multipliers)
    return dataclasses.replace(
        witness,
        multipliers=tuple(t * (1.0 + e) ** -(k + 1.0) for k, t in enumerate(witness.multipliers)),
        head=tuple(t * (1.0 + e) ** -(count + k + 1.0) for k, t in enumerate(witness.head)),
    )


def _needed_output(form: TorusForm, witness: TorusWitness) -> float:
    """The least d_out in floating point; infinite where the rest is not definite. It proves nothing."""
    largest, gram = 0.0, np.zeros((1, 1))
    try:
        for frequency in frequencies(form, witness):
            own = _gram(frequency)
            own[np.diag_indices_from(own)] += 1e-10 * _floor(frequency)
            if form.head is None:
                largest = max(largest, float(np.linalg.eigvalsh(own)[-1]))
            else:
                gram = gram + frequency.weight * own / form.positions
    except NotCertified:
        return math.inf
    if form.head is None:
        return largest
    if not form.head_nodes:
        return float(np.linalg.eigvalsh(gram)[-1])
    matrix = head_matrix(form, dataclasses.replace(witness, d_out=1.0), EnclosedMatrix(gram))
    X = matrix.diagonal[0]
    try:
        for k, lower in enumerate(matrix.lower):
            half = scipy.linalg.solve_triangular(np.linalg.cholesky(X), lower.T, lower=True)
            if k + 1 == len(matrix.lower):
                return float(np.linalg.eigvalsh(half.T @ half)[-1])
            X = matrix.diagonal[k + 1] - half.T @ half
    except (np.linalg.LinAlgError, ValueError):
        return math.inf
    return math.inf


def _at_least(form: TorusForm, witness: TorusWitness, needed: float) -> TorusProof | None:
    """Proven at the first growth of d_out that works."""
    attempt: Callable[[float], TorusProof] = lambda d_out: prove_torus(  # noqa: E731
        form, dataclasses.replace(witness, d_out=d_out), _HEADROOM
    )
    for growth in _GROWTHS:
        try:
            return attempt(max(needed, 1e-300) * (1.0 + growth))
        except NotCertified:
            continue
    return None
