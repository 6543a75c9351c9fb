"""Torus bounds of networks with fully connected layers at the end: derivatives, order, optimum, anytime."""

import dataclasses
import itertools
import pathlib
import runpy

import clarabel
import numpy as np
import pytest
import scipy.sparse
from torus_helpers import conv, random_network

import lmikit
from lmikit import InputError, Network
from lmikit.formulations.torus import fast_torus, headed
from lmikit.formulations.torus._logarithms import approached
from lmikit.formulations.torus._model import torus_model
from lmikit.formulations.torus._star import Star
from lmikit.graph import chain_graph
from lmikit.torus import torus_form


def headed_network(seed=0, widths=(3, 2), activation="relu"):
    """Two convolutions with a stride, then fully connected layers."""
    rng = np.random.default_rng(seed)
    first = conv(rng, 2, (1, 4, 4), 3, padding=1)
    second = conv(rng, 2, first.output_shape, 3, stride=2, padding=1)
    layers, width = [first, second], 8
    for n in widths:
        layers.append(rng.standard_normal((n, width)) / np.sqrt(width))
        width = n
    return Network.from_arrays(layers, activation=activation)


def forms(count):
    """Random graphs of which a torus and a head are all that matters."""
    found, seed = [], 0
    while len(found) < count:
        seed += 1
        try:
            form = torus_form(random_network(seed))
        except InputError:
            continue
        if form.head is not None and form.nodes:
            found.append(form)
    return found


def inside(form):
    """A strictly feasible point and its star."""
    model = torus_model(form)
    start = fast_torus(form, model, 0.6)
    y = np.concatenate([*start.multipliers, *start.head, [2.0 * start.d_out]])
    return Star(model, 10.0 * y), y


def test_the_barrier_has_the_derivatives_that_it_claims():
    for form in forms(6):
        star, y = inside(form)
        here = star.barrier(y)
        for k in range(y.size):
            step = np.zeros(y.size)
            step[k] = 1e-4 * y[k]
            slope = (star.trial(y + step).value - star.trial(y - step).value) / (2.0 * step[k])
            assert slope * y[k] == pytest.approx(
                here.gradient[k] * y[k], abs=1e-6 * np.abs(here.gradient * y).max()
            )
            row = (star.barrier(y + step).gradient - star.barrier(y - step).gradient) / (2.0 * step[k])
            scale = np.sqrt(np.diagonal(here.hessian))
            np.testing.assert_allclose(row / scale / scale[k], here.hessian[k] / scale / scale[k], atol=1e-6)


def test_what_a_point_needs_is_where_the_matrix_stops_being_definite():
    for form in forms(12):
        star, y = inside(form)
        needed = star.trial(y).needed
        for factor, feasible in ((1.0 + 1e-9, True), (1.0 - 1e-9, False)):
            moved = np.append(y[:-1], needed * factor)
            assert (star.trial(moved) is not None) == feasible


def neighbourhood(form, share=0.7):
    """All points on the way, in logarithms, and the star."""
    model = torus_model(form)
    star, start = Star(model, share=3.0), fast_torus(form, model, share)
    y = np.concatenate([*start.multipliers, *start.head, [start.d_out]])
    return list(approached(star, y, 10.0 * star.degree, 1e-3)), star


def test_the_way_in_logarithms_is_feasible_and_ends_near_the_optimum():
    for form in forms(6):
        points, star = neighbourhood(form)
        for needed, y in points:
            assert star.trial(y).needed == pytest.approx(needed, rel=1e-9)
        assert points[-1][0] <= points[0][0]
        assert points[-1][0] <= headed(form).d_out * (1.0 + 2.0 / 10.0)  # rows / tau of log d, and some


def test_scaling_layers_changes_nothing_on_the_way():
    network = headed_network(5, (3,))
    weights = [layer.linear for layer in network.layers]
    first = conv(np.random.default_rng(5), 2, (1, 4, 4), 3, padding=1)
    assert np.array_equal(first.to_dense(), weights[0].to_dense())
    scaled = [dataclasses.replace(first, kernel=first.kernel * 2.0**12), *weights[1:-1]]
    scaled.append(weights[-1].to_dense() * 2.0**-12)
    ends = [neighbourhood(torus_form(chain_graph(net)))[0] for net in (network, Network.from_arrays(scaled))]
    assert len(ends[0]) == len(ends[1])
    for (one, _), (other, _) in zip(*ends, strict=True):
        assert other == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("widths", [(2,), (3, 2), (4, 3, 2)])
