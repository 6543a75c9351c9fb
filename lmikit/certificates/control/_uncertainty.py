"""Robust stability and robust gains: multipliers of every block of an uncertain loop.

With z = (x, p, d), q = C_q x + D_q z, the block classes give quadratic forms that are nonnegative
along the loop, in integrals over [0, T] or pointwise:

sector     2 sum_i l_i (p_i - lower_i q_i)(upper_i q_i - p_i), l >= 0
Popov      2 sum_i k_i d/dt integral_0^q_i (phi_i(s) - lower_i s) ds = 2 sum_i k_i (p_i - lower_i q_i)
q_i', k >= 0, for time-invariant phi in continuous time and q that does not depend directly on p and d
slope      those of a sector, Popov's, and in discrete time, with a = p - lower q and b = upper q - p, both 0
           before time 0, Zames and Falb's: 2 sum_k h_k a_t (b_t - b_{t-k}) + g_k (a_t - a_{t-k}) b_t, h and
           g >= 0, and for odd phi the same with + in place of -: a and b are nondecreasing functions of q
           that are 0 at 0, hence sum_t a_t b_s(t) <= sum_t a_t b_t for every rearrangement s, up to any T
delay      bound^2 v'R v - (q - p)'R(q - p), v = q' or the difference of q, R >= 0 (Jensen's inequality), and
           for a constant delay q'X q - p'X p, X >= 0
norm       l (bound^2 q'q - p'p), l >= 0
repeated   bound^2 q'X q - p'X p + 2 q'Y p, X >= 0, Y skew-symmetric: (bound^2 - delta^2) q'X q + 0

Sources: Megretski and Rantzer, IEEE Trans. Automat. Control 42 (1997), section VI; Boyd et al. (1994),
section 8.1; O'Shea and Younis, IEEE Trans. Automat. Control 12 (1967), and Willems and Brockett, IEEE Trans.
Automat. Control 13 (1968), for the rearrangements; Gu, Kharitonov and Chen, Stability of Time-Delay Systems
(2003), Proposition B.8.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..._errors import InputError, NotCertified
from ...systems import Delay, NormBlock, RepeatedGain, Sector, SlopeRestricted, UncertainLoop
from ._arithmetic import AbstractArithmetic, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric

__all__ = [
    "LoopMaps",
    "RobustGain",
    "RobustGainWithMemory",
    "block_places",
    "multiplier_shapes",
    "places_in_past",
    "uncertain_maps",
]


def block_places(loop: UncertainLoop) -> list[tuple[slice, slice]]:
    """(outputs p, inputs q) of every block."""
    result, p, q = [], 0, 0
    for block in loop.blocks:
        result.append((slice(p, p + block.outputs), slice(q, q + block.inputs)))
        p, q = p + block.outputs, q + block.inputs
    return result


def slope_channels(loop: UncertainLoop) -> list[tuple[int, int]]:
    """(p, q) of every channel of the slope-restricted blocks, whose past the multipliers use."""
    found: list[tuple[int, int]] = []
    for block, (p, q) in zip(loop.blocks, block_places(loop), strict=True):
        if isinstance(block, SlopeRestricted):
            found += zip(range(p.start, p.stop), range(q.start, q.stop), strict=True)
    return found


class LoopMaps(NamedTuple):
    """Maps of z = (x, past of p, past of q, inputs): the next (x, pasts), p and q now and k steps ago."""

    next: Any
    p: Any
    q: Any
    past_p: list[Any]  # of the slope-restricted channels, one matrix per step
    past_q: list[Any]


def uncertain_maps(ops: AbstractArithmetic[Matrix], loop: UncertainLoop, taps: int) -> LoopMaps:
    """The loop with `taps` steps of memory of its slope-restricted channels; nothing is rounded."""
    S, n, channels = loop.system, loop.system.states, slope_channels(loop)
    p, q = loop.uncertain
    c = len(channels)
    size = n + 2 * c * taps + S.inputs
    inputs = size - S.inputs
    eye = np.eye(size)

    def placed(state: np.ndarray, direct: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(state), size))
        rows[:, :n], rows[:, inputs:] = state, direct
        return rows

    now_p, now_q = eye[inputs : inputs + p], placed(S.C[:q], S.D[:q])
    past: list[list[np.ndarray]] = [
        [eye[n + (half * taps + k) * c :][:c] for k in range(taps)] for half in (0, 1)
    ]
    rows = [placed(S.A, S.B)]
    if taps and c:
        rows += [
            now_p[[i for i, _ in channels]],
            *past[0][:-1],
            now_q[[j for _, j in channels]],
            *past[1][:-1],
        ]
    following = np.vstack(rows)
    return LoopMaps(ops.of(following), ops.of(now_p), ops.of(now_q), *([ops.of(m) for m in h] for h in past))


def has_popov(loop: UncertainLoop, i: int) -> bool:
    """Whether Popov's multipliers are defined for block i."""
    block, (_, q) = loop.blocks[i], block_places(loop)[i]
    still = not loop.system.discrete and not loop.system.D[q].any()
    fixed = isinstance(block, SlopeRestricted) or (isinstance(block, Sector) and block.memoryless)
    return fixed and still


