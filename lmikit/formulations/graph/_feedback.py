"""Coordinates in which linear skips are local: the LMI of a residual network by levels.

Where values are added, as in s_k = s_{k-1} + G_k w_k, v_{k+1} = W s_k, every v depends on all w before it,
and the matrix of the LMI in z = (x, w) is dense. Along the order of the nodes the network is a linear
time-varying system driven by w,

    s_k = A_k s_{k-1} + B_k w_k,      v_k = C_k s_{k-1},      s_0 = R x,

with the least state s_k that later nodes and the output read (Kalman's minimal realisation: the rank of
their rows in the columns up to k; DeWilde, van der Veen, Time-Varying Systems and Computations, 1998,
chapter 3). Group consecutive nodes until the inputs w of the group reach every state there is. The feedback

    w_g = u_g - B_g^+ A_g s_{g-1}     gives     s_g = B_g u_g:

the state forgets all but the last group (deadbeat control), so that each quadratic form depends on u_g and
u_{g-1} alone. z -> (x, u) is a congruence with ones on its diagonal: the LMI is the same one, block
tridiagonal. The proof does not use any of this.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ...lmi import LMI
from ._maps import EliminatedMaps

__all__ = ["DeadbeatFeedback", "local_coordinates"]

_RANK = 1e-10  # singular values below it, relative to the largest, carry no state
_EXACT = 1e-9  # what may be lost of a state, or of a matrix of the LMI, relatively
_LARGEST = 6.0  # norm of a feedback, whose square the coordinates lose in accuracy


@dataclasses.dataclass(frozen=True, eq=False)
class DeadbeatFeedback:
    """w_g = u_g - gains[g] u_{g-1} for levels of the sizes `partition`, u_0 = x; None is zero."""

    partition: tuple[int, ...]
    gains: tuple[np.ndarray | None, ...]

    def apply(self, lmi: LMI) -> LMI | None:
        """The LMI in (x, u) by levels; None where something is left outside two neighbouring levels."""
        level = np.repeat(np.arange(len(self.partition)), self.partition)[:, None]
        F0 = self._moved(self._moved(lmi.F0.toarray()).T)
        P, Q = (self._moved(M.toarray()) for M in (lmi.P, lmi.Q))
        last = np.maximum(_last(P, level), _last(Q, level))
        near = (level >= last - 1) & (level <= last)  # a term lives in two neighbouring levels
        around = np.abs(level - level.T) <= 1
        if not (_small(P, near) and _small(Q, near) and _small(F0, around)):
            return None
        F0, P, Q = (sp.csc_array(M) for M in (0.5 * (F0 + F0.T) * around, P * near, Q * near))
        return dataclasses.replace(lmi, F0=F0, P=P, Q=Q, partition=self.partition)

    def _moved(self, M: np.ndarray) -> np.ndarray:
        """T'M for z = T (x, u)."""
        result = M.copy()
        ends = np.cumsum(self.partition)
        for g, gain in enumerate(self.gains):
            if gain is not None:
                here = slice(ends[g] - self.partition[g], ends[g])
                result[here.start - self.partition[g - 1] : here.start] -= gain.T @ M[here]
        return result


def _last(moved: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Per column, the last level where it is more than rounding."""
    there = np.abs(moved) > _EXACT * np.linalg.norm(moved, axis=0)
    return np.where(there, level, -1).max(axis=0, initial=-1)


def _small(moved: np.ndarray, near: np.ndarray) -> bool:
    """Whether what is outside is rounding, column by column."""
    lost = np.linalg.norm(np.where(near, 0.0, moved), axis=0)
    return bool((lost <= _EXACT * np.linalg.norm(moved, axis=0)).all())


@dataclasses.dataclass(frozen=True, eq=False)
class _StateStep:
    """s_k = A s_{k-1} + B w_k."""

    A: np.ndarray
    B: np.ndarray


def local_coordinates(maps: EliminatedMaps) -> DeadbeatFeedback | None:
    """The coordinates, or None where they give no more than two levels."""
    sizes = [maps.inputs, *(maps.form.size(k) for k in maps.nodes)]
    reach, steps = _realisation(maps, sizes)
    groups = _groups(reach, steps)
    if len(groups) < 2:
        return None
    partition, first = [maps.inputs], 1
    for last, _ in groups:
        partition.append(sum(sizes[first : last + 1]))
        first = last + 1
    return DeadbeatFeedback(tuple(partition), (None, *(gain for _, gain in groups)))


def _realisation(maps: EliminatedMaps, sizes: list[int]) -> tuple[np.ndarray, list[_StateStep]]:
    """R and the steps of all nodes but the last, whose outputs only y reads."""
    vw, yw = maps.N_vw.toarray(), maps.N_yw.toarray()
    rows = np.vstack([np.hstack([maps.N_vx, vw]), np.hstack([maps.N_yx, yw])])
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length > 0.0, length, 1.0)  # which states matter is no question of units
    columns = np.concatenate([[0], np.cumsum(sizes)])
    readout, state = _reduced(rows[:, : sizes[0]])
    reach, steps = state, []
    for k in range(1, len(sizes) - 1):
        later = slice(int(columns[k + 1]) - sizes[0], None)  # rows of the nodes after k, and of y
        own = rows[later, columns[k] : columns[k + 1]]
        before = readout[sizes[k] :]  # rows of node k are read, and fall away
        readout, state = _reduced(np.hstack([before, own]))
        steps.append(_StateStep(state[:, : before.shape[1]], state[:, before.shape[1] :]))
    return reach, steps


def _reduced(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """O and V with M = O V up to rounding, V with orthonormal rows."""
    R = np.linalg.qr(M, mode="r") if M.shape[0] > M.shape[1] else M
    _, values, right = np.linalg.svd(R, full_matrices=False)
    right = right[values > _RANK * values.max(initial=0.0)]
    return M @ right.T, right


def _groups(reach: np.ndarray, steps: list[_StateStep]) -> list[tuple[int, np.ndarray | None]]:
    """(last node, feedback from the group before), each group as small as it can be; the last has none."""
    found: list[tuple[int, np.ndarray | None]] = []
    A, B = np.eye(reach.shape[0]), np.zeros((reach.shape[0], 0))
    for node, step in enumerate(steps, start=1):
        A, B = step.A @ A, np.hstack([step.A @ B, step.B])
        gain = _gain(A @ reach, B)
        if gain is not None:
            found.append((node, gain))
            A, B, reach = np.eye(B.shape[0]), np.zeros((B.shape[0], 0)), B
    return [*found, (len(steps) + 1, None)]


def _gain(state: np.ndarray, B: np.ndarray) -> np.ndarray | None:
    """The least K with B K = state; None where there is none, or only a large one."""
    gain = np.linalg.lstsq(B, state, rcond=_RANK)[0]
    lost = np.linalg.norm(B @ gain - state, 2) > 1e-3 * _EXACT * np.linalg.norm(state, 2)
    return None if lost or np.linalg.norm(gain, 2) > _LARGEST else gain
