"""Assertions that a bound can fail: difference quotients that exceed it, found and shown.

A quotient ||f(x) - f(x')|| / ||x - x'|| above the claimed bound refutes it; none found proves nothing.
`TRAPS` are networks on which known tools have returned bounds below the truth.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .._errors import InputError, LmikitError
from ..network import GELU, LeakyReLU, Network, SiLU, lower_bound
from ._networks import demo_network, networks

__all__ = ["TRAPS", "assert_covers", "assert_sound", "largest_quotient"]

_ROUNDING = 1e-9  # relative: far above what evaluating small networks in float64 can add


def _traps() -> Mapping[str, Network]:
    gelu = Network.from_arrays([[[1.0]], [[1.0]]], None, GELU())
    return {
        # relu(x) - relu(x - 1): multipliers that couple neurons "prove" a constant below 1
        "two relus": Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]], [[0.0, -1.0], None]),
        "invertible relus": Network.from_arrays([[[1.1, -1.3], [0.6, -1.2]], [[1.1, -1.6]]]),
        # slopes beyond [0, 1]: true constants 1.1289, 1.0998 and 2
        "gelu": gelu,
        "silu": Network.from_arrays([[[1.0]], [[1.0]]], None, SiLU()),
        "steep leaky relu": Network.from_arrays([[[1.0]], [[1.0]]], None, LeakyReLU(2.0)),
        "negative slope": Network.from_arrays([[[1.0]], [[1.0]]], None, LeakyReLU(-1.5)),
        "demo": demo_network(),
        # badly scaled layers, a rank-one and a dead one
        "scaled": Network.from_arrays([1e-6 * np.eye(2), 1e6 * np.eye(2), np.ones((1, 2))]),
        "linear": Network.from_arrays([[[3.0, 4.0]]]),
        "constant": Network.from_arrays([np.ones((2, 2)), np.zeros((1, 2))]),
    }


TRAPS: Mapping[str, Network] = _traps()


def largest_quotient(network: Network, *, seed: int = 0, starts: int = 16, steps: int = 20) -> float:
    """A lower bound of the Lipschitz constant of `network`, up to rounding: an ascent on Jacobian norms."""
    return lower_bound(network, seed=seed, starts=starts, steps=steps).value


def assert_covers(network: Network, bound: Any, *, seed: int = 0) -> None:
    """Raise AssertionError where `bound` (a number or a Certificate) is refuted for `network`.

    Random pairs near and far and an ascent on the Jacobian's norm are tried. Slope classes have
    no forward pass; their bounds are refuted by the Jacobian norms at random slopes.
    """
    value = float(getattr(bound, "bound", bound))
    if math.isnan(value) or value < 0.0:
        raise AssertionError(f"the bound of {network} is {value}; expected a number, zero or more.")
    for found, how in _quotients(network, seed):
        if found > value * (1.0 + _ROUNDING):
            raise AssertionError(f"the bound {value!r} of {network} is refuted: {how} gives {found!r}.")


def _quotients(network: Network, seed: int) -> Iterator[tuple[float, str]]:
    rng = np.random.default_rng(seed)
    try:
        yield largest_quotient(network, seed=seed), "a Jacobian"
    except InputError:  # a slope class, or slopes narrower than the activation's
        yield _vertex_quotient(network, rng), "a choice of slopes"
        return
    x = rng.standard_normal((100, network.input_dim)) * 3.0
    y = x + rng.standard_normal(x.shape) * 10.0 ** rng.uniform(-2, 1, (100, 1))
    moved, apart = np.linalg.norm(network(x) - network(y), axis=1), np.linalg.norm(x - y, axis=1)
    noise = 1e-12 * (np.abs(network(x)).max() + np.abs(network(y)).max())
    k = int(np.argmax((moved - noise) / apart))
    yield float((moved[k] - noise) / apart[k]), f"the pair x = {x[k].tolist()}, x' = {y[k].tolist()}"


def _vertex_quotient(network: Network, rng: np.random.Generator) -> float:
    """max ||W_L D_L ... W_0|| over random slopes at the ends of their intervals."""
    largest = 0.0
    for _ in range(50):
        product = network.weights[0]
        for (alpha, beta), weight in zip(network.slopes, network.weights[1:], strict=True):
            slopes = np.where(rng.random(alpha.size) < 0.5, alpha, beta)
            product = weight @ (slopes[:, None] * product)
        largest = max(largest, float(np.linalg.norm(product, 2)))
    return largest


def assert_sound(
    bound_fn: Callable[[Network], Any],
    strategy: st.SearchStrategy[Network] | None = None,
    *,
    max_examples: int = 50,
    refusals: tuple[type[Exception], ...] = (LmikitError, NotImplementedError),
) -> None:
    """Raise AssertionError where `bound_fn(network)` is below the truth for some network.

    `bound_fn` returns a number or a Certificate; raising one of `refusals` claims nothing and is
    accepted. The networks of `TRAPS` are tried first, then `max_examples` drawn from
    `strategy` (None: `networks(concrete=True)`), and a failing one is shrunk.
    """

    def check(network: Network) -> bool:
        try:
            bound = bound_fn(network)
        except refusals:
            return False
        assert_covers(network, bound)
        return True

    claims = [check(network) for network in TRAPS.values()]
    if not any(claims):
        raise AssertionError(
            f"the function refused all {len(claims)} networks of TRAPS; there is no bound to test."
        )

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(networks(max_hidden=2, concrete=True) if strategy is None else strategy)
    def run(network: Network) -> None:
        check(network)

    run()