def multiplier_shapes(loop: UncertainLoop, taps: int = 0) -> dict[str, tuple[int, ...]]:
    """The multipliers by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, block in enumerate(loop.blocks):
        if isinstance(block, RepeatedGain):
            shapes[f"X{i}"] = shapes[f"Y{i}"] = (block.size, block.size)
        elif isinstance(block, Delay):
            shapes[f"R{i}"] = (block.size, block.size)
            if block.constant:
                shapes[f"X{i}"] = (block.size, block.size)
        else:
            shapes[f"l{i}"] = (1,) if isinstance(block, NormBlock) else (block.inputs,)
        if has_popov(loop, i):
            shapes[f"popov{i}"] = (block.inputs,)
        if isinstance(block, SlopeRestricted) and taps:
            shapes[f"zames{i}"] = (4 if block.odd else 2, taps, block.inputs)
    return shapes


def _terms(
    ops: AbstractArithmetic[Matrix], loop: UncertainLoop, i: int, maps: LoopMaps, witness: Arrays
) -> Matrix:
    """The quadratic form of block i, as a matrix of z."""
    block, (p, q) = loop.blocks[i], block_places(loop)[i]
    P = ops.of(np.eye(maps.p.shape[0])[p]) @ maps.p
    Q = ops.of(np.eye(maps.q.shape[0])[q]) @ maps.q
    if isinstance(block, Sector | SlopeRestricted):
        low, high = P - ops.of(np.diag(block.lower)) @ Q, ops.of(np.diag(block.upper)) @ Q - P
        half = low.T @ ops.of(np.diag(witness[f"l{i}"])) @ high
        if has_popov(loop, i):
            half = half + low.T @ ops.of(np.diag(witness[f"popov{i}"])) @ _speed(ops, loop, maps, q)
        if f"zames{i}" in witness:
            assert isinstance(block, SlopeRestricted)
            half = half + _rearranged(
                ops, block, places_in_past(loop, i), maps, (low, high), witness[f"zames{i}"]
            )
        return half + half.T
    if isinstance(block, NormBlock):
        scaled = ops.scaled(block.bound, Q)
        return ops.times(ops.number(float(witness[f"l{i}"][0])), scaled.T @ scaled - P.T @ P)
    if isinstance(block, Delay):
        moved, step = ops.scaled(block.bound, _speed(ops, loop, maps, q)), Q - P
        R = ops.of(witness[f"R{i}"])
        total = moved.T @ R @ moved - step.T @ R @ step
        if not block.constant:
            return total
        X = ops.of(witness[f"X{i}"])
        return total + Q.T @ X @ Q - P.T @ X @ P
    assert isinstance(block, RepeatedGain)
    X, Y = ops.of(witness[f"X{i}"]), ops.of(witness[f"Y{i}"])
    scaled, cross = ops.scaled(block.bound, Q), Q.T @ Y @ P
    return scaled.T @ X @ scaled - P.T @ X @ P + cross + cross.T


def _speed(ops: AbstractArithmetic[Matrix], loop: UncertainLoop, maps: LoopMaps, q: slice) -> Matrix:
    """The derivative of the signals q, or their difference to the next step, where D = 0."""
    n, (states, size) = loop.system.states, maps.next.shape
    C = ops.of(loop.system.C[q])
    moved: Matrix = C @ (ops.of(np.eye(n, states)) @ maps.next)
    return moved - C @ ops.of(np.eye(n, size)) if loop.system.discrete else moved


def places_in_past(loop: UncertainLoop, i: int) -> np.ndarray:
    """The places of block i among the slope-restricted channels."""
    before = sum(b.inputs for b in loop.blocks[:i] if isinstance(b, SlopeRestricted))
    return np.arange(before, before + loop.blocks[i].inputs)


def _rearranged(
    ops: AbstractArithmetic[Matrix],
    block: SlopeRestricted,
    mine: np.ndarray,
    maps: LoopMaps,
    now: tuple[Matrix, Matrix],
    weights: np.ndarray,
) -> Matrix:
    """Half of Zames and Falb's form."""
    low, high = now
    k = block.inputs
    total: Matrix = low.T @ ops.diagonal([(w,) for w in weights.reshape(-1, k)], k) @ high
    lower, upper = ops.of(np.diag(block.lower)), ops.of(np.diag(block.upper))
    for t, (past_p, past_q) in enumerate(zip(maps.past_p, maps.past_q, strict=True)):
        select = ops.of(np.eye(past_p.shape[0])[mine])
        P, Q = select @ past_p, select @ past_q
        signs = list(weights[:, t])
        forward: list[tuple[np.ndarray, ...]] = [(-signs[0],)]
        backward: list[tuple[np.ndarray, ...]] = [(-signs[1],)]
        if block.odd:
            forward.append((signs[2],))
            backward.append((signs[3],))
        total = total + low.T @ ops.diagonal(forward, k) @ (upper @ Q - P)
        total = total + (P - lower @ Q).T @ ops.diagonal(backward, k) @ high
    return total


