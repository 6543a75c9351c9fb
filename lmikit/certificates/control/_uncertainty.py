"""Robust stability and robust gains: multipliers of every block of an uncertain loop.

With z = (x, p, d), q = C_q x + D_q z, the block classes give quadratic forms that are nonnegative
along the loop, in integrals over [0, T] or pointwise:

sector     2 sum_i l_i (p_i - lower_i q_i)(upper_i q_i - p_i), l >= 0
Popov      2 sum_i k_i d/dt integral_0^q_i (phi_i(s) - lower_i s) ds = 2 sum_i k_i (p_i - lower_i q_i)
q_i', k >= 0, for time-invariant phi in continuous time and q that does not depend directly on p and d
norm       l (bound^2 q'q - p'p), l >= 0
repeated   bound^2 q'X q - p'X p + 2 q'Y p, X >= 0, Y skew-symmetric: (bound^2 - delta^2) q'X q + 0

Source: Megretski and Rantzer, IEEE Trans. Automat. Control 42 (1997), section VI; Boyd et al. (1994),
section 8.1.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ..._errors import InputError, NotCertified
from ...systems import NormBlock, RepeatedGain, Sector, UncertainLoop
from ._arithmetic import AbstractArithmetic, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric

__all__ = ["RobustGain", "block_places", "multiplier_shapes"]


def block_places(loop: UncertainLoop) -> list[tuple[slice, slice]]:
    """(outputs p, inputs q) of every block."""
    result, p, q = [], 0, 0
    for block in loop.blocks:
        result.append((slice(p, p + block.outputs), slice(q, q + block.inputs)))
        p, q = p + block.outputs, q + block.inputs
    return result


def has_popov(loop: UncertainLoop, i: int) -> bool:
    """Whether Popov's multipliers are defined for block i."""
    block, (_, q) = loop.blocks[i], block_places(loop)[i]
    still = not loop.system.discrete and not loop.system.D[q].any()
    return isinstance(block, Sector) and block.memoryless and still


def multiplier_shapes(loop: UncertainLoop) -> dict[str, tuple[int, ...]]:
    """The multipliers by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, block in enumerate(loop.blocks):
        if isinstance(block, RepeatedGain):
            shapes[f"X{i}"] = shapes[f"Y{i}"] = (block.size, block.size)
        else:
            shapes[f"l{i}"] = (block.inputs,) if isinstance(block, Sector) else (1,)
        if has_popov(loop, i):
            shapes[f"popov{i}"] = (block.inputs,)
    return shapes


def _terms(
    ops: AbstractArithmetic[Matrix], loop: UncertainLoop, i: int, maps: dict[str, Matrix], witness: Arrays
) -> Matrix:
    """The quadratic form of block i, as a matrix of z."""
    block, (p, q) = loop.blocks[i], block_places(loop)[i]
    size = maps["next"].shape[1]
    n = loop.system.states
    P = ops.of(np.eye(size)[n + p.start : n + p.stop])
    Q = ops.of(np.eye(maps["q"].shape[0])[q]) @ maps["q"]
    if isinstance(block, Sector):
        low, high = P - ops.of(np.diag(block.lower)) @ Q, ops.of(np.diag(block.upper)) @ Q - P
        half = low.T @ ops.of(np.diag(witness[f"l{i}"])) @ high
        if has_popov(loop, i):
            speed = ops.of(loop.system.C[q]) @ maps["next"]
            half = half + low.T @ ops.of(np.diag(witness[f"popov{i}"])) @ speed
        return half + half.T
    if isinstance(block, NormBlock):
        scaled = ops.scaled(block.bound, Q)
        return ops.times(ops.number(float(witness[f"l{i}"][0])), scaled.T @ scaled - P.T @ P)
    assert isinstance(block, RepeatedGain)
    X, Y = ops.of(witness[f"X{i}"]), ops.of(witness[f"Y{i}"])
    scaled, cross = ops.scaled(block.bound, Q), Q.T @ Y @ P
    return scaled.T @ X @ scaled - P.T @ X @ P + cross + cross.T


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
        return (
            "for every uncertainty of the given classes with which the loop is well posed, trajectories "
            "without "
            f"inputs converge to 0, and from x(0) = 0 the L2 norm of the outputs is at most {self.gain!r} "
            "times that of the inputs"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        if not isinstance(subject, UncertainLoop):
            raise InputError(f"the subject is a {type(subject).__name__}; expected an UncertainLoop.")
        return {"P": (subject.system.states,) * 2, **multiplier_shapes(subject)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        self.shapes(subject)
        loop: UncertainLoop = subject
        S, n, (p, q) = loop.system, loop.system.states, loop.uncertain
        P = ops.of(symmetric(witness, "P"))
        yield "P > 0", ops.definite(P)
        yield "the gain is positive", self.gain > 0.0
        for name, array in witness.items():
            if name.startswith(("l", "popov")):
                yield f"{name} >= 0", bool((array >= 0.0).all())
            elif name.startswith("X"):
                yield f"{name} >= 0", ops.definite(ops.of(symmetric(witness, name)), strict=False)
            elif name.startswith("Y") and not np.array_equal(array, -array.T):
                raise NotCertified(f"{name} is not skew-symmetric.")
        maps = {
            "next": ops.block([[ops.of(S.A), ops.of(S.B)]]),
            "q": ops.block([[ops.of(S.C[:q]), ops.of(S.D[:q])]]),
        }
        F, size = maps["next"], n + S.inputs
        X = ops.of(np.eye(n, size))
        half = X.T @ P @ F
        total = F.T @ P @ F - X.T @ P @ X if S.discrete else half + half.T
        E = ops.block([[ops.of(S.C[q:]), ops.of(S.D[q:])]])
        D = ops.scaled(self.gain, ops.of(np.eye(S.inputs - p))) @ ops.of(np.eye(size)[n + p :])
        total = total + E.T @ E - D.T @ D
        for i in range(len(loop.blocks)):
            total = total + _terms(ops, loop, i, maps, witness)
        yield "the dissipation inequality", ops.definite(-total)
