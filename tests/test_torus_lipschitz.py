"""Bounds of convolutional networks on a torus: order of the methods, optima, what the optimiser derives."""

import dataclasses

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from torus_helpers import conv, random_network

import lmikit
from lmikit import InputError, Network
from lmikit._arrays import array_module
from lmikit.certificates.torus import verify_torus
from lmikit.formulations.torus import exchanged, fast_torus
from lmikit.formulations.torus._interior import advanced, centred, least_value
from lmikit.formulations.torus._lmi import TorusLmi
from lmikit.formulations.torus._model import torus_model
from lmikit.graph import GraphBuilder, chain_graph
from lmikit.lmi import Problem
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.solvers import Clarabel
from lmikit.torus import torus_form


def stack(channels, image, count, activation="relu"):
    rng = np.random.default_rng(3)
    layers = [conv(rng, channels, (channels, *image), 3, padding=1) for _ in range(count)]
    return Network.from_arrays(layers, activation=activation)


def glipsdp(data_dir, name, size):
    params = scipy.io.loadmat(data_dir / "glipsdp" / f"{name}.mat")["params"][0, 0]
    kernels = [params[f"conv_{k}_weight"].astype(float) for k in range(1, size)]
    return Network.from_arrays([Convolution2d(K, (K.shape[1], 28, 28), padding=1) for K in kernels])


def dense_lmi(form, model):
    """(E_0'E_0, A_a for each channel, Y'Y), each (J, n, n), straight from their definition."""
    ends = np.cumsum([0, *(form.size(s) for s in model.sources)])
    place = {s: slice(a, b) for s, a, b in zip(model.sources, ends, ends[1:], strict=False)}
    J, n = len(model.frequencies), ends[-1]
    constant = np.zeros((J, n, n), complex)
    constant[:, place[0], place[0]] = np.eye(form.size(0))
    terms = []
    for k in form.nodes:
        e, v = np.zeros((J, form.size(k), n), complex), np.zeros((J, form.size(k), n), complex)
        e[:, :, place[k]] = np.eye(form.size(k))
        for s, rows in model.V[k].items():
            v[:, :, place[s]] += rows
        alpha, beta = (np.repeat(slopes, form.repeats(k)) for slopes in form.slopes(k))
        for c in range(form.images.shapes[k][0]):
            own = slice(c * form.repeats(k), (c + 1) * form.repeats(k))
            p = e[:, own] - alpha[own, None] * v[:, own]
            q = e[:, own] - beta[own, None] * v[:, own]
            half = p.conj().swapaxes(1, 2) @ q
            terms.append(half + half.conj().swapaxes(1, 2))
    y = np.zeros((J, next(iter(model.Y.values())).shape[1], n), complex)
    for s, rows in model.Y.items():
        y[:, :, place[s]] += rows
    return constant, np.array(terms), y.conj().swapaxes(1, 2) @ y


def dense(lmi, pattern):
    """Block tridiagonal matrices as they are."""
    result = np.zeros((len(pattern.own[0]), lmi.places[-1].stop, lmi.places[-1].stop), complex)
    for k, here in enumerate(lmi.places):
        result[:, here, here] = pattern.own[k]
        if k:
            result[:, here, lmi.places[k - 1]] = pattern.side[k - 1]
            result[:, lmi.places[k - 1], here] = pattern.side[k - 1].conj().swapaxes(1, 2)
    return result


HEADLESS = (1, 16, 34, 39, 98)  # seeds whose network ends in an image: strides, skips, trees, bent slopes


