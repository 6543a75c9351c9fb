"""`local_lipschitz`: the least proven Lipschitz bound on a region of inputs."""

import logging
import math
import time

from ._errors import InputError, LmikitError
from ._progress import ProgressCallback
from ._proving import least_proven
from .certificates.local import LocalCertificate, narrowed, verify_local, with_slopes
from .certificates.local._certificate import Pairs
from .certificates.point import proven_intervals
from .claims import AbstractRegion
from .methods import AbstractMethod, LipSDP
from .network import Network
from .solvers import AbstractSolver

__all__ = ["local_lipschitz"]

_log = logging.getLogger("lmikit")


def local_lipschitz(
    network: Network,
    region: AbstractRegion,
    method: AbstractMethod | None = None,
    *,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> LocalCertificate:
    """Prove ||f(x) - f(x')||_2 <= L ||x - x'||_2 for all x, x' of a region, L never above the global bound.

    `region` is a `lmikit.claims` Ball, Box or BallAndBox. Rigorous CROWN enclosures of the
    preactivations give the slopes of every neuron there (one number where it is stable); `method`
    (None: exact LipSDP) proposes multipliers for these slopes and for the global ones, and the
    least proven bound is returned. The bound is of the real-arithmetic function of the weights.

    Raises InputError (types, an activation without proven values), OptionError, SolveFailed,
    NotCertified. Method: methods with local slopes, e.g. Avant and Morgansen, arXiv:2308.12000.
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if not isinstance(region, AbstractRegion):
        raise InputError(f"region is a {type(region).__name__}; expected a Ball, Box or BallAndBox.")
    method = LipSDP() if method is None else method
    local = narrowed(proven_intervals(network, region))
    everywhere: Pairs = tuple(
        layer.activation.slopes_for(layer.linear.shape[0], "global slopes") for layer in network.layers[:-1]
    )
    best: LocalCertificate | None = None
    failure: LmikitError | None = None
    start = time.monotonic()
    for slopes, share in ((local, 0.5), (everywhere, 1.0)):
        spent = time.monotonic() - start
        left = None if time_limit is None else max(share * time_limit - spent, 0.1 * time_limit)
        try:
            inner = least_proven(
                with_slopes(network, slopes), method, solver=solver, time_limit=left, progress=progress
            )
            found = verify_local(network, region, slopes, inner.witness, repair=False)
        except LmikitError as error:
            _log.info("no local bound with one set of slopes: %s", error)
            failure = error
            continue
        if found.bound < (math.inf if best is None else best.bound):
            best = found
    if best is None:
        assert failure is not None
        raise failure
    return best
