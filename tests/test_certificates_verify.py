"""Laws of `verify`: whatever is proposed, what comes out is proven, at or above every true stretch."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from certificates_helpers import (
    any_witness,
    exact_relu_output,
    some_vertices,
    stretches_beyond,
    vertex_jacobian,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import DEMO_WEIGHTS, demo_network, networks

import lmikit._arrays
from lmikit import InputError, Network, NotCertified, Witness
from lmikit.certificates import Certificate, check, verify
from lmikit.network import Slopes

DEMO = demo_network()
DEMO_T = ([8.998, 1.2238], [3.3376, 1.4248])
GOOD = Witness("lipsdp", 45.126, DEMO_T)


def zeros(network, kind="lipsdp"):
    sizes = network.dims[1:-1] if kind == "lipsdp" else (1,) * len(network.layers)
    return Witness(kind, 0.0, tuple(np.zeros(n) for n in sizes))


def norm_product(network):
    gains = [max(np.abs(a).max(), np.abs(b).max()) for a, b in network.slopes]
    return math.prod(np.linalg.norm(w, 2) for w in network.weights) * math.prod(gains)


# ------------------------------------------------------------------------------- soundness laws


@settings(max_examples=100)
@given(st.data(), networks(layer_pow2=3))
def test_any_solver_output_gives_a_sound_bound(data, network):
    witness = data.draw(any_witness(network))
    certificate = verify(network, witness)
    for choice in some_vertices(network):
        assert not stretches_beyond(vertex_jacobian(network, choice), certificate.bound)
    claimed = math.sqrt(witness.rho) if witness.rho > 0.0 and math.isfinite(witness.rho) else 0.0
    assert certificate.bound <= max(claimed, norm_product(network)) * (1 + 2e-5)
    if certificate.bound == 0.0:
        assert check(certificate, network).reason == "the output is exactly independent of the input"


@settings(max_examples=80)
@given(st.data(), networks(layer_pow2=3))
def test_the_three_checkers_agree(data, network):
    certificate = verify(network, data.draw(any_witness(network)))
    assert verify(network, certificate.witness, repair=False).rho == certificate.rho
    for exact in (False, True):
        result = check(certificate, network, exact=exact)
        assert result.ok, result
        assert result.margin >= 0.0


@settings(max_examples=60)
@given(st.data(), networks(layer_pow2=3), st.sampled_from([1e-3, 1e-6, 1e-7]))
def test_a_smaller_rho_is_refused_by_all_three(data, network, cut):
    """rho is least for these multipliers up to the rounding margin: rho (1 - cut) must fail."""
    certificate = verify(network, data.draw(any_witness(network)))
    if certificate.bound > 0.0:
        smaller = dataclasses.replace(certificate.witness, rho=certificate.rho * (1.0 - cut))
        with pytest.raises(NotCertified):
            verify(network, smaller, repair=False)


@given(networks(max_hidden=2, concrete=True), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_difference_quotients_stay_below(network, seed):
    bound = verify(network, zeros(network)).bound
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, network.input_dim))
    z = x + 10.0 ** rng.uniform(-3, 1, (50, 1)) * rng.standard_normal(x.shape)
    moved = np.linalg.norm(network(x) - network(z), axis=1)
    size = 1.0 + np.abs(network(x)).max() + np.abs(network(z)).max()
    assert (moved <= bound * np.linalg.norm(x - z, axis=1) * (1 + 1e-12) + 1e-12 * size).all()


@given(networks(max_hidden=3, activation="relu", biases=False, layer_pow2=20), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_difference_quotients_stay_below_exactly(network, seed):
    """In rationals, without tolerance; the second point is the first moved along a stretched direction."""
    certificate = verify(network, zeros(network))
    rng = np.random.default_rng(seed)
    active = vertex_jacobian(network, lambda k, i: True)
    direction = np.linalg.svd(np.array([[float(v) for v in row] for row in active]))[2][0]
    for size in (1.0, 1e-6):
        x = rng.standard_normal(network.input_dim)
        z = x + size * (direction if rng.integers(2) else rng.standard_normal(x.size))
        moved = [
            a - b for a, b in zip(exact_relu_output(network, x), exact_relu_output(network, z), strict=True)
        ]
        step = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(x, z, strict=True)]
        assert sum(v * v for v in moved) <= Fraction(certificate.bound) ** 2 * sum(v * v for v in step)


# ---------------------------------------------------------------------------------- worked numbers


def test_demo_numbers():
    certificate = verify(DEMO, GOOD)
    assert certificate.bound == pytest.approx(6.71755, abs=2e-5)
    assert certificate.proven is True
    assert Fraction(certificate.rho) * Fraction(4) ** sum(certificate.witness.layer_pow2) <= (
        Fraction(certificate.bound) ** 2
    )
    assert verify(DEMO, zeros(DEMO, "layerwise")).bound == pytest.approx(7.49926, abs=1e-5)


@pytest.mark.parametrize(
    ("alpha", "beta", "least", "most"),
    [
        (-0.1, 1.1, 8.11693, 9.0742),
        (-1, 1, 6.7082, 7.4993),
        (0.2, 0.9, 5.43365, 6.0745),
        (1, 1, 6.7082, 6.7083),
    ],
)
def test_other_slopes(alpha, beta, least, most):
    network = demo_network(Slopes(alpha, beta))
    bound = verify(network, zeros(network)).bound
    assert least <= bound <= most


def test_a_coupled_multiplier_cannot_be_stated():
    with pytest.raises(InputError, match="one dimension"):
        Witness("lipsdp", 1.0, (np.array([[1.1, -1.0], [-1.0, 1.1]]),))


def test_the_counterexample_to_coupled_multipliers_is_bounded_by_one():
    """f(x) = relu(x) - relu(x + 1): true constant 1."""
    network = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]], biases=[[0.0, 1.0], None])
    bound = verify(network, Witness("lipsdp", 1.0, (np.array([1.0, 1.0]),))).bound
    assert 1.0 <= bound <= math.sqrt(2.0) * (1 + 1e-9)


# -------------------------------------------------------------------------------- the exact-zero rule


@pytest.mark.parametrize(
    "weights",
    [
        [np.zeros((2, 3))],
        [np.zeros((2, 3)), np.ones((1, 2))],
        [np.ones((2, 3)), np.zeros((1, 2))],
        [[[1.0, 1.0], [0.0, 0.0]], [[0.0, 3.0]]],
        [[[1.0], [0.0]], [[0.0, 1.0], [0.0, 2.0]], [[1.0, 1.0]]],
    ],
)
@pytest.mark.parametrize("kind", ["lipsdp", "layerwise"])
def test_zero_bound_by_the_rule(weights, kind):
    network = Network.from_arrays([np.array(w) for w in weights])
    certificate = verify(network, zeros(network, kind))
    assert certificate.bound == 0.0
    assert "exact-zero" in certificate.theorem
    assert check(certificate, network).ok
    assert check(certificate, network, exact=True).ok


def test_zero_bound_only_by_the_rule():
    network = Network.from_arrays([np.array([[5e-324, 0.0]])])
    certificate = verify(network, zeros(network))
    assert certificate.bound > 0.0
    with pytest.raises(NotCertified):
        verify(network, Witness("lipsdp", 0.0, ()), repair=False)


def test_slopes_zero_stop_the_signal():
    network = Network.from_arrays(DEMO_WEIGHTS, activation=Slopes([0.0, 0.0], [0.0, 0.0]))
    assert verify(network, zeros(network)).bound == 0.0


def test_dead_neurons_may_have_multiplier_zero():
    network = Network.from_arrays([[[1.0], [0.0], [2.0]], [[1.0, 1.0, 0.0]]])
    witness = Witness("lipsdp", 1.001, (np.array([1.0, 0.0, 0.0]),))
    assert verify(network, witness, repair=False).bound == pytest.approx(1.0005, abs=1e-4)
    alive = Witness("lipsdp", 1.001, (np.array([0.0, 1.0, 1.0]),))
    with pytest.raises(NotCertified):
        verify(network, alive, repair=False)


# ------------------------------------------------------------------------------------------- scales


@settings(max_examples=60)
@given(st.data(), networks(max_hidden=2), st.lists(st.integers(-200, 200), min_size=3, max_size=3))
def test_power_of_two_scaling_is_exact(data, network, powers):
    powers = powers[: len(network.layers)]
    witness = data.draw(
        any_witness(network).filter(lambda w: w.kind == "layerwise") | st.just(zeros(network))
    )
    scaled = Network.from_arrays(
        [np.ldexp(w, p) for w, p in zip(network.weights, powers, strict=True)],
        activation=[layer.activation for layer in network.layers[:-1]],
    )
    assert verify(scaled, witness).bound == math.ldexp(verify(network, witness).bound, sum(powers))


@settings(max_examples=60)
@given(st.lists(st.integers(-498, 498), min_size=3, max_size=3))
def test_extreme_scales_are_bounded_or_refused(powers):
    network = Network.from_arrays(
        [np.ldexp(np.array(w), p) for w, p in zip(DEMO_WEIGHTS, powers, strict=True)]
    )
    if sum(powers) < 1015:
        bound = verify(network, zeros(network)).bound
        assert not stretches_beyond(vertex_jacobian(network, lambda k, i: True), bound)
        if sum(powers) > -1000:
            assert bound <= math.ldexp(7.4993, sum(powers))
    else:
        with pytest.raises(NotCertified, match="overflow"):
            verify(network, zeros(network))


def test_raw_witness_with_extreme_products_is_refused_not_trusted():
    network = Network.from_arrays([np.array([[1e200]]), np.array([[1e200]]), np.array([[1e-250]])])
    witness = Witness("lipsdp", 1e300, (np.array([1e-100]), np.array([1e-300])))
    with pytest.raises(NotCertified):
        verify(network, witness, repair=False)
    assert verify(network, witness).bound == pytest.approx(1e150)


def test_subnormal_weights():
    network = Network.from_arrays([np.array([[5e-324, 1e-310], [1.0, 2.0]]), np.array([[1.0, 3e-320]])])
    for kind in ("lipsdp", "layerwise"):
        certificate = verify(network, zeros(network, kind))
        assert not stretches_beyond(vertex_jacobian(network, lambda k, i: True), certificate.bound)
        assert check(certificate, network, exact=True).ok


@pytest.mark.parametrize("power", [10**3, -(10**3), 2300, -2300, 10**30])
def test_absurd_powers_of_two_are_refused(power):
    witness = Witness("lipsdp", 45.2, DEMO_T, (power, -power, 0))
    with pytest.raises(NotCertified):
        verify(DEMO, witness, repair=False)
    assert verify(DEMO, witness).bound <= 7.4993


# ------------------------------------------------------------------------------- mutations of a witness


def _mutations():
    certificate = verify(DEMO, GOOD)
    w = certificate.witness
    yield "rho down", dataclasses.replace(w, rho=w.rho * (1 - 1e-9))
    yield "rho zero", dataclasses.replace(w, rho=0.0)
    for value in (math.nan, math.inf, -w.rho):
        yield f"rho {value}", dataclasses.replace(w, rho=value)
    yield "layers swapped", dataclasses.replace(w, multipliers=w.multipliers[::-1])
    for k, i in itertools.product(range(2), range(2)):
        for value in (math.nan, math.inf, -math.inf, -1.0, 0.0, -w.multipliers[k][i]):
            changed = [np.array(t) for t in w.multipliers]
            changed[k][i] = value
            yield f"T[{k}][{i}] = {value}", dataclasses.replace(w, multipliers=tuple(changed))
        for factor in (0.5, 2.0):
            changed = [np.array(t) for t in w.multipliers]
            changed[k][i] *= factor
            yield f"T[{k}][{i}] times {factor}", dataclasses.replace(w, multipliers=tuple(changed))
    for k in range(3):
        pow2 = list(w.layer_pow2)
        pow2[k] -= 1
        yield f"layer_pow2[{k}]", dataclasses.replace(w, layer_pow2=tuple(pow2))


MUTATIONS = dict(_mutations())


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_witness_is_refused(name):
    with pytest.raises(NotCertified):
        verify(DEMO, MUTATIONS[name], repair=False)
    assert 6.7082039 <= verify(DEMO, MUTATIONS[name]).bound <= 7.49926


@pytest.mark.parametrize("k", range(3))
def test_a_mutated_tau_is_refused(k):
    good = verify(DEMO, zeros(DEMO, "layerwise")).witness
    taus = [np.array(t) for t in good.multipliers]
    taus[k] *= 1 - 1e-9
    with pytest.raises(NotCertified, match="tau="):
        verify(DEMO, dataclasses.replace(good, multipliers=tuple(taus)), repair=False)
    with pytest.raises(NotCertified, match="product"):
        verify(DEMO, dataclasses.replace(good, rho=np.nextafter(good.rho, 0)), repair=False)


# -------------------------------------------------------------------------------------- metamorphic


@given(st.permutations(range(3)), st.permutations(range(2)))
@settings(max_examples=20)
def test_neuron_permutations_do_not_matter(first, second):
    rng = np.random.default_rng(5)
    w = [rng.standard_normal(s) for s in ((3, 4), (2, 3), (2, 2))]
    t = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5])]
    network = Network.from_arrays(w)
    bound = verify(network, Witness("lipsdp", math.inf, tuple(t))).bound
    first, second = list(first), list(second)
    permuted = Network.from_arrays([w[0][first], w[1][second][:, first], w[2][:, second]])
    again = verify(permuted, Witness("lipsdp", math.inf, (t[0][first], t[1][second]))).bound
    assert again == pytest.approx(bound, rel=1e-9)


def test_biases_do_not_matter():
    moved = Network.from_arrays(DEMO_WEIGHTS, biases=[[1.0, -2.0], [3.0, 0.5], [7.0]])
    assert verify(moved, GOOD).bound == verify(DEMO, GOOD).bound


def test_an_appended_identity_map_changes_almost_nothing():
    longer = Network.from_arrays([*DEMO_WEIGHTS, np.eye(1)], activation=["relu", "relu", "identity"])
    bound = verify(longer, Witness("lipsdp", math.inf, (*map(np.array, DEMO_T), np.array([1e6])))).bound
    assert verify(DEMO, GOOD).bound * (1 - 1e-12) <= bound <= verify(DEMO, GOOD).bound * (1 + 1e-5)
    assert verify(longer, zeros(longer)).bound <= 7.4993 * (1 + 1e-5)


@given(st.floats(0.51, 1e3))
@settings(max_examples=20)
def test_scaled_multipliers_stay_sound_and_are_repaired(s):
    scaled = Witness("lipsdp", 45.126, tuple(s * np.array(t) for t in DEMO_T))
    assert verify(DEMO, scaled).bound <= 6.7176 * (1 + 3e-3)


def test_a_good_witness_loses_almost_nothing(data_dir):
    for name in ("mnist_weights", "eclipse_rand_L50_n80"):
        stored = np.load(data_dir / "networks" / f"{name}.npz")
        network = Network.from_arrays([stored[f"W{k}"] for k in range(sum(key[0] == "W" for key in stored))])
        proven = verify(network, zeros(network))
        loose = dataclasses.replace(proven.witness, rho=proven.rho * (1 + 1e-12))
        assert verify(network, loose).bound <= proven.bound * (1 + 1e-12)
        assert verify(network, zeros(network, "layerwise")).bound <= norm_product(network) * (1 + 1e-9)


# ------------------------------------------------------------------------------------ shapes and sizes


@pytest.mark.parametrize("hidden", [0, 1, 60])
@pytest.mark.parametrize("width", [1, 3])
def test_depths_and_widths(hidden, width):
    rng = np.random.default_rng(hidden + width)
    network = Network.from_arrays([rng.standard_normal((width, width)) for _ in range(hidden + 1)])
    certificate = verify(network, zeros(network))
    assert certificate.bound <= norm_product(network) * (1 + 1e-8)
    assert check(certificate, network).ok
    if not hidden:
        assert certificate.bound == pytest.approx(np.linalg.norm(network.weights[0], 2), rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 784), (784, 1), (10, 300), (300, 10)])
def test_wide_and_tall_linear_maps(shape):
    network = Network.from_arrays([np.random.default_rng(0).standard_normal(shape)])
    for kind in ("lipsdp", "layerwise"):
        certificate = verify(network, zeros(network, kind))
        assert certificate.bound == pytest.approx(np.linalg.norm(network.weights[0], 2), rel=1e-9)
        assert check(certificate, network).ok


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int64"])
def test_dtypes_and_layouts_upcast_exactly(dtype):
    weights = [np.array(w).astype(dtype) for w in DEMO_WEIGHTS]
    strided = [np.repeat(np.repeat(w, 2, axis=0), 2, axis=1)[::2, ::2] for w in weights]
    for given_weights in (weights, strided, [np.asfortranarray(w) for w in weights]):
        assert verify(Network.from_arrays(given_weights), GOOD).bound == verify(DEMO, GOOD).bound


@pytest.mark.parametrize(
    "witness",
    [
        Witness("lipsdp", 1.0, ()),
        Witness("lipsdp", 1.0, (np.ones(2), np.ones(3))),
        Witness("layerwise", 1.0, (np.ones(2), np.ones(2))),
        Witness("lipsdp", 1.0, DEMO_T, (0, 0)),
    ],
)
@pytest.mark.parametrize("repair", [True, False])
def test_sizes_that_do_not_fit(witness, repair):
    with pytest.raises(InputError, match="expected"):
        verify(DEMO, witness, repair=repair)


def test_wrong_types():
    with pytest.raises(InputError, match=r"expected an lmikit\.Network"):
        verify([np.eye(2)], GOOD)
    with pytest.raises(InputError, match=r"expected an lmikit\.Witness"):
        verify(DEMO, 6.7)
    with pytest.raises(InputError, match=r"expected an lmikit\.Network"):
        check(verify(DEMO, GOOD), [np.eye(2)])


def test_not_certified_says_by_how_much():
    with pytest.raises(NotCertified, match="repair=True") as caught:
        verify(DEMO, Witness("lipsdp", 45.0, DEMO_T), repair=False)
    assert -1e-2 < caught.value.margin < 0.0


# --------------------------------------------------------------------------------- the certificate itself


def test_a_certificate_is_made_by_verify_only():
    with pytest.raises(TypeError, match="verify"):
        Certificate(1.0, 1.0, GOOD, "", 0.0, "", None)
    with pytest.raises(TypeError, match="verify"):
        dataclasses.replace(verify(DEMO, GOOD), bound=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verify(DEMO, GOOD).bound = 1.0


def test_str_states_the_claim():
    text = str(verify(DEMO, GOOD).with_lower(6.7))
    assert "global l2->l2" in text
    assert "not of a float inference" in text
    assert "6.7175" in text
    assert "lower bound 6.7" in text
    with pytest.raises(InputError, match="lower"):
        verify(DEMO, GOOD).with_lower(math.nan)


@example(1)
@given(st.integers(1, 4))
@settings(max_examples=4)
def test_thread_counts_do_not_matter(threads):
    rng = np.random.default_rng(1)
    network = Network.from_arrays([rng.standard_normal((150, 150)) for _ in range(3)])
    with lmikit._arrays.blas_threads(threads):
        certificate = verify(network, zeros(network))
        assert check(certificate, network).ok
    assert certificate.bound == verify(network, zeros(network)).bound
