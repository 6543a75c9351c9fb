"""Scalings per layer and per neuron: relative parameters, gradients, deadlines, measured figures."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_methods_closed_form import PAIRS, gaussian_network

from lmikit import OptionError, Progress
from lmikit.certificates import verify
from lmikit.methods import ClosedForm, EclipseFast, LayerScaling, NeuronScaling
from lmikit.methods._eclipse_pass import fast_pass
from lmikit.methods._recursion import chain_of, evaluate
from lmikit.methods._relative import evaluate_relative, relative_gradient, relative_point
from lmikit.network import Network


def random_network(depth, width=80, seed=0):
    """Input 4, output 1, Gaussian weights scaled to a spectral norm drawn from U(0.4, 1.8)."""
    rng = np.random.default_rng(seed)
    dims = [4, *[width] * depth, 1]
    weights = []
    for n, m in itertools.pairwise(dims):
        w = rng.standard_normal((m, n))
        weights.append(w * (rng.uniform(0.4, 1.8) / np.linalg.norm(w, 2)))
    return Network.from_arrays(weights)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_relative_parameters_are_always_feasible(seed):
    """Any theta and any shapes, whatever the slopes: K > 0 and a finite rho."""
    chain, _ = fast_pass(chain_of(gaussian_network(seed, (3, 5, 6, 4, 2), PAIRS)))
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-9.0, 5.0, 3)
    shapes = [np.exp(2.0 * rng.standard_normal(n)) for n in (5, 6, 4)]
    point = evaluate_relative(chain, theta, shapes)
    assert point is not None
    again = evaluate(chain, point.at.d)
    assert again is not None
    assert again.rho == pytest.approx(point.at.rho, rel=1e-12)


def test_relative_point_reproduces_the_multipliers():
    chain, fast = fast_pass(chain_of(gaussian_network(1, (3, 5, 6, 2), PAIRS)))
    point = relative_point(chain, fast, -12.0)
    for d, expected in zip(point.at.d, fast.d, strict=True):
        assert d == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pair", [*PAIRS, None])
def test_relative_gradient_against_differences(pair):
    network = gaussian_network(2, (3, 5, 6, 4, 2), PAIRS if pair is None else [pair])
    chain, _ = fast_pass(chain_of(network))
    rng = np.random.default_rng(3)
    theta = np.array([-0.5, 0.3, 0.1])
    shapes = [np.exp(0.3 * rng.standard_normal(n)) for n in (5, 6, 4)]
    d_theta, d_shape = relative_gradient(chain, evaluate_relative(chain, theta, shapes))
    h = 1e-5
    for k in range(3):
        move = h * np.eye(3)[k]
        ends = [evaluate_relative(chain, theta + s * move, shapes).objective for s in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(d_theta[k], abs=1e-7)
        ends = []
        for s in (1, -1):
            moved = [x.copy() for x in shapes]
            moved[k][1] *= np.exp(s * h)
            ends.append(evaluate_relative(chain, theta, moved).objective)
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(d_shape[k][1], abs=1e-7)


@pytest.mark.parametrize(("depth", "ratio"), [(4, 0.65), (9, 0.45), (19, 0.25)])
def test_layer_scaling_gains_what_was_measured(depth, ratio):
    """Bound relative to ECLipsE-Fast on random nets of width 80: far below 1, more so when deep."""
    network = random_network(depth)
    fast = EclipseFast().propose(network)
    scaled = LayerScaling().propose(network)
    assert verify(network, scaled).proven
    values = [np.log(w.rho) + 2 * np.log(2) * sum(w.layer_pow2) for w in (scaled, fast)]
    assert np.exp(0.5 * (values[0] - values[1])) <= ratio


@pytest.mark.parametrize(
    ("name", "figure", "exact"),
    [
        ("eclipse_rand_L5_n80", 0.1134, 0.0779153871),
        ("eclipse_rand_L10_n80", 0.0252, 0.0138361627),
        ("eclipse_rand_L20_n80", 4.5e-4, 1.4198513e-4),
        ("eclipse_rand_L50_n80", 1.6e-8, 1.8824989e-9),
    ],
)
def test_layer_scaling_on_stored_networks(data_dir, name, figure, exact):
    arrays = np.load(data_dir / "networks" / f"{name}.npz")
    depth = sum(key.startswith("W") for key in arrays)
    network = Network.from_arrays([arrays[f"W{i}"] for i in range(depth)])
    certificate = verify(network, LayerScaling().propose(network))
    assert certificate.proven
    assert exact * (1 - 1e-6) <= certificate.bound <= figure


def test_neuron_scaling_comes_near_the_sdp(data_dir):
    arrays = np.load(data_dir / "networks" / "eclipse_rand_L5_n80.npz")
    network = Network.from_arrays([arrays[f"W{i}"] for i in range(5)])
    bound = verify(network, NeuronScaling().propose(network)).bound
    assert 0.0779153871 * (1 - 1e-6) <= bound <= 0.0779153871 * 1.02


def test_time_limit_still_gives_a_witness_and_progress_is_reported():
    network = random_network(6, 20)
    seen: list[Progress] = []
    stopped = NeuronScaling().propose(network, time_limit=0.0, progress=seen.append)
    fast = EclipseFast().propose(network)
    assert stopped.rho <= fast.rho
    assert verify(network, stopped).proven
    NeuronScaling(max_iterations=5).propose(network, progress=seen.append)
    assert [p.stage for p in seen] == ["neuron-scaling"] * len(seen)
    objectives = [p.objective for p in seen]
    assert objectives == sorted(objectives, reverse=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClosedForm(overshoots=(0.0,)),
        lambda: ClosedForm(overshoots=(1.5,)),
        lambda: LayerScaling(tolerance=0.0),
        lambda: NeuronScaling(max_iterations=0),
    ],
)
def test_options_out_of_range(make):
    with pytest.raises(OptionError):
        make()
