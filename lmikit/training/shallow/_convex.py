"""Convex training of shallow ReLU networks with a Lipschitz or a weight-decay penalty.

Starting from a trained net, its activation patterns and signs are kept, which makes training convex
(`_program`). The given net is feasible, so the result is never worse. "Convex training of
Lipschitz-regularized shallow neural networks", Algorithm 1 and Corollaries 10 and 11.
"""

import time
from typing import Any, Literal

import numpy as np

from ..._errors import OptionError
from ..._progress import ProgressCallback
from ...network import Network
from ...solvers import AbstractSolver
from .._checks import whole
from ._descent import Descent
from ._model import read_model
from ._result import ShallowResult
from ._tasks import AbstractTask, Alternating, Joint, WeightDecay

__all__ = ["convex_shallow"]


def convex_shallow(
    network: Network,
    X: Any,
    y: Any,
    *,
    lipschitz: float | None = None,
    weight_decay: float | None = None,
    loss: Literal["squared", "cross_entropy"] = "squared",
    multipliers: Literal["joint", "alternating"] = "joint",
    solver: AbstractSolver | None = None,
    working_set: float | None = None,
    max_iterations: int = 20,
    pattern_updates: int = 0,
    free_outputs: bool = False,
    tol: float = 1e-4,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> ShallowResult:
    """Lower the regularised training objective of a shallow ReLU net by convex programs.

    One of the two weights is given, a number > 0:
    `lipschitz`:    minimise loss(f(X), y) + lipschitz * L^2, L the LipSDP bound of f;
    `weight_decay`: minimise loss(f(X), y) + weight_decay/2 sum_j (||u_j||^2 + |a_j|^2), u_j with its
    bias, over the weights with the given net's activation patterns on X and directions of a_j; the output
    bias stays. X (N, d). `loss` "squared" is (1/N) sum_i ||f(x_i) - y_i||^2, y (N,) or (N, m);
    "cross_entropy" is -(1/N) sum_i log softmax(f(x_i))_{y_i}, y (N,) integers 0 to m - 1, for one output the
    logit of class 1 against class 0.

    With `lipschitz`, `multipliers` "joint" is one program over weights and
    multipliers; "alternating" is the paper's method: multipliers by LipSDP, then weights with
    multipliers and |a_j| fixed, until an iteration gains less than `tol` of the objective or
    `max_iterations` are done. `pattern_updates` solves the joint program, or that of weight decay, that
    many times more; before each, the pattern rows with a positive multiplier change sides, which keeps
    the point feasible and lets units move on (not in the paper). `free_outputs` solves after each joint
    program another convex one, for the outer weights and the multipliers with the hidden layer kept, so that
    directions may change. `working_set` in (0, 1] starts each program with that share of the pattern rows
    and adds violated ones. `solver` None is an interior point
    method for these programs, with the gap in `history`; another one solves them as SDPs ("squared" only).
    `time_limit` in seconds counts for the whole call, and the best point so far comes back.

    The result has |a_j| as given ("alternating"), or balanced, ||u_j|| = |a_j|, which both other
    problems allow. Units that are active on no row, or have a_j = 0, become zero: that never raises the
    objective. A step is taken only where the objective, recomputed from the network, does not rise.

    Raises InputError (not a shallow ReLU net, shapes, labels, NaN), OptionError, SolveFailed where the
    first program has no usable point, NotCertified.
    """
    _check(lipschitz, weight_decay, multipliers, working_set, max_iterations, pattern_updates, tol)
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    if lipschitz is None:
        assert weight_decay is not None
        task: AbstractTask = WeightDecay(weight_decay)
    else:
        task = (Joint if multipliers == "joint" else Alternating)(lipschitz)
    if free_outputs and not isinstance(task, Joint):
        raise OptionError("free_outputs belongs to lipschitz= with multipliers='joint'.")
    if loss != "squared" and solver is not None:
        raise OptionError(
            f"solver={type(solver).__name__} takes quadratic objectives; leave it out for {loss!r}."
        )
    alternating = isinstance(task, Alternating)
    return Descent(
        task,
        read_model(network, X, y, loss),
        solver,
        iterations=max_iterations if alternating else 1 + pattern_updates,
        tol=tol,
        cross=not alternating,
        free_outputs=free_outputs,
        working_set=working_set,
        deadline=deadline,
        progress=progress,
    ).run(network)


def _check(
    lipschitz: float | None,
    weight_decay: float | None,
    multipliers: str,
    working_set: float | None,
    max_iterations: int,
    pattern_updates: int,
    tol: float,
) -> None:
    if (lipschitz is None) == (weight_decay is None):
        raise OptionError("give exactly one of lipschitz= and weight_decay=, the weight of the penalty.")
    for name, value in (("lipschitz", lipschitz), ("weight_decay", weight_decay)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise OptionError(f"{name} is {value!r}; expected a finite number > 0.")
    if multipliers not in ("joint", "alternating"):
        raise OptionError(f"multipliers is {multipliers!r}; expected 'joint' or 'alternating'.")
    if working_set is not None and not 0 < working_set <= 1:
        raise OptionError(f"working_set is {working_set!r}; expected a share in (0, 1], or None.")
    whole("max_iterations", max_iterations)
    whole("pattern_updates", pattern_updates, 0)
    if pattern_updates and multipliers == "alternating":
        raise OptionError("pattern_updates belongs to multipliers='joint'; alternating keeps its patterns.")
    if not 0 <= tol < 1:
        raise OptionError(f"tol is {tol!r}; expected a number in [0, 1).")
