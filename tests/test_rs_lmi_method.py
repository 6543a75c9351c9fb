"""`RSLMI`: witnesses that verify, bounds no looser than the product, probabilistic bounds, bad options."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import Network, OptionError
from lmikit.certificates import Certificate, verify
from lmikit.methods import RSLMI
from lmikit.network import Slopes
from lmikit.sketching import Estimate, Gaussian, ProbabilisticBound, as_operator, norm_bound

DEMO = Network.from_arrays([[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, 1.0]]])


def norm_product(network):
    gains = [max(np.abs(a).max(), np.abs(b).max()) for a, b in network.slopes]
    return float(np.prod([*(np.linalg.norm(w, 2) for w in network.weights), *gains]))


@st.composite
def networks(draw):
    dims = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scales = [10.0 ** draw(st.integers(-3, 3)) for _ in dims[1:]]
    weights = [s * rng.standard_normal((b, a)) for a, b, s in zip(dims, dims[1:], scales, strict=False)]
    names = [
        "relu",
        "tanh",
        "gelu",
        "identity",
        Slopes(0.2, 0.9),
        Slopes(-1.0, 1.0),
        Slopes(-0.5, 2.0),
        Slopes(1.0, 1.5),
    ]
    return Network.from_arrays(weights, activation=[draw(st.sampled_from(names))] * (len(weights) - 1))


def claimed(witness):
    return np.sqrt(witness.rho) * 2.0 ** sum(witness.layer_pow2)


@given(networks())
@settings(max_examples=40)
def test_bounds_verify_and_are_no_looser_than_the_product(network):
    witness = RSLMI().propose(network)
    certificate = verify(network, witness)
    assert isinstance(certificate, Certificate)
    assert claimed(witness) <= norm_product(network) * (1 + 1e-6)
    assert certificate.bound <= norm_product(network) * (1 + 1e-6)


def test_the_implied_multipliers_beat_the_product_on_the_demo():
    witness = RSLMI().propose(DEMO)
    assert witness.kind == "lipsdp"
    assert 6.71755 <= claimed(witness) < 7.2 < norm_product(DEMO)


def test_wide_layers_get_a_layerwise_witness():
    witness = RSLMI(dense_side=1).propose(DEMO)
    assert witness.kind == "layerwise"
    assert len(witness.multipliers) == 3
    certificate = verify(DEMO, witness)
    assert norm_product(DEMO) <= certificate.bound <= norm_product(DEMO) * (1 + 1e-8)


def test_per_layer_bounds_are_within_1e_6_of_the_norm():
    rng = np.random.default_rng(0)
    network = Network.from_arrays([rng.standard_normal(s) for s in ((100, 80), (60, 100), (10, 60))])
    certificate = verify(network, RSLMI(dense_side=1).propose(network))
    assert certificate.bound <= norm_product(network) * (1 + 3e-6)


def test_scaling_a_layer_by_a_power_of_two_scales_the_bound_exactly():
    for pow2 in (-40, 3, 17):
        weights = [np.ldexp(DEMO.weights[0], pow2), *DEMO.weights[1:]]
        scaled = RSLMI().propose(Network.from_arrays(weights))
        assert claimed(scaled) == claimed(RSLMI().propose(DEMO)) * 2.0**pow2


def test_zero_layers():
    network = Network.from_arrays([np.zeros((3, 2)), np.ones((1, 3))])
    assert verify(network, RSLMI().propose(network)).bound == 0.0
    assert RSLMI(certify=0.1).probabilistic(network).value == 0.0


def test_probabilistic_bounds_of_networks():
    rng = np.random.default_rng(1)
    network = Network.from_arrays([rng.standard_normal(s) / 5 for s in ((40, 30), (40, 40), (5, 40))])
    product = norm_product(network)
    gain = RSLMI(certify=1e-10, slopes="gain", rtol=1e-4).probabilistic(network)
    assert type(gain) is ProbabilisticBound
    assert product <= gain.value <= product * 1.001
    assert gain.delta == 1e-10
    assert gain.quantity == "Lipschitz constant"
    both = RSLMI(certify=1e-10, rtol=1e-4).probabilistic(network)
    loop = RSLMI(certify=1e-10, slopes="loop", rtol=1e-4).probabilistic(network)
    assert both.value <= loop.value * 1.001 < gain.value
    sampled = max(np.linalg.norm(network.weights[0], 2) * 1e-9, 0.0)
    assert both.value > sampled


def test_union_bound_shares_delta():
    """The product of 4 norms with delta is that of norm bounds with delta/4 each."""
    network = Network.from_arrays([np.random.default_rng(k).standard_normal((80, 80)) for k in range(4)])
    whole = RSLMI(certify=1e-2, slopes="gain", rtol=0.3).probabilistic(network)
    seeds = [int(np.random.SeedSequence([0, k]).generate_state(1)[0]) for k in range(4)]
    parts = [
        norm_bound(as_operator(w), 1e-2 / 4, seed=seed, rtol=0.3)
        for w, seed in zip(network.weights, seeds, strict=True)
    ]
    assert whole.value == pytest.approx(np.prod([p.value for p in parts]), rel=1e-12)
    assert whole.matvecs == sum(p.matvecs for p in parts)


def test_estimates_are_typed_as_such():
    estimates = RSLMI(m=1, sketch=Gaussian()).estimate(DEMO)
    assert all(type(e) is Estimate for e in estimates)
    for estimate, weight in zip(estimates, DEMO.weights, strict=True):
        assert estimate.value <= np.linalg.norm(weight, 2) ** 2 * (1 + 1e-12)


def test_single_precision_products():
    network = Network.from_arrays([np.random.default_rng(3).standard_normal((30, 30)).astype(np.float32)])
    norm = np.linalg.norm(network.weights[0], 2)
    value = RSLMI(certify=1e-10, dtype="float32").probabilistic(network).value
    assert norm <= value <= norm * 1.002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"m": 0}, "m is 0"),
        ({"m": 1.5}, r"m is 1\.5"),
        ({"sketch": "gaussian"}, "sketch is 'gaussian'"),
        ({"certify": "probably"}, "certify is 'probably'"),
        ({"certify": 0.0}, r"certify is 0\.0"),
        ({"certify": 1.0}, r"certify is 1\.0"),
        ({"slopes": "both"}, "slopes is 'both'"),
        ({"rtol": 0.0}, r"rtol is 0\.0"),
        ({"seed": -1}, "seed is -1"),
        ({"dense_side": -1}, "dense_side is -1"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        RSLMI(**options)


def test_the_two_kinds_of_bounds_are_not_mixed_up():
    with pytest.raises(OptionError, match="no certificate"):
        RSLMI(certify=1e-10).propose(DEMO)
    with pytest.raises(OptionError, match="needs RSLMI\\(certify=delta\\)"):
        RSLMI().probabilistic(DEMO)


def test_progress_is_reported():
    seen = []
    RSLMI().propose(DEMO, progress=seen.append)
    assert [p.iteration for p in seen] == [1, 2, 3]
    assert all(p.total == 3 for p in seen)


def test_mnist_per_layer_bounds(data_dir):
    with np.load(data_dir / "networks" / "mnist_weights.npz") as file:
        weights = [file[f"W{k}"] for k in range(sum(name.startswith("W") for name in file.files))]
    network = Network.from_arrays(weights)
    certificate = verify(network, RSLMI().propose(network))
    assert 24.36 < certificate.bound < norm_product(network)