@pytest.mark.parametrize("seed", HEADLESS)
def test_the_lmi_by_levels_is_the_lmi(seed):
    """Z, its adjoint and the Gram matrix of the constraints; random points and covariances."""
    form = torus_form(random_network(seed))
    model = torus_model(form)
    lmi = TorusLmi(model, array_module())
    constant, terms, gram = dense_lmi(form, model)
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(lmi.size)
    Z = constant + np.tensordot(y[:-1], terms, 1) - y[-1] * gram
    np.testing.assert_allclose(dense(lmi, lmi.matrix(y)), Z, atol=1e-12)
    maps = np.concatenate([terms, -gram[None]])
    X, R = (a @ a.conj().swapaxes(1, 2) for a in rng.standard_normal((2, *Z.shape)) + 0j)
    assert lmi.traces(lmi.cut(X)) == pytest.approx(np.einsum("ajkl,jlk->a", maps, X).real, rel=1e-9, abs=1e-9)
    expected = np.einsum("ajxy,bjyx->ab", maps @ X, maps @ R).real
    np.testing.assert_allclose(lmi.gram_of(X, R), expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("seed", [1, 2, 17, *(pytest.param(s, marks=pytest.mark.slow) for s in (16, 34, 39))])
def test_the_optimum_is_that_of_a_general_solver(seed):
    form = torus_form(random_network(seed))
    constant, terms, gram = dense_lmi(form, torus_model(form))
    found = exchanged(form)
    problem = Problem()
    lam, F = problem.vector(len(terms), "T"), problem.scalar("F")
    problem.add(lam >= np.zeros((len(terms), 1)))
    scale = found.d_out  # F near 1
    for j in range(len(constant)):
        Z = constant[j] - F * (gram[j] / scale)
        for a in range(len(terms)):
            Z = Z + lam[a] * terms[a, j]
        problem.add(Z >> np.zeros(Z.shape))
    problem.maximise(F)
    assert problem.solve(Clarabel()).objective == pytest.approx(1.0, rel=1e-5)
    assert found.optimum_at_least**2 <= found.d_out <= found.optimum_at_least**2 * (1.0 + 1e-5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_bounds_close_in_from_both_sides(seed):
    """The value never rises, the lower end never falls, and the one is above the other (weak duality)."""
    rng = np.random.default_rng(seed)
    layers = [conv(rng, 2, (2, 4, 4), 3, padding=1) for _ in range(int(rng.integers(2, 5)))]
    network = Network.from_arrays(layers, activation=("relu", "tanh", "silu")[int(rng.integers(3))])
    form, seen = torus_form(chain_graph(network)), []
    witness = exchanged(form, progress=seen.append)
    values = [p.objective for p in seen]
    ends = [p.bound_on_optimum or 0.0 for p in seen]
    assert values == sorted(values, reverse=True)
    assert ends == sorted(ends)
    assert ends[-1] <= np.sqrt(witness.d_out) <= values[-1] * (1.0 + 1e-9)
    assert witness.d_out <= fast_torus(form).d_out
    assert verify_torus(network, witness).bound >= lmikit.lower_bound(network, starts=4, steps=5).value


@pytest.mark.parametrize("seed", HEADLESS)
def test_any_covariances_bound_from_below(seed):
    """Weak duality for what the bound makes of X that satisfy no equation: never above the optimum."""
    form = torus_form(random_network(seed))
    lmi = TorusLmi(torus_model(form), array_module())
    best, rng = exchanged(form), np.random.default_rng(seed)
    fast = fast_torus(form, share=0.95)
    point = centred(lmi, np.append(np.concatenate(fast.multipliers), 0.5 / fast.d_out), 0.5 / fast.d_out)
    for _ in range(8):
        point = advanced(lmi, point, lambda y, dy, length: length)
    assert least_value(lmi, point.X) > 0.9 * best.d_out
    size = point.X.own[-1].real.max()
    for spread in (0.0, 1e-9, 1e-6, 1e-3):
        noise = rng.standard_normal((len(lmi.gram), lmi.places[-1].stop, 2 * lmi.places[-1].stop)) + 0j
        X = point.X.plus(lmi.cut(spread * size * (noise @ noise.conj().swapaxes(1, 2))))
        assert least_value(lmi, X) <= best.d_out * (1.0 + 1e-12)


def test_a_channel_that_reads_nothing_does_not_hide_the_optimum():
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((3, 3, 3, 3)) / 5 for _ in range(3)]
    kernels[1][0] = 0.0
    network = Network.from_arrays([Convolution2d(K, (3, 5, 5), padding=1) for K in kernels])
    found = exchanged(torus_form(chain_graph(network)))
    assert found.optimum_at_least == pytest.approx(np.sqrt(found.d_out), rel=1e-5)


def test_channels_of_very_different_size_are_no_obstacle():
    """ReLU passes a scale of a channel on: the optimum does not depend on it, Fast's bound does."""
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((3, 3, 3, 3)) / 5 for _ in range(3)]
    values = []
    for scale in (1.0, 2.0**10):
        K = [kernel.copy() for kernel in kernels]
        K[0][0] *= scale
        K[1][:, 0] /= scale
        layers = [Convolution2d(kernel, (3, 5, 5), padding=1) for kernel in K]
        values.append(exchanged(torus_form(chain_graph(Network.from_arrays(layers)))).d_out)
    assert values[1] == pytest.approx(values[0], rel=1e-5)


