"""Bounds of convolutional networks on a torus: order of the methods, optima, what the optimiser derives."""

import numpy as np
import pytest
import scipy.io
from torus_helpers import conv

import lmikit
from lmikit import InputError, Network
from lmikit.formulations.torus import exchanged, fast_torus
from lmikit.formulations.torus._dense import DenseTorus
from lmikit.formulations.torus._model import torus_model
from lmikit.graph import chain_graph
from lmikit.maps import Convolution2d
from lmikit.torus import torus_form


def stack(channels, image, count, activation="relu"):
    rng = np.random.default_rng(3)
    layers = [conv(rng, channels, (channels, *image), 3, padding=1) for _ in range(count)]
    return Network.from_arrays(layers, activation=activation)


def glipsdp(data_dir, name, size):
    params = scipy.io.loadmat(data_dir / "glipsdp" / f"{name}.mat")["params"][0, 0]
    kernels = [params[f"conv_{k}_weight"].astype(float) for k in range(1, size)]
    return Network.from_arrays([Convolution2d(K, (K.shape[1], 28, 28), padding=1) for K in kernels])


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_the_barrier_has_the_derivatives_that_it_claims(activation):
    form = torus_form(chain_graph(stack(2, (4, 4), 3, activation)))
    model = torus_model(form)
    fast = fast_torus(form, model, 0.7)
    problem = DenseTorus(model.at(np.arange(4)))
    point = np.append(np.concatenate(fast.multipliers), 0.3 / fast.d_out)

    def barrier(at):
        return problem.barrier(problem.factor(at))

    def value(at):
        return -problem.log_det(problem.factor(at))

    here = barrier(point)
    for k in range(point.size):
        step = np.zeros(point.size)
        step[k] = 1e-5 * point[k]
        slope = (value(point + step) - value(point - step)) / (2.0 * step[k])
        assert slope == pytest.approx(here.gradient[k], rel=1e-6)
        row = (barrier(point + step).gradient - barrier(point - step).gradient) / (2.0 * step[k])
        np.testing.assert_allclose(row, here.hessian[k], rtol=1e-6, atol=1e-7 * np.abs(row).max())


def test_the_optimum_on_the_torus_is_between_fast_and_the_unrolled_optimum():
    network = stack(2, (4, 4), 3)
    form = torus_form(chain_graph(network))
    fast, best = fast_torus(form), lmikit.torus_lipschitz(network)
    product = np.prod([np.linalg.norm(layer.linear.to_dense(), 2) for layer in network.layers])
    assert lmikit.lipschitz(network).bound <= best.bound * (1.0 + 1e-9)
    assert best.bound < np.sqrt(fast.d_out) < 1.3 * product
    assert best.witness.optimum_at_least <= best.bound <= best.witness.optimum_at_least * (1.0 + 1e-5)
    assert lmikit.lower_bound(network, starts=16, steps=10).value <= best.bound


def test_a_circular_network_has_one_optimum_with_tied_and_with_free_multipliers():
    """Averaging over the shifts: on an image as large as the torus ties cost nothing."""
    network = stack(1, (3, 3), 2)
    form = torus_form(chain_graph(network), (4, 4))
    witness = exchanged(form, gap=1e-8)
    circular = []
    for layer in network.layers:
        K, W = layer.linear.kernel[0, 0], np.zeros((16, 16))
        for i, j, a, b in np.ndindex(4, 4, 3, 3):
            W[4 * i + j, 4 * ((i + a - 1) % 4) + (j + b - 1) % 4] += K[a, b]
        circular.append(W)
    free = lmikit.lipschitz(Network.from_arrays(circular))
    assert np.sqrt(witness.d_out) == pytest.approx(free.bound, rel=1e-6)


def test_time_limits_and_progress():
    network = stack(2, (4, 4), 3)
    seen = []
    cut = lmikit.torus_lipschitz(network, time_limit=0.0)
    assert cut.produced_by == "Fast on the torus"
    full = lmikit.torus_lipschitz(network, progress=seen.append)
    assert len(seen) > 3
    assert full.bound <= cut.bound
    with pytest.raises(InputError, match="expected an lmikit"):
        lmikit.torus_lipschitz(np.eye(2))
    with pytest.raises(InputError, match="not admissible"):
        lmikit.torus_lipschitz(network, cells=(4, 4))


def test_a_large_convolution_is_not_unrolled():
    large = Convolution2d(np.ones((64, 3, 7, 7)), (3, 224, 224), 2, 3)
    with pytest.raises(InputError, match="torus_lipschitz"):
        large.to_dense()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cnn_C3_CH8", 3, 7.648757),
        pytest.param("cnn_C5_CH8", 5, 27.5265, marks=pytest.mark.slow),
    ],
)
def test_published_networks_reach_their_optimum(data_dir, name, size, expected):
    """Ours are proven; GLipSDP's published values for the two are 7.648757 and 28.48988."""
    certificate = lmikit.torus_lipschitz(glipsdp(data_dir, name, size), cells=(32, 32))
    assert certificate.bound == pytest.approx(expected, rel=1e-5)
    assert certificate.bound >= certificate.witness.optimum_at_least
