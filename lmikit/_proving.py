"""From a method to a certificate: the proposal is proven, and its start where that proof loses something."""

import logging
import math

from ._errors import InexactScaling, NotCertified, SolveFailed
from ._progress import ProgressCallback
from ._witness import Witness
from .certificates import Certificate, verify
from .methods import AbstractMethod
from .network import Network
from .solvers import AbstractSolver

__all__ = ["least_proven"]

_log = logging.getLogger("lmikit")
_LOSS = 1e-6  # of a proof, relative to its proposal, from which the start is proven too


def least_proven(
    network: Network,
    method: AbstractMethod,
    *,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
    proposal: Witness | None = None,
) -> Certificate:
    """The certificate of the method's proposal, or that of its start where it is below.

    The start is proven where the proposal's proof loses more than 1e-6 of its bound or fails, and
    where no solver was named and the default one gave nothing. `proposal` is the method's where it is at
    hand. Raises what the method raises, and NotCertified where nothing could be proven, also where the
    layers leave the range that it can scale to.
    """
    try:
        witness = proposal or _proposed(network, method, solver, time_limit, progress)
        certificate = verify(network, witness)
    except (NotCertified, SolveFailed) as error:
        if method.start is None or (isinstance(error, SolveFailed) and solver is not None):
            raise
        _log.warning("%s gave no bound (%s); its start is proven instead", method.label, error)
        try:
            return _proven_start(network, method.start, time_limit)
        except NotCertified:
            raise error from None
    if method.start is None or certificate.bound <= _claimed(witness) * (1.0 + _LOSS):
        return certificate
    _log.info("the proof of %s's proposal of %g gave %g", method.label, _claimed(witness), certificate.bound)
    try:
        start = _proven_start(network, method.start, time_limit)
    except NotCertified:
        return certificate
    return min(certificate, start, key=lambda c: c.bound)


def _proven_start(network: Network, start: AbstractMethod, time_limit: float | None) -> Certificate:
    return verify(network, _proposed(network, start, None, time_limit, None))


def _proposed(
    network: Network,
    method: AbstractMethod,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> Witness:
    """The network is valid: that its entries span too far for the method's scalings is no input error."""
    try:
        return method.propose(network, solver=solver, time_limit=time_limit, progress=progress)
    except InexactScaling as error:
        raise NotCertified(f"{method.label} cannot propose a bound: {error}") from error


def _claimed(witness: Witness) -> float:
    """2**sum(layer_pow2) sqrt(rho); infinite where it is unusable."""
    if not (math.isfinite(witness.rho) and witness.rho >= 0.0):
        return math.inf
    try:
        return math.ldexp(math.sqrt(witness.rho), sum(witness.layer_pow2))
    except OverflowError:
        return math.inf
