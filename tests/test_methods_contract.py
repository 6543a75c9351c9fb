"""The contract of `AbstractMethod`, for every method that `lmikit.methods` exports."""

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import demo_network, networks

from lmikit import methods
from lmikit.certificates import verify
from lmikit.methods import AbstractMethod
from lmikit.network import GELU, Network, ReLU, Tanh

METHODS = tuple(
    cls
    for cls in (getattr(methods, name) for name in methods.__all__)
    if inspect.isclass(cls) and issubclass(cls, AbstractMethod) and not inspect.isabstract(cls)
)
# Methods that iterate stop within a tolerance, which another order of the same sums may shift.
ITERATIVE = 2e-3
every_method = pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.name)


def gaussian(seed, dims=(3, 6, 5, 2), activation="relu"):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    biases = [rng.standard_normal(m) for m in dims[1:]]
    return weights, biases, activation


def bound_of(cls, network):
    certificate = verify(network, cls().propose(network))
    assert certificate.proven
    return certificate.bound


def test_the_registry_is_what_this_file_thinks():
    names = [cls.name for cls in METHODS]
    assert len(set(names)) == len(names) >= 5
    assert {"spectral-product", "eclipse-fast", "closed-form", "layer-scaling"} <= set(names)


@every_method
def test_constructible_frozen_and_comparable(cls):
    method = cls()
    assert method == cls()
    assert isinstance(method.name, str)
    with pytest.raises(AttributeError):
        method.anything = 1


@every_method
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])
def test_witness_is_proven_and_covers_difference_quotients(cls, data):
    network = data.draw(networks(max_hidden=2, max_width=4, concrete=True))
    bound = bound_of(cls, network)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((200, network.input_dim)) * 3.0
    y = x + rng.standard_normal(x.shape) * 10.0 ** rng.uniform(-3, 1, (200, 1))
    moved, apart = network(x) - network(y), np.linalg.norm(x - y, axis=1)
    rounding = 1e-12 * (np.abs(network(x)).max() + np.abs(network(y)).max() + 1e-300)
    assert (np.linalg.norm(moved, axis=1) <= bound * apart * (1 + 1e-12) + rounding).all()


@every_method
@pytest.mark.parametrize("activation", [ReLU(), GELU(), Tanh()], ids=lambda a: a.name)
def test_bound_is_at_or_above_jacobians(cls, activation):
    weights, biases, _ = gaussian(4)
    network = Network.from_arrays(weights, biases, activation)
    bound = bound_of(cls, network)
    rng = np.random.default_rng(5)
    alpha, beta = network.slopes[0][0][0], network.slopes[0][1][0]
    for _ in range(200):
        product = weights[0]
        for w in weights[1:]:
            product = w @ (rng.choice([alpha, beta], product.shape[0])[:, None] * product)
        assert np.linalg.norm(product, 2) <= bound * (1 + 1e-13)


@every_method
def test_power_of_two_scaling_scales_the_bound_exactly(cls):
    weights, biases, activation = gaussian(1)
    plain = bound_of(cls, Network.from_arrays(weights, biases, activation))
    scaled = [np.ldexp(w, p) for w, p in zip(weights, (7, -12, 3), strict=True)]
    assert bound_of(cls, Network.from_arrays(scaled, biases, activation)) == np.ldexp(plain, -2)


@every_method
def test_biases_do_not_matter(cls):
    weights, biases, activation = gaussian(2)
    with_biases = bound_of(cls, Network.from_arrays(weights, biases, activation))
    assert bound_of(cls, Network.from_arrays(weights, None, activation)) == with_biases


@every_method
def test_permuting_neurons_changes_nothing_but_rounding(cls):
    weights, _, activation = gaussian(3)
    rng = np.random.default_rng(0)
    p, q = rng.permutation(6), rng.permutation(5)
    permuted = [weights[0][p], weights[1][q][:, p], weights[2][:, q]]
    plain = bound_of(cls, Network.from_arrays(weights, activation=activation))
    again = bound_of(cls, Network.from_arrays(permuted, activation=activation))
    assert again == pytest.approx(plain, rel=ITERATIVE)


@every_method
def test_demo_network_lies_between_its_constant_and_the_product(cls):
    assert 6.70820 <= bound_of(cls, demo_network()) <= 7.49927


@every_method
def test_a_constant_function_and_a_linear_map(cls):
    constant = Network.from_arrays([np.ones((3, 2)), np.zeros((2, 3))])
    assert bound_of(cls, constant) == 0.0
    w = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    assert bound_of(cls, Network.from_arrays([w])) == pytest.approx(4.0, rel=1e-6)
