"""`exact_lipschitz`: the Lipschitz constant of a small network of two-piece activations, from both sides."""

import dataclasses
import logging
import math
import time

import numpy as np

from ._arrays import blas_threads
from ._errors import InputError, LmikitError, NotCertified, OptionError
from ._exact_search import CellSearch
from ._progress import ProgressCallback
from ._proving import least_proven
from .certificates.cells import (
    BOUND,
    CellCertificate,
    CellTheory,
    CellTree,
    CellWitness,
    LeafBounds,
    global_slopes,
    require_interior,
    tail_network,
    verify_cells,
)
from .certificates.local import narrowed
from .certificates.point import proven_intervals
from .claims import AbstractRegion
from .methods import LipSDP
from .network import Network

__all__ = ["ExactLipschitz", "exact_lipschitz"]

_log = logging.getLogger("lmikit")
_SAMPLES = 200
_LEAST = 0.2  # of the time limit is the search's, however long those took
_SHARE = 0.3  # of the time limit that the semidefinite programs may take
Pairs = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ExactLipschitz:
    """lower <= sup ||f(x) - f(x')||_2 / ||x - x'||_2 <= upper over a region, both proven by `certificate`.

    `exact`: upper <= lower (1 + tolerance). `cells` were visited in `seconds`. `point` (n_0,) lies inside a
    cell whose Jacobian has norm `lower`; None where lower is 0.
    """

    lower: float
    upper: float
    exact: bool
    certificate: CellCertificate
    cells: int
    seconds: float

    @property
    def point(self) -> np.ndarray | None:
        """Where the largest Jacobian was found."""
        found = self.certificate.witness.point
        return None if found is None else found.x

    def __str__(self) -> str:
        if self.exact:
            return f"exact Lipschitz constant {self.upper:.9g} (proven from both sides)"
        return (
            f"{self.lower:.9g} <= Lipschitz constant <= {self.upper:.9g} (both proven; search not finished)"
        )


def exact_lipschitz(
    network: Network,
    region: AbstractRegion | None = None,
    *,
    time_limit: float | None = 60.0,
    tolerance: float = 1e-8,
    progress: ProgressCallback | None = None,
) -> ExactLipschitz:
    """Enclose sup ||f(x) - f(x')||_2 / ||x - x'||_2 over x != x' of a region between two proven numbers.

    `region` is a `lmikit.claims` Ball, Box or BallAndBox with interior points, or None for all of R^n_0.
    Branch and bound over the activation patterns of a ReLU network (leaky ReLU, PReLU, abs and Identity
    layers too): the upper side from a tree of cells that covers the region, each proven empty or with
    Jacobians of bounded norm; the lower side from a point that is proven to lie inside a cell. The work
    grows exponentially with the undecided neurons: some 30 of them with few inputs. After `time_limit`
    seconds (None: no limit) the search stops with the gap that is left; `upper` is then never above the
    LipSDP bound that a part of the time has found. The proof itself is not cut short. The constant is of the
    real-arithmetic function of the weights.

    Raises InputError (types, other activations, a region without interior points), OptionError,
    NotCertified where no leaf could be bounded at all. Method: Jordan and Dimakis, NeurIPS 2020.
    """
    start = time.monotonic()
    _check(network, region, time_limit, tolerance)
    limit = math.inf if time_limit is None else time_limit
    slopes = global_slopes(network) if region is None else narrowed(proven_intervals(network, region))
    theory = CellTheory(network, slopes)
    with blas_threads(1):
        tails, texts = _tails(network, slopes, limit)
        search = CellSearch(
            theory,
            region,
            LeafBounds(theory, tails),
            tolerance=tolerance,
            deadline=max(start + limit, time.monotonic() + _LEAST * limit),
            progress=progress,
        )
        search.run(_samples(network, region))
        certificate = _proven(network, region, search, slopes, texts)
    exact = certificate.upper <= certificate.lower * (1.0 + tolerance)
    seconds = time.monotonic() - start
    return ExactLipschitz(certificate.lower, certificate.upper, exact, certificate, search.visited, seconds)


def _check(
    network: Network, region: AbstractRegion | None, time_limit: float | None, tolerance: float
) -> None:
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if region is not None and not isinstance(region, AbstractRegion):
        raise InputError(f"region is a {type(region).__name__}; expected a Ball, Box, BallAndBox or None.")
    if time_limit is not None and not time_limit > 0.0:
        raise OptionError(f"time_limit is {time_limit}; expected a positive number of seconds or None.")
    if not 1e-9 <= tolerance < 1.0:
        raise OptionError(f"tolerance is {tolerance}; expected a number from 1e-9 to 1.")
    require_interior(region, network)


def _tails(network: Network, slopes: Pairs, limit: float) -> tuple[list[float], tuple[str | None, ...]]:
    """Certified Lipschitz bounds of the network behind every hidden layer but the last, and of the whole."""
    values: list[float] = []
    texts: list[str | None] = []
    left = None if math.isinf(limit) else _SHARE * limit / max(network.hidden_layers, 1)
    for k in range(network.hidden_layers):
        try:
            found = least_proven(
                tail_network(network, slopes, k), LipSDP(), solver=None, time_limit=left, progress=None
            )
            values.append(found.bound)
            texts.append(found.to_text())
        except LmikitError as error:
            _log.info("no bound of the layers behind layer %d: %s", k, error)
            values.append(math.inf)
            texts.append(None)
    return values, tuple(texts)


def _samples(network: Network, region: AbstractRegion | None) -> np.ndarray:
    rng = np.random.default_rng(0)
    n = network.input_dim
    if region is None:
        scale = 1.0 + max(float(np.abs(layer.bias).max(initial=0.0)) for layer in network.layers)
        return rng.standard_normal((_SAMPLES, n)) * scale
    if region.ball is None:
        assert region.box is not None
        return rng.uniform(region.box.lower, region.box.upper, (_SAMPLES, n))
    steps = rng.standard_normal((_SAMPLES, n))
    steps *= (
        region.ball.radius * rng.uniform(0.0, 1.0, (_SAMPLES, 1)) / np.linalg.norm(steps, axis=1)[:, None]
    )
    return region.ball.x0 + steps


def _proven(
    network: Network,
    region: AbstractRegion | None,
    search: CellSearch,
    slopes: Pairs,
    texts: tuple[str | None, ...],
) -> CellCertificate:
    """The certificate with the least upper bound: that of the tree, or of the whole network's LipSDP."""
    tree, upper = search.tree(), search.leaf_bound
    whole = search.bounds.tails[0] if search.bounds.tails else math.inf
    if whole <= upper:
        tree, upper = CellTree((BOUND,), ()), whole
    witness = CellWitness(slopes, texts, tree, search.best_point)
    failure: NotCertified | None = None
    for room in (0.0 if whole <= upper else 2e-10, 1e-9, 1e-7, 1e-5):
        try:
            return verify_cells(network, region, witness, upper * (1.0 + room))
        except NotCertified as error:
            failure = error
            _log.info("the tree is not proven with room %g: %s", room, error)
    assert failure is not None
    raise failure