def test_torus_is_between_fast_and_the_unrolled_optimum_and_a_sampled_bound(widths, activation):
    network = headed_network(1, widths, activation)
    fast = fast_torus(torus_form(chain_graph(network)))
    best = lmikit.torus_lipschitz(network)
    neuron = lmikit.lipschitz(network)
    assert lmikit.lower_bound(network, starts=8, steps=10).value <= neuron.bound
    assert neuron.bound <= best.bound * (1.0 + 1e-7)
    assert best.bound <= np.sqrt(fast.d_out) * (1.0 + 1e-6)
    least = best.witness.optimum_at_least
    assert least <= best.bound <= least * (1.0 + 1e-3)


def clarabel_optimum(form):
    """sqrt(d) of the same LMI as one program over the real forms of all frequencies, without any barrier."""
    star, y = inside(form)
    unit = np.eye(y.size)
    zero = dense(star, np.zeros(y.size), 1.0)
    linear = [dense(star, e, 0.0) for e in unit]
    n = len(zero)
    lower = [(i, j) for j in range(n) for i in range(j + 1)]  # the upper triangle, column by column
    scale = np.array([1.0 if i == j else np.sqrt(2.0) for i, j in lower])
    rows, columns = np.array(lower).T
    A = np.stack([-(M[rows, columns] * scale) for M in linear], axis=1)
    cost = np.append(np.zeros(y.size - 1), 1.0)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    P = scipy.sparse.csc_matrix((y.size, y.size))
    b = zero[rows, columns] * scale
    cones = [clarabel.PSDTriangleConeT(n)]
    return np.sqrt(
        clarabel.DefaultSolver(P, cost, scipy.sparse.csc_matrix(A), b, cones, settings).solve().x[-1]
    )


def dense(star, y, unit):
    """Z in the basis of real and imaginary parts of one of each pair of opposite frequencies."""
    T, rest, parts, links = y[: star.channels], y[star.channels :], [], []
    c = star._root.coupling(rest, unit)
    for arms in star._arms:
        for M, U, weight in zip(arms.matrix(T, unit), arms.U, arms.weights, strict=True):
            link = -c[:, None] * U
            if weight == 1.0:
                parts.append(M.real)
                links.append(link.real)
            else:
                parts.append(np.block([[M.real, -M.imag], [M.imag, M.real]]))
                links.append(np.sqrt(2.0) * np.hstack([link.real, -link.imag]))
    side = np.hstack(links)
    whole = np.pad(side, ((0, star._root.order - len(side)), (0, 0)))
    return np.block([[_diagonal(parts), whole.T], [whole, star._root.matrix(rest, unit)]])


def _diagonal(blocks):
    return np.asarray(scipy.sparse.block_diag(blocks).toarray())


def test_the_optimum_is_that_of_another_solver():
    rng = np.random.default_rng(2)
    first = conv(rng, 2, (1, 3, 3), 3, padding=1)
    for widths in ((2,), (3, 2)):
        layers, width = [first], 18
        for n in widths:
            layers.append(rng.standard_normal((n, width)) / np.sqrt(width))
            width = n
        form = torus_form(chain_graph(Network.from_arrays(layers)))
        witness = headed(form, gap=1e-7)
        assert np.sqrt(witness.d_out) == pytest.approx(clarabel_optimum(form), rel=3e-6)
        assert witness.optimum_at_least == pytest.approx(np.sqrt(witness.d_out), rel=1e-6)


def test_every_iterate_can_be_proven_and_dead_neurons_do_no_harm():
    network = headed_network(3)
    weights = [layer.linear for layer in network.layers]
    dense = [w.to_dense().copy() for w in weights[2:]]
    dense[0][0] *= 1e-20
    network = Network.from_arrays([*weights[:2], *dense])
    values = []
    best = lmikit.torus_lipschitz(network, progress=lambda p: values.append(p.objective))
    assert all(b <= a for a, b in itertools.pairwise(values[1:]))
    for limit in (1e-9, 0.01, 0.02):  # whatever point it stops at is proven
        cut = lmikit.torus_lipschitz(network, time_limit=limit)
        assert best.bound <= cut.bound * (1.0 + 1e-4)
    assert best.bound == pytest.approx(best.witness.optimum_at_least, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "expected"), [("two_convolutions", 22.4073), ("lenet", 42.2053)])
def test_published_networks_reach_their_optimum(data_dir, make, expected):
    """2C2F and LeNet-5 of GLipSDP: Fast shows 33.62 and 62.24."""
    path = pathlib.Path(__file__).parent.parent / "benchmarks" / "convolutions.py"
    networks = runpy.run_path(str(path))
    certificate = lmikit.torus_lipschitz(networks[make](data_dir / "glipsdp"))
    assert certificate.bound == pytest.approx(expected, rel=1e-4)
    assert certificate.witness.optimum_at_least == pytest.approx(certificate.bound, rel=1e-4)