def test_what_no_multiplier_can_improve_is_left_at_fast():
    kernels = [np.ones((2, 2, 3, 3)), np.zeros((2, 2, 3, 3))]
    network = Network.from_arrays([Convolution2d(K, (2, 5, 5), padding=1) for K in kernels])
    assert exchanged(torus_form(chain_graph(network))).produced_by == "Fast on the torus"


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
    for cells in (16, (16.5, 16), "ab"):
        with pytest.raises(InputError, match="expected two integers"):
            lmikit.torus_lipschitz(network, cells=cells)


def test_a_large_convolution_is_not_unrolled():
    large = Convolution2d(np.ones((64, 3, 7, 7)), (3, 224, 224), 2, 3)
    with pytest.raises(InputError, match="torus_lipschitz"):
        large.to_dense()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cnn_C3_CH8", 3, 7.648757),
        pytest.param("cnn_C5_CH8", 5, 27.5265, marks=pytest.mark.slow),
        pytest.param("cnn_C9_CH8", 9, 81.06857, marks=pytest.mark.slow),
        pytest.param("cnn_C17_CH8", 17, 1184.5683, marks=pytest.mark.slow),
    ],
)
def test_published_networks_reach_their_optimum(data_dir, name, size, expected):
    """Ours are proven; GLipSDP's published values for the two are 7.648757 and 28.48988."""
    certificate = lmikit.torus_lipschitz(glipsdp(data_dir, name, size), cells=(32, 32))
    assert certificate.bound == pytest.approx(expected, rel=1e-5)
    assert certificate.bound >= certificate.witness.optimum_at_least


@pytest.mark.parametrize("head", [False, True])
def test_a_layer_scaled_by_a_power_of_two_scales_the_bound(head):
    """Bent slopes; a tree of max-pooling before a head; the proof in floats and the one in integers."""

    def network(first, second):
        rng = np.random.default_rng(17)
        maps = [conv(rng, 2, (1, 4, 4), 3, padding=1), conv(rng, 2, (2, 4, 4), 1)]
        maps = [
            dataclasses.replace(m, kernel=m.kernel * 2.0**p)
            for m, p in zip(maps, (first, second), strict=True)
        ]
        g = GraphBuilder()
        value = g.apply("silu", maps[0] @ g.input(16))
        if not head:
            return g.output(maps[1] @ value)
        value = g.max_pool(value, pooling_windows((2, 4, 4), 2), tree=False)
        value = g.relu(rng.standard_normal((3, 8)) * 2.0**second @ value)
        return g.output(rng.standard_normal((2, 3)) @ value)

    plain = lmikit.torus_lipschitz(network(0, 0)).bound
    for powers in ((-40, 0), (30, -50)):
        subject = network(*powers)
        found = lmikit.torus_lipschitz(subject)
        assert found.bound == pytest.approx(np.ldexp(plain, sum(powers)), rel=1e-4 if head else 1e-6)
        assert lmikit.check(found, subject)
        assert lmikit.check(found, subject, exact=True)


def test_a_constant_network_has_a_bound_and_no_search():
    rng = np.random.default_rng(0)
    nothing = Convolution2d(np.zeros((2, 2, 3, 3)), (2, 4, 4), padding=1)
    first, last = conv(rng, 2, (1, 4, 4), 3, padding=1), conv(rng, 1, (2, 4, 4), 3, padding=1)
    found = lmikit.torus_lipschitz(Network.from_arrays([first, nothing, last], activation="relu"))
    assert found.bound >= 0.0
    assert found.witness.optimum_at_least is None