def _loop(subject: Any) -> UncertainLoop:
    if isinstance(subject, UncertainLoop):
        return subject
    raise InputError(f"the subject is a {type(subject).__name__}; expected an UncertainLoop.")


def _conditions(
    ops: AbstractArithmetic[Matrix], loop: UncertainLoop, gain: float, taps: int, witness: Arrays
) -> Conditions:
    S, (p, q) = loop.system, loop.uncertain
    P = ops.of(symmetric(witness, "P"))
    yield "P > 0", ops.definite(P)
    yield "the gain is positive", gain > 0.0
    for name, array in witness.items():
        if name.startswith(("l", "popov", "zames")):
            yield f"{name} >= 0", bool((array >= 0.0).all())
        elif name.startswith(("X", "R")):
            yield f"{name} >= 0", ops.definite(ops.of(symmetric(witness, name)), strict=False)
        elif name.startswith("Y") and not np.array_equal(array, -array.T):
            raise NotCertified(f"{name} is not skew-symmetric.")
    maps = uncertain_maps(ops, loop, taps)
    F, n = maps.next, S.states
    states, size = F.shape
    X = ops.of(np.eye(states, size))
    half = X.T @ P @ F
    total = F.T @ P @ F - X.T @ P @ X if S.discrete else half + half.T
    between = ops.zeros(S.outputs - q, size - n - S.inputs)
    E = ops.block([[ops.of(S.C[q:]), between, ops.of(S.D[q:])]])
    D = ops.scaled(gain, ops.of(np.eye(size)[size - S.inputs + p :]))
    total = total + E.T @ E - D.T @ D
    for i in range(len(loop.blocks)):
        total = total + _terms(ops, loop, i, maps, witness)
    yield "the dissipation inequality", ops.definite(-total)


def _statement(gain: float) -> str:
    return (
        "for every uncertainty of the given classes with which the loop is well posed, trajectories without "
        f"inputs converge to 0, and from x(0) = 0 the L2 norm of the outputs is at most {gain!r} "
        "times that of the inputs"
    )


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class RobustGain(AbstractControlClaim):
    """For every uncertainty of the classes the loop is stable, and |e| <= gain |d| from x(0) = 0.

    P > 0 and multipliers with (change of x'P x) + E'E - gain^2 D'D + (forms of the blocks) < 0:
    integrated along the loop, x'P x and Popov's integrals being nonnegative
    (`lmikit.certificates.control._uncertainty`).
    """

    kind: ClassVar[str] = "robust-gain"
    gain: float

    def statement(self) -> str:
        return _statement(self.gain)

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        loop = _loop(subject)
        return {"P": (loop.system.states,) * 2, **multiplier_shapes(loop)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        return _conditions(ops, _loop(subject), self.gain, 0, witness)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class RobustGainWithMemory(AbstractControlClaim):
    """The same in discrete time, by multipliers that see the signals of the last `taps` steps.

    The storage is a quadratic form of x and of these signals, which are 0 before time 0.
    """

    kind: ClassVar[str] = "robust-gain-with-memory"
    gain: float
    taps: int

    def statement(self) -> str:
        return _statement(self.gain)

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        loop = _loop(subject)
        if not (loop.system.discrete and isinstance(self.taps, int) and 1 <= self.taps <= _MOST_TAPS):
            raise InputError(
                f"taps is {self.taps!r}; expected 1 to {_MOST_TAPS}, and a loop in discrete time."
            )
        states = loop.system.states + 2 * self.taps * len(slope_channels(loop))
        return {"P": (states,) * 2, **multiplier_shapes(loop, self.taps)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        self.shapes(subject)
        return _conditions(ops, _loop(subject), self.gain, self.taps, witness)


_MOST_TAPS = 1000
