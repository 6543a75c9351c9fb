"""The independent checker of point certificates: the claim proven again by other means than `verify_point`.

It shares with `verify_point` the reading of files, the terms' formulas and the test of the
floating-point environment. It expands the Lagrangian into Z = [[corner, f'], [f, M]] by its own code,
factors M = G G' + F with F diagonally dominant with excess at least e in every row (so M >= e I, in the
equilibrated scale), and accepts row r if corner + 2 f'z + z'Mz >= ||M z + f||^2 / e at a z that a
floating-point solve proposes. Float mode encloses every number (`EnclosedArray`), exact mode computes with
integers (`Dyadic`), where no rounding theory is needed at all. A claim about float inferences is the claim
about the real function with lower + loss, the loss bounded by the checker's own recursion.
"""

from typing import Any

import numpy as np

from ..._errors import InputError, NotCertified
from ...network import Network
from .._kinds import CheckResult, guarded, register
from ._check_rows import row_margins
from ._enclosed_rows import enclosed_bounds, enclosed_fault
from ._format_read import parse_point
from ._format_write import FORMAT
from ._inference_check import checked_loss
from ._proof import fault_of
from ._subject import point_network, require_semantics
from ._witness import PointWitness, point_digest

__all__ = ["check_point"]


def check_point(text: str, network: Any, exact: bool) -> CheckResult:
    """The checker of `lmikit-point-cert` files; raises InputError for what is no chain."""
    chain = point_network(network)

    def decide(witness: PointWitness) -> CheckResult:
        require_semantics(network, witness.claim.semantics)
        return _checked(witness, chain, exact)

    return guarded(
        lambda: parse_point(text),
        decide,
        (ValueError, InputError, NotCertified),
    )


def _checked(witness: PointWitness, network: Network, exact: bool) -> CheckResult:
    claim = witness.claim
    if witness.digest != point_digest(network):
        return CheckResult(False, "it is for another network: weights, biases or activations differ")
    if claim.region.dim != network.input_dim or claim.rows.shape[1] != network.output_dim:
        return CheckResult(False, "the claim's sizes are not those of this network")
    loss = checked_loss(network, claim)
    if not np.isfinite(loss).all():
        return CheckResult(False, f"a {claim.semantics} inference on this region may overflow")
    proven: dict[int, float] = {}
    for k, group in enumerate(witness.groups):
        reason = fault_of(network, claim, group)
        if not reason and claim.kind == "radius" and not group.mu > 0.0:
            reason = "a radius needs mu > 0"
        if reason:
            return CheckResult(False, f"multiplier group {k}: {reason}")
        margins = row_margins(network, claim, group, loss, exact)
        if isinstance(margins, str):
            return CheckResult(False, f"multiplier group {k}: {margins}")
        for r, margin in zip(group.rows, margins, strict=True):
            proven[r] = max(margin, proven.get(r, -np.inf))
    reason = enclosed_fault(claim, witness.enclosed)
    if reason:
        return CheckResult(False, reason)
    if witness.enclosed:
        _with_enclosed(proven, network, witness, loss)
    how = "in exact integers" if exact else "with every rounding enclosed"
    open_rows = [r for r in range(len(claim.rows)) if not proven.get(r, -np.inf) >= 0.0]
    if open_rows:
        worst = min(proven.get(r, -np.inf) for r in open_rows)
        return CheckResult(False, f"not proven {how}: rows {open_rows[:8]}", worst)
    return CheckResult(True, f"every row is proven, its multipliers {how}", min(proven.values()))


def _with_enclosed(
    proven: dict[int, float], network: Network, witness: PointWitness, loss: np.ndarray
) -> None:
    """Excesses over the claim by CROWN's bounds; outward rounding in either mode, as for interval terms."""
    claim = witness.claim
    bounds = enclosed_bounds(network, claim, witness.enclosed)
    for r, bound in zip(witness.enclosed, bounds, strict=True):
        needed = claim.lower[r] if loss[r] == 0.0 else np.nextafter(claim.lower[r] + loss[r], np.inf)
        excess = float(np.nextafter(bound - needed, -np.inf)) if bound != needed else 0.0
        proven[r] = max(excess, proven.get(r, -np.inf))


register(FORMAT, check_point)
