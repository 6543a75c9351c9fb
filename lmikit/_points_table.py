"""`certify_points`: one verdict per input of a data set; attacks in one batch, searches on an executor."""

import dataclasses
import functools
import logging
import math
import multiprocessing
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, Literal

import numpy as np

from ._arrays import blas_threads
from ._batch._crew import ExecutorFactory, require_executor
from ._errors import OptionError
from ._point_semantics import Inference
from ._points import PointResult, counts, propose, refutation, settled
from ._points_store import ResultsFolder, TabledPoints
from ._points_workers import PointCrew
from ._progress import Progress, ProgressCallback
from .attacks import Attack, attack_margins
from .certificates.point import PointWitness, require_semantics
from .graph import Graph
from .margins import Search
from .network import Network

__all__ = ["PointTable", "certify_points"]

_log = logging.getLogger("lmikit")


@dataclasses.dataclass(frozen=True, eq=False)
class PointTable:
    """Verdicts of n inputs, in their order; `results` holds certificates and counterexamples.

    `verdict` (n,) of str, `margin` and `radius` (n,) as in `PointResult`, `attack_margin` (n,), `right` (n,)
    whether the label is the prediction. Accuracies are fractions of all n inputs: right; right and
    proven; right and not refuted. For radii `certified_at(r)` is the fraction proven within r.
    """

    verdict: np.ndarray
    margin: np.ndarray
    radius: np.ndarray
    attack_margin: np.ndarray
    right: np.ndarray
    results: tuple[PointResult, ...]

    @property
    def clean_accuracy(self) -> float:
        """The fraction that is classified rightly."""
        return float(self.right.mean())

    @property
    def certified_accuracy(self) -> float:
        """The fraction that is right and proven: a lower bound of the robust accuracy."""
        return float(((self.verdict == "proven") & self.right).mean())

    @property
    def attacks(self) -> bool:
        """Whether an attack was tried on any input; none is where radii are looked for."""
        return any(math.isfinite(r.attack_margin) for r in self.results)

    @property
    def attacked_accuracy(self) -> float:
        """The fraction that is right and not refuted: an upper bound of the robust accuracy."""
        return float(((self.verdict != "refuted") & self.right).mean())

    def certified_at(self, radii: Any) -> np.ndarray:
        """The fraction that is right with a proven radius of at least each of `radii`."""
        at = np.atleast_1d(np.asarray(radii, dtype=np.float64))
        return np.asarray(((self.radius[None, :] >= at[:, None]) & self.right).mean(axis=1))

    def __str__(self) -> str:
        counts = ", ".join(
            f"{int((self.verdict == v).sum())} {v}" for v in ("proven", "refuted", "undecided")
        )
        accuracies = f"clean {self.clean_accuracy:.4f}, certified {self.certified_accuracy:.4f}"
        if self.attacks:
            accuracies += f", attacked {self.attacked_accuracy:.4f}"
        return f"{len(self.verdict)} inputs: {counts}\naccuracy: {accuracies}"


def certify_points(
    network: Network | Graph,
    X: Any,
    y: Any,
    eps: float | None = None,
    time_limit: float | None = None,
    semantics: str = "real",
    *,
    norm: Literal["l2", "linf"] = "l2",
    box: tuple[Any, Any] | None = None,
    attack: Attack | None = None,
    search: Search | None = None,
    executor: Executor | ExecutorFactory | None = None,
    jobs: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    retries: int = 1,
) -> PointTable:
    """`certify_point` for every row of X (n, ...) with labels y (n,).

    The region of a row is ||x' - x|| <= eps in `norm`, cut to lower <= x' <= upper where `box` =
    (lower, upper) is given; without eps the largest provable l2 radius is sought. `time_limit` is in
    seconds per input. `executor` (or `jobs` processes) runs the searches, proofs are made in this process:
    any `concurrent.futures.Executor`, or a function without arguments that makes one. The network travels
    to each worker about once. Where a worker dies, inputs are searched for again as the jobs of
    `certify_many` are (`retries`); one whose worker dies every time is undecided, and its `error` says
    so. With `folder` certificates are saved there, and inputs whose certificate is there already are read
    and proven again instead of searched for.

    Raises InputError and OptionError as `certify_point` does.
    """
    inference = Inference(semantics)
    require_semantics(network, semantics)
    points = TabledPoints(network, X, y, eps, norm, box)
    require_executor(executor)
    if jobs < 1:
        raise OptionError(f"jobs is {jobs}; expected at least 1.")
    options = dataclasses.replace(search or Search(), time_limit=time_limit, progress=None)
    store = ResultsFolder(folder, points, inference)
    with blas_threads(1):
        run = _TableRun(points, options, store, progress, inference)
        run.refute(attack)
        run.search(_places(executor, jobs), retries)
    return run.table()


