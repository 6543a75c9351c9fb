"""The proof of both sides from a witness; `verify_cells` and the checker of files share it.

In the exact mode every norm is decided in integers and the inner certificates in their own exact mode;
emptiness, coverage and the point are decided in integers in both modes.
"""

from fractions import Fraction

import numpy as np

from ..._errors import InputError, NotCertified
from ...claims import AbstractRegion
from ...network import Layer, Network, Slopes
from .._check import check_lipschitz
from .._format_read import parse
from ..local._certificate import contains
from ._bounds import LeafBounds, SpectralBound
from ._cells import CellTheory, Pairs
from ._emptiness import ExactRegion, proves_empty
from ._interior import interior_norm
from ._tree import CellWitness, leaves

__all__ = ["global_slopes", "prove_lower", "prove_upper", "require_interior", "tail_network"]


def require_interior(region: AbstractRegion | None, network: Network) -> None:
    """Raises InputError where the region is not of the network's inputs or has no interior points."""
    if region is None:
        return
    if region.dim != network.input_dim:
        raise InputError(f"the region has dimension {region.dim}; expected {network.input_dim}, the inputs.")
    box = region.box
    if box is not None and not bool((box.lower < box.upper).all()):
        fixed = np.flatnonzero(box.lower == box.upper).tolist()
        raise InputError(
            f"the box has no width in the coordinates {fixed}; expected lower < upper. Fold these "
            "inputs into the first bias."
        )


def tail_network(network: Network, slopes: Pairs, k: int) -> Network:
    """The class of functions from the values after hidden layer k (the inputs for k = 0) to the outputs."""
    layers = [
        Layer(layer.linear, layer.bias, Slopes(alpha, beta), alpha, beta)
        for layer, (alpha, beta) in zip(network.layers[k:-1], slopes[k:], strict=True)
    ]
    return Network((*layers, network.layers[-1]), network.dims[k])


def global_slopes(network: Network) -> Pairs:
    """The slope bounds of the activations everywhere."""
    return tuple(
        layer.activation.slopes_for(layer.linear.shape[0], "global slopes") for layer in network.layers[:-1]
    )


def _holding(slopes: Pairs, network: Network, region: AbstractRegion | None) -> bool:
    if region is not None:
        return contains(slopes, network, region)
    return all(
        bool(((a <= low) & (high <= b)).all())
        for (a, b), (low, high) in zip(slopes, global_slopes(network), strict=True)
    )


def _tails(network: Network, witness: CellWitness, exact: bool) -> list[float]:
    """The certified bounds tau_k; raises NotCertified for one that is refused."""
    found = []
    for k, text in enumerate(witness.tails):
        if text is None:
            found.append(float("inf"))
            continue
        result = check_lipschitz(text, tail_network(network, witness.slopes, k), exact)
        if not result.ok:
            raise NotCertified(f"the certificate of the tail behind layer {k} is refused: {result.reason}")
        found.append(parse(text).bound)
    return found


def prove_upper(
    network: Network, region: AbstractRegion | None, witness: CellWitness, upper: float, exact: bool
) -> int:
    """Prove that the constant on the region is at most `upper`; the number of leaves.

    Raises NotCertified, InputError.
    """
    require_interior(region, network)
    if not (np.isfinite(upper) and upper >= 0.0):
        raise NotCertified(f"the upper bound is {upper!r}; expected a finite number, zero or more.")
    theory = CellTheory(network, witness.slopes)  # sizes
    if not _holding(witness.slopes, network, region):
        raise NotCertified("the slopes do not contain those that are proven on the region.")
    if len(witness.tails) != network.hidden_layers:
        raise NotCertified("there is not one tail, or None, per hidden layer.")
    bounds = LeafBounds(theory, _tails(network, witness, exact))
    spectral, numbers, limit, count = SpectralBound(exact), ExactRegion(region), Fraction(upper), 0
    for cell, emptiness in leaves(theory, witness.tree):
        count += 1
        if emptiness is not None:
            if not proves_empty(cell, numbers, emptiness):
                raise NotCertified(f"leaf {count} is not proven empty by its multipliers.")
        elif not bounds.holds(cell, limit, spectral):
            raise NotCertified(f"leaf {count} is not proven to have Jacobians of norm {upper!r} at most.")
    return count


def prove_lower(network: Network, region: AbstractRegion | None, witness: CellWitness) -> float:
    """A proven lower bound from the witness's point; 0 without one."""
    if witness.point is None:
        return 0.0
    theory = CellTheory(network, witness.slopes)
    n = network.input_dim
    if witness.point.x.shape != (n,) or witness.point.direction.shape != (n,):
        raise NotCertified("the point or its direction is not one of this network's inputs.")
    return interior_norm(theory, region, witness.point)
