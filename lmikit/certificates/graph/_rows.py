"""Bounds of many combinations c'f of a graph's outputs from one dissipation: one factorisation for all.

The lifted matrix of c'f for multipliers T is [[A, -w'], [-w, rho]] with A the matrix of f without its output
block and w = c'Y: PSD shows |c'(f(x) - f(x'))|^2 <= d_in rho ||x - x'||^2. A is shared.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..._arrays import blas_threads
from ...graph import Graph, without_groups
from ...graph._enclosure import EnclosedMatrix
from ...graph._form import EliminatedForm, eliminate
from ...graph._witness import GraphWitness, Part
from .._borders import least_proven
from .._float_environment import require_ieee
from .._rational import root_upward, round_upward
from ._assemble import Assembled, assemble

__all__ = ["ProvenCombination", "combinations_proven"]

_TILTS = (0.4, 0.5, 0.6, 0.7, 0.78, 0.85, 0.91, 0.96, 1.04, 1.1, 1.2)  # per node
_TILTED_ROWS = 1500  # of A, up to which more than the given multipliers are tried


@dataclasses.dataclass(frozen=True, eq=False)
class ProvenCombination:
    """bound >= the l2 constant of c'f, proven here; `witness` says so for the graph of c'f.

    `verify_graph` proves it as it stands but where c'Y cancels: its radii weigh more there than those here.
    """

    bound: float
    witness: GraphWitness


def combinations_proven(
    graph: Graph, witness: GraphWitness, combinations: np.ndarray
) -> list[ProvenCombination | None]:
    """Of c_i'f, rows c_i (p, m) exact, in l2; None where nothing follows from the witness.

    The witness must fit the graph, as that of a certificate of the graph does.
    """
    count = combinations.shape[0]
    if witness.kind != "dissipation" or witness.norm != (2.0, 2.0):
        return [None] * count
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        form = eliminate(without_groups(graph) if witness.rewritten else graph)
        if not form.Y:
            return [None] * count
        (part,) = witness.parts
        best, parts = np.full(count, np.inf), [part] * count
        for nearby in _nearby(form, part):
            found = _least(form, nearby, combinations)
            for k in np.flatnonzero(found < best):
                best[k], parts[k] = found[k], nearby
    require_ieee()
    return [_proven(witness, part, float(rho)) for part, rho in zip(parts, best, strict=True)]


def _proven(witness: GraphWitness, part: Part, rho: float) -> ProvenCombination | None:
    if not np.isfinite(rho):  # no multipliers that were tried prove anything
        return None
    bound = root_upward(round_upward((float(part.d_in.max()), rho)), 0)
    if not np.isfinite(bound):
        return None
    own = dataclasses.replace(part, d_out=np.array([rho]))
    return ProvenCombination(bound, dataclasses.replace(witness, parts=(own,), optimum_at_least=None))


def _nearby(form: EliminatedForm, part: Part) -> Iterator[Part]:
    """What suits all outputs at once does not suit every combination best."""
    yield part
    if sum(form.size(s) for s in form.sources) <= _TILTED_ROWS:
        for tilt in _TILTS:
            multipliers = tuple(t * tilt ** (k + 1.0) for k, t in enumerate(part.multipliers))
            yield dataclasses.replace(part, multipliers=multipliers)


def _least(form: EliminatedForm, part: Part, combinations: np.ndarray) -> np.ndarray:
    """The least rho proven for every combination, or NaN."""
    matrix, read = _without_output(assemble(form, part))
    a = matrix.at(part.d_in, part.d_out)
    rows, radii = _rows(matrix, read, combinations)
    return least_proven(a, rows, radii)


def _without_output(matrix: Assembled) -> tuple[Assembled, tuple[int, ...]]:
    """A with levels such that the output reads the last one alone, and the names of that level."""
    partition = [
        tuple(i for i in level if matrix.order[i] in matrix.form.sources) for level in matrix.partition
    ]
    partition = [level for level in partition if level]
    read = {matrix.order.index(s) for s in matrix.form.Y}
    while len(partition) > 1 and not read <= set(partition[-1]):
        partition[-2:] = [partition[-2] + partition[-1]]
    last = tuple(matrix.order[i] for i in partition[-1])
    return dataclasses.replace(matrix, partition=tuple(partition)), last


def _rows(
    matrix: Assembled, names: tuple[int, ...], combinations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """-c'Y on the last level, and its radii."""
    c, mids, rads = EnclosedMatrix(-combinations), [], []
    for s in names:
        shape = (combinations.shape[0], matrix.inputs.size if s == 0 else matrix.form.size(s))
        found = c @ matrix.form.Y[s] if s in matrix.form.Y else EnclosedMatrix(np.zeros(shape))
        mids.append(found.mid)
        rads.append(np.zeros(shape) if found.rad is None else found.rad)
    return np.concatenate(mids, axis=1), np.concatenate(rads, axis=1)