def _places(executor: Executor | ExecutorFactory | None, jobs: int) -> Executor | ExecutorFactory | None:
    """Where the searches run; None for this thread."""
    if executor is not None or jobs == 1:
        return executor
    # fresh interpreters: a fork of a process with threads (BLAS, JAX) can hang
    return functools.partial(ProcessPoolExecutor, jobs, multiprocessing.get_context("spawn"))


class _TableRun:
    """The results so far."""

    def __init__(
        self,
        points: TabledPoints,
        search: Search,
        store: ResultsFolder,
        progress: ProgressCallback | None,
        inference: Inference,
    ) -> None:
        self.inference = inference
        self.points, self.options, self.store, self.progress = points, search, store, progress
        self.results: dict[int, PointResult] = {}
        self.attack_margins = np.full(len(points.data), np.nan)
        self.start = time.perf_counter()
        values = points.network(points.data)
        self.right = values.argmax(axis=1) == points.labels

    def refute(self, attack: Attack | None) -> None:
        """Wrong predictions, and inputs for which the attack finds a counterexample."""
        points, network = self.points, self.points.network
        outputs = network.output_dim
        found = {int(i): points.data[i] for i in np.flatnonzero(~self.right)}
        chased = [i for i in np.flatnonzero(self.right) if points.regions[i] is not None]
        if chased:
            others = [[j for j in range(outputs) if j != points.labels[i]] for i in chased]
            rows = np.eye(outputs)[points.labels[chased]][:, None, :] - np.eye(outputs)[np.array(others)]
            regions = [region for i in chased if (region := points.regions[i]) is not None]
            result = attack_margins(network, regions, rows, np.zeros(rows.shape[:2]), attack)
            self.attack_margins[chased] = result.margins
            found |= {int(i): x for i, x in zip(chased, result.points, strict=True)}
        for i, x in found.items():
            label, margin = int(points.labels[i]), float(self.attack_margins[i])
            real = refutation(network, x, label)
            if real is not None:
                refuted = counts(network, real, label, self.inference)
                self._finish(i, settled(network, label, points.regions[i], None, refuted, margin, 0.0))

    def search(self, where: Executor | ExecutorFactory | None, retries: int) -> None:
        """Certificates for the others: from the folder, or searched for and proven."""
        points = self.points
        todo = []
        for i in range(len(points.data)):
            if i in self.results:
                continue
            certificate = self.store.read(i)
            if certificate is not None and certificate.safe:
                self._prove(i, certificate.witness, 0.0, save=False)
            else:
                todo.append(i)
        arguments = {
            i: (
                points.data[i],
                int(points.labels[i]),
                points.regions[i],
                self.options,
                points.box,
                self.inference,
            )
            for i in todo
        }
        if where is not None:
            PointCrew(points.chain, arguments, self._prove).run_on(where, retries)
            return
        for i in todo:
            start = time.perf_counter()
            witness = propose(points.chain, *arguments[i])
            self._prove(i, witness, time.perf_counter() - start)

    def _prove(
        self, i: int, witness: PointWitness | None, seconds: float, error: str = "", save: bool = True
    ) -> None:
        start = time.perf_counter()
        label = int(self.points.labels[i])
        margin = float(self.attack_margins[i])
        result = settled(self.points.network, label, self.points.regions[i], witness, None, margin, seconds)
        result = dataclasses.replace(result, seconds=seconds + time.perf_counter() - start, error=error)
        if error:
            _log.warning("input %d is undecided: %s", i, error)
        if save:
            self.store.write(i, result)
        self._finish(i, result)

    def _finish(self, i: int, result: PointResult) -> None:
        self.results[i] = result
        if self.progress is not None:
            seconds = time.perf_counter() - self.start
            self.progress(Progress("robust", len(self.results), len(self.points.data), seconds=seconds))

    def table(self) -> PointTable:
        results = tuple(self.results[i] for i in range(len(self.points.data)))
        return PointTable(
            np.array([r.verdict for r in results]),
            np.array([r.margin for r in results]),
            np.array([r.radius if not math.isnan(r.radius) else np.nan for r in results]),
            self.attack_margins,
            self.right,
            results,
        )
