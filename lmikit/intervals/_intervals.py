"""`LocalIntervals`: proven enclosures of every preactivation on a region, and what follows from them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from .._arrays import blas_threads
from .._convert import floats
from .._errors import InputError, OptionError
from .._ieee import require_ieee
from ..claims import AbstractRegion
from ..network import Network
from ._crown import AbsoluteAffine, affine_maps, crown_lower
from ._domain import Domain
from ._enclosure import above, below
from ._functions import profile_of
from ._profile import Profile
from ._relaxation import Relaxation, local_slopes, relaxation
from ._rounding import SAFE, TINY, gamma, sums

__all__ = ["LocalIntervals", "LocalSlopes", "crown_margin", "local_intervals"]

Method = Literal["crown", "ibp"]


@dataclasses.dataclass(frozen=True, eq=False)
class LocalSlopes:
    """alpha <= (phi(a) - phi(b)) / (a - b) <= beta for all preactivations a != b on a region.

    One pair of arrays (n_k,) per hidden layer. Made by `LocalIntervals.slopes` only: slopes
    narrower than the activation's global ones hold on the region they were proven for.
    """

    alpha: tuple[np.ndarray, ...]
    beta: tuple[np.ndarray, ...]
    region: AbstractRegion


@dataclasses.dataclass(frozen=True, eq=False)
class LocalIntervals:
    """lower[k] <= v_{k+1}(x) <= upper[k] for every x of the region, in real arithmetic.

    One array (n_k,) per hidden layer, and one more for the outputs (m,). Proven with every
    rounding of the computation accounted for; a bound that overflows is infinite.
    """

    network: Network
    region: AbstractRegion
    lower: tuple[np.ndarray, ...]
    upper: tuple[np.ndarray, ...]
    relaxations: tuple[Relaxation, ...]

    @functools.cached_property
    def slopes(self) -> LocalSlopes:
        """The slope bounds that hold on the region, within the activation's global ones."""
        pairs = []
        with np.errstate(all="ignore"):
            for layer, low, high in zip(self.network.layers[:-1], self.lower, self.upper, strict=False):
                bounds = layer.activation.slopes_for(low.size, "local slopes")
                pairs.append(local_slopes(profile_of(layer.activation), bounds, low, high))
        return LocalSlopes(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), self.region)

    def widened(self, share: float) -> "LocalIntervals":
        """The same with every hidden interval wider by `share` of its size: what other roundings may give."""
        room = [
            share * (1e-3 + np.maximum(np.abs(a), np.abs(b)))
            for a, b in zip(self.lower, self.upper, strict=True)
        ]
        lower = tuple(below(a - r) for a, r in zip(self.lower, room, strict=True))
        upper = tuple(above(b + r) for b, r in zip(self.upper, room, strict=True))
        return dataclasses.replace(self, lower=lower, upper=upper)

    def undecided(self) -> tuple[int, ...]:
        """Per hidden layer, the number of neurons whose slope is not one number."""
        slopes = self.slopes
        return tuple(int((a < b).sum()) for a, b in zip(slopes.alpha, slopes.beta, strict=True))

    def ranges(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Enclosures of the values after each hidden layer."""
        return tuple((r.range_lower, r.range_upper) for r in self.relaxations)

    def margins(self, rows: Any) -> np.ndarray:
        """Proven lower bounds of rows (p, m) times f(x) on the region, (p,), by CROWN."""
        matrix = np.atleast_2d(floats("rows", rows))
        if matrix.shape[1] != self.network.output_dim or not np.isfinite(matrix).all():
            raise InputError(
                f"rows has shape {matrix.shape}; expected (p, {self.network.output_dim}), finite numbers."
            )
        require_ieee()
        with blas_threads(1), np.errstate(all="ignore"):
            maps = affine_maps(self.network)
            return crown_lower(maps, self.relaxations, Domain.of(self.region), matrix, len(maps) - 1)


def local_intervals(
    network: Network,
    region: AbstractRegion,
    method: Method = "crown",
    *,
    low_slopes: Sequence[np.ndarray] | None = None,
) -> LocalIntervals:
    """Enclose every preactivation of a chain on a region, rigorously.

    "ibp" propagates intervals; "crown" carries linear bounds back to the input for every
    neuron and intersects them with the intervals. `low_slopes` fixes the slopes of the lower
    lines per hidden layer (n_k,); None chooses the one with the least area. The enclosures hold
    for the function that the float64 weights define, in real arithmetic, in any summation
    order of the BLAS (assumed: products are sums of products; no Strassen scheme).

    Raises InputError (a region of another size, an activation without proven values, slopes of
    other sizes), OptionError, NotCertified where this thread's arithmetic is not IEEE 754's default.
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if method not in ("crown", "ibp"):
        raise OptionError(f"method is {method!r}; expected 'crown' or 'ibp'.")
    if not isinstance(region, AbstractRegion):
        raise InputError(f"region is a {type(region).__name__}; expected a Ball, Box or BallAndBox.")
    if region.dim != network.input_dim:
        raise InputError(f"the region has dimension {region.dim}; expected {network.input_dim}, the inputs.")
    _check_slopes(network, low_slopes)
    profiles = [profile_of(layer.activation) for layer in network.layers[:-1]]
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        return _enclosed(network, region, method, profiles, low_slopes)


def crown_margin(network: Network, region: AbstractRegion, rows: Any, method: Method = "crown") -> np.ndarray:
    """Proven lower bounds of rows (p, m) times f(x) for every x of the region, (p,): CROWN alone."""
    return local_intervals(network, region, method).margins(rows)


def _check_slopes(network: Network, low_slopes: Sequence[np.ndarray] | None) -> None:
    if low_slopes is None:
        return
    sizes = [np.shape(s) for s in low_slopes]
    if sizes != [(n,) for n in network.dims[1:-1]]:
        raise InputError(f"low_slopes has shapes {sizes}; expected one array (n_k,) per hidden layer.")


def _enclosed(
    network: Network,
    region: AbstractRegion,
    method: Method,
    profiles: Sequence[Profile],
    low_slopes: Sequence[np.ndarray] | None,
) -> LocalIntervals:
    maps, domain = affine_maps(network), Domain.of(region)
    lowers, uppers, found = enclose(maps, domain, method, profiles, low_slopes)
    for array in (*lowers, *uppers):
        array.setflags(write=False)
    return LocalIntervals(network, region, tuple(lowers), tuple(uppers), tuple(found))


def enclose(
    maps: Sequence[AbsoluteAffine],
    domain: Domain,
    method: Method,
    profiles: Sequence[Profile],
    low_slopes: Sequence[np.ndarray] | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray], list[Relaxation]]:
    """Bounds of every preactivation on the domain, (n_k,) or (B, n_k), one pair per map, and relaxations.

    One profile per hidden layer, in the order of the maps.
    """
    lowers: list[np.ndarray] = []
    uppers: list[np.ndarray] = []
    found: list[Relaxation] = []
    for k, affine in enumerate(maps):
        if k == 0 or method == "crown":
            low, high = _by_crown(maps, found, domain, k)
        if k:
            ibp_low, ibp_high = interval_step(affine, found[-1].range_lower, found[-1].range_upper)
            low, high = (
                (ibp_low, ibp_high)
                if method == "ibp"
                else (np.maximum(low, ibp_low), np.minimum(high, ibp_high))
            )
        lowers.append(low)
        uppers.append(high)
        if k < len(profiles):
            found.append(relaxation(profiles[k], low, high, None if low_slopes is None else low_slopes[k]))
    return lowers, uppers, found


def _by_crown(
    maps: Sequence[AbsoluteAffine], found: Sequence[Relaxation], domain: Domain, k: int
) -> tuple[np.ndarray, np.ndarray]:
    n = maps[k].bias.size
    sparse = sp.issparse(maps[k].matrix) and domain.center.ndim == 1
    eye: Any = sp.eye_array(n, format="csr") if sparse else np.eye(n)
    both = sp.csr_array(sp.vstack([eye, -eye])) if sparse else np.vstack([eye, -eye])
    lower = crown_lower(maps, found, domain, both, k)
    return lower[..., :n], -lower[..., n:]


def interval_step(affine: AbsoluteAffine, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enclosures of W x + b for low <= x <= high, (n,) or (B, n)."""
    middle = 0.5 * low + 0.5 * high
    half = above(np.maximum(high - middle, middle - low))
    spread = half @ affine.size.T
    scale = np.abs(middle) + half
    tiny = TINY * (1.0 + sums(scale))
    error = gamma(affine.fan_in + 4) * (scale @ affine.size.T + np.abs(affine.bias)) + tiny
    reach = above(above(spread) + error * SAFE)
    center = np.asarray(middle @ affine.matrix.T) + affine.bias
    return below(center - reach), above(center + reach)
