"""Certificates at a point of networks that begin with convolutions: sound, and the unrolled network's."""

import base64
import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit.attacks import Attack, attack_margins, upper_values
from lmikit.certificates.point import (
    ArrowFactor,
    coupled_rows,
    plan_of,
    point_digest,
    quadratic_form,
    slopes_of_pieces,
    verify_point,
    weights_of,
)
from lmikit.certificates.point._limbs import Wide, products, rounded
from lmikit.claims import Ball, BallAndBox, linf_ball
from lmikit.intervals import local_intervals, rounding_bound
from lmikit.maps import Convolution2d
from lmikit.margins import Search, chain_of, propose_margins, propose_radius
from lmikit.margins._dual import MarginDual
from lmikit.margins._problem import place_of

QUICK = Attack(steps=20, restarts=2, targets=2)
ACTIVATIONS = (lmikit.ReLU(), lmikit.ReLU(), lmikit.LeakyReLU(0.1), lmikit.Abs())


def convolutional(rng, shape, convolutions, dense=(4, 3), activation="relu"):
    """Convolutions as (out, taps, options) and dense layers, with biases."""
    weights = []
    for out, taps, options in convolutions:
        each = shape[0] // options.get("groups", 1)
        kernel = rng.standard_normal((out, each, taps, taps)) / np.sqrt(each * taps * taps)
        weights.append(Convolution2d(kernel, shape, **options))
        shape = weights[-1].output_shape
    width = int(np.prod(shape))
    for n in dense:
        weights.append(rng.standard_normal((n, width)) / np.sqrt(width))
        width = n
    biases = [0.3 * rng.standard_normal(w.shape[0]) for w in weights]
    return lmikit.Network.from_arrays(weights, biases, activation)


@st.composite
def networks(draw):
    """One to three convolutions of all strides, paddings, dilations and groups, up to two dense layers."""
    integer = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    rng = np.random.default_rng(integer(0, 2**32 - 1))
    shape = image = (integer(1, 2), integer(6, 7), integer(5, 8))
    convolutions = []
    for k in range(integer(1, 3)):
        groups = 2 if k and shape[0] % 2 == 0 and draw(st.booleans()) else 1
        out, taps = groups * integer(1, 2), integer(1, 2) if min(shape[1:]) > 1 else 1
        options = {
            "stride": (integer(1, 2), integer(1, 2)),
            "padding": ((integer(0, 1), integer(0, 1)), (integer(0, 1), 0)),
            "dilation": (integer(1, 2), 1) if min(shape[1:]) > 2 else 1,
            "groups": groups,
        }
        convolutions.append((out, taps, options))
        shape = Convolution2d(np.zeros((out, shape[0] // groups, taps, taps)), shape, **options).output_shape
    dense = [integer(2, 5) for _ in range(integer(0, 2))] + [3]
    return convolutional(rng, image, convolutions, dense, draw(st.sampled_from(ACTIVATIONS))), rng


def sparse_chain(network):
    """The chain as large networks have it."""
    return dataclasses.replace(chain_of(network), weights=weights_of(network))


def unrolled(network):
    return lmikit.Network.from_arrays(
        [layer.linear.to_dense() for layer in network.layers],
        [layer.bias for layer in network.layers],
        [layer.activation for layer in network.layers[:-1]],
    )


def region_of(kind, x0, eps):
    ball, box = Ball(x0, eps), linf_ball(x0, 0.5 * eps)
    return {"ball": ball, "box": box, "both": BallAndBox(ball, box)}[kind]


def witness_for(network, region, budget=15):
    rows = np.vstack([np.eye(network.output_dim), -np.ones((1, network.output_dim))])
    offsets = np.linspace(-0.5, 0.5, len(rows))
    return propose_margins(sparse_chain(network), region, rows, offsets, Search(budget=budget, target=np.inf))


def points_of(region, rng, count=200):
    x = region.anchor + rng.standard_normal((count, region.dim))
    if region.ball is not None:
        g = rng.standard_normal((count, region.dim))
        reach = region.ball.radius * (1 - 1e-12) * rng.uniform(0.0, 1.0, (count, 1)) ** 0.1
        x = region.ball.x0 + reach * g / np.linalg.norm(g, axis=1, keepdims=True)
    if region.box is not None:
        if region.ball is None:
            x = rng.uniform(region.box.lower, region.box.upper, (count, region.dim))
        x = np.clip(x, region.box.lower, region.box.upper)
    return np.array([p for p in x if region.contains(p)])


@given(networks(), st.sampled_from(["ball", "ball", "box", "both"]))
@settings(max_examples=4)
def test_a_proven_margin_is_below_sampled_and_attacked_values(drawn, kind):
    network, rng = drawn
    assert sp.issparse(weights_of(network)[0])
    region = region_of(kind, rng.standard_normal(network.input_dim), float(rng.uniform(0.1, 1.0)))
    certificate = verify_point(network, witness_for(network, region))
    claim = certificate.claim
    values = network(points_of(region, rng)) @ claim.rows.T + claim.offsets
    attacked = attack_margins(network, [region], claim.rows[None], claim.offsets[None], QUICK)
    values = np.vstack([values, network(attacked.points[0]) @ claim.rows.T + claim.offsets])
    assert (values >= claim.lower).all()
    assert lmikit.check(certificate, network)
    assert lmikit.check(certificate, network, exact=True)


@given(networks(), st.sampled_from(["ball", "box"]))
@settings(max_examples=3)
def test_the_dual_and_the_proof_are_those_of_the_unrolled_network(drawn, kind):
    network, rng = drawn
    dense = unrolled(network)
    region = region_of(kind, rng.standard_normal(network.input_dim), 0.4)
    witness = witness_for(network, region)
    other = dataclasses.replace(witness, digest=point_digest(dense))
    mine, theirs = verify_point(network, witness).claim.lower, verify_point(dense, other).claim.lower
    np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-7)
    row = np.eye(network.output_dim)[0]
    duals = [MarginDual(place_of(c, region)) for c in (sparse_chain(network), chain_of(dense))]
    for dual in duals:
        dual.objective(row, 0.1)
    y = rng.uniform(0.5, 1.5, duals[0].head + 3 * duals[0].neurons)
    y[: duals[0].head] *= 100.0 * max(duals[1].place.chain.norms) ** 4
    found, expected = (dual.evaluate(y) for dual in duals)
    assert np.isfinite(found.value) == np.isfinite(expected.value)
    if found.gradient is not None:
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-6, atol=1e-7)


@given(networks())
@settings(max_examples=10)
def test_the_factor_solves_and_stops_where_the_matrix_is_indefinite(drawn):
    network, rng = drawn
    weights = weights_of(network)[:-1]
    sizes = network.dims[:-1]
    scale = [rng.uniform(0.5, 2.0, n) for n in sizes]
    lower = [-rng.uniform(0.1, 0.3, w.shape[0]) for w in weights]
    entries = [
        coupled_rows(t, w) * w.data if sp.issparse(w) else t[:, None] * w
        for t, w in zip(lower, weights, strict=True)
    ]
    grid = [[sp.diags_array(d) if i == j else None for j in range(len(sizes))] for i, d in enumerate(scale)]
    for k, (t, w) in enumerate(zip(lower, weights, strict=True)):
        grid[k + 1][k] = sp.csr_array(sp.diags_array(t) @ sp.csr_array(w))
        grid[k][k + 1] = grid[k + 1][k].T
    matrix = sp.block_array(grid).toarray()
    least = np.linalg.eigvalsh(matrix)[0]
    plan = plan_of(network, (False,) * len(weights))
    for shift in (1.1, 0.9):  # of the diagonal, so that the least eigenvalue is 0.1 of it above or below 0
        moved = [d - shift * least for d in scale] if least < 0 else scale
        factor = ArrowFactor(plan, moved, entries)
        assert factor.ok == (least >= 0 or shift > 1.0)
        if factor.ok:
            whole = matrix + np.diag(np.concatenate(moved) - np.concatenate(scale))
            rhs = [rng.standard_normal((n, 2)) for n in sizes]
            np.testing.assert_allclose(
                np.vstack(factor.solve(rhs)), np.linalg.solve(whole, np.vstack(rhs)), rtol=1e-8, atol=1e-8
            )


def example():
    rng = np.random.default_rng(5)
    layers = [(2, 3, {"padding": 1, "stride": 2}), (3, 2, {"padding": 1})]
    network = convolutional(rng, (1, 8, 8), layers)
    return network, Ball(rng.standard_normal(64), 0.3)


def test_nothing_is_proven_beyond_the_border_of_definiteness():
    """The least mu that the proof accepts still has a positive definite matrix, by a dense eigenvalue."""
    network, region = example()
    witness = witness_for(network, region)
    group = witness.groups[0]
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        tried = dataclasses.replace(group, mu=middle * group.mu)
        claim = dataclasses.replace(witness, groups=(tried, *witness.groups[1:]))
        try:
            verify_point(network, claim)
            high = middle
        except lmikit.NotCertified:
            low = middle
    tried = dataclasses.replace(group, mu=high * group.mu)
    matrix, _ = quadratic_form(network, witness.claim, tried)
    size = np.sqrt(matrix.diagonal())
    least = np.linalg.eigvalsh(matrix.toarray() / size[:, None] / size)[0]
    assert 0.0 < least < 1e-7


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_products_by_limbs_are_exact(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    a, b = (rng.choice([1.0, 2.0**-20, 2.0**-46], (n, 3)) * rng.uniform(-1.0, 1.0, (n, 3)) for _ in range(2))
    a[0], b[0] = rng.choice([-1.0, 1.0, 0.0], (2, 3))
    left, right = rounded(a), rounded(b)
    whole = [
        [int(h) * 2**23 + int(v) for h, v in zip(x.high.T.ravel(), x.low.T.ravel(), strict=True)]
        for x in (left, right)
    ]
    for values, plain in zip(whole, (a, b), strict=True):
        assert np.abs(np.array(values) / 2.0**46 - plain.T.ravel()).max() <= 2.0**-47
    found = products(left, right)
    elements = left.times(right)
    for i in range(3):
        p = whole[0][i * n : (i + 1) * n]
        for j in range(3):
            q = whole[1][j * n : (j + 1) * n]
            exact = sum(x * y for x, y in zip(p, q, strict=True))
            assert (int(found.high[i, j]) << 46) + int(found.low[i, j]) == exact
            near = Wide.floor([exact + sign * (5 << 8) + 3 for sign in (1, -1)], (2,))
            assert near.less(Wide(found.high[i, j], found.low[i, j])).tolist() == [5, -5]
        own = [x * y for x, y in zip(p, whole[1][i * n : (i + 1) * n], strict=True)]
        assert [
            (int(h) << 46) + int(v) for h, v in zip(elements.high[:, i], elements.low[:, i], strict=True)
        ] == own
    far = Wide.floor([1 << 92], (1,))
    assert far.less(Wide.floor([0], (1,))) is None


def entries(data):
    return {"dtype": "F64", "data": base64.b64encode(np.asarray(data, "<f8").tobytes()).decode()}


@pytest.mark.parametrize("exact", [False, True])
def test_the_checker_refuses_what_is_not_proven(tmp_path, exact):
    """Bounds raised by little, multipliers changed: in the file, which the checker reads."""
    network, region = example()
    certificate = verify_point(network, witness_for(network, region))
    group, claim = certificate.witness.groups[0], certificate.claim

    def refused(edit):
        data = json.loads(certificate.to_text())
        edit(data)
        (tmp_path / "c.json").write_text(json.dumps(data))
        return not lmikit.check(tmp_path / "c.json", network, exact=exact).ok

    assert not refused(lambda data: None)
    raised = claim.lower + np.where(np.arange(claim.lower.size) == group.rows[0], 1e-5, 0.0)
    assert refused(lambda data: data["claim"].update(lower=entries(raised)))
    assert refused(lambda data: data["groups"][0].update(mu=(0.9 * group.mu).hex()))
    assert refused(lambda data: data["groups"][0].update(scales=entries(1.1 * group.scales)))
    for k, layer in enumerate(group.layers):
        for j, item in enumerate(layer):
            values = item.values.copy()
            values[0] = -1e-9 if j else 0.0  # an inequality, and a matrix with 0 on its diagonal
            change = entries(values)
            edit = lambda data, k=k, j=j, v=change: data["groups"][0]["layers"][k][j].update(multipliers=v)  # noqa: E731
            assert refused(edit), (k, j)


def test_files_are_read_back_and_changed_ones_refused(tmp_path):
    network, region = example()
    certificate = verify_point(network, witness_for(network, region))
    certificate.save(tmp_path / "c.json")
    assert lmikit.check(tmp_path / "c.json", network)
    witness, claim = certificate.witness, certificate.claim
    group = witness.groups[0]
    r = group.rows[0]
    raised = claim.lower.copy()
    raised[r] += 1e-3
    third = group.layers[0][2]
    flipped = dataclasses.replace(
        third, values=np.where(np.arange(third.values.size) == 0, -1e-9, third.values)
    )
    layers = ((*group.layers[0][:2], flipped), *group.layers[1:])
    for changed in (
        dataclasses.replace(witness, claim=claim.with_lower(raised)),
        dataclasses.replace(witness, groups=(dataclasses.replace(group, mu=0.5 * group.mu),)),
        dataclasses.replace(witness, groups=(dataclasses.replace(group, layers=layers), *witness.groups[1:])),
    ):
        with pytest.raises(lmikit.NotCertified):
            verify_point(network, changed, repair=False)


def test_a_certificate_is_for_precisely_its_convolutions():
    network, region = example()
    certificate = verify_point(network, witness_for(network, region))
    first = network.layers[0].linear
    kernel = first.kernel.copy()
    kernel[0, 0, 0, 0] = np.nextafter(kernel[0, 0, 0, 0], 9.0)
    others = [
        Convolution2d(kernel, first.input_shape, 2, 1),
        Convolution2d(first.kernel, first.input_shape, 2, ((2, 0), (1, 1))),
    ]
    for linear in others:
        layers = (dataclasses.replace(network.layers[0], linear=linear), *network.layers[1:])
        other = lmikit.Network(layers, network.input_dim)
        result = lmikit.check(certificate, other)
        assert not result.ok
        assert "another network" in result.reason


@given(networks(), st.sampled_from(["ball", "box", "both"]))
@settings(max_examples=4)
def test_enclosures_are_those_of_the_unrolled_network_and_the_rounding_less(drawn, kind):
    network, rng = drawn
    dense = unrolled(network)
    region = region_of(kind, rng.standard_normal(network.input_dim), 0.3)
    mine, theirs = local_intervals(network, region), local_intervals(dense, region)
    x = points_of(region, rng).T
    for k, layer in enumerate(network.layers):
        np.testing.assert_allclose(mine.lower[k], theirs.lower[k], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(mine.upper[k], theirs.upper[k], rtol=1e-9, atol=1e-9)
        x = layer.preactivation(x)
        assert ((mine.lower[k][:, None] <= x + 1e-12) & (x - 1e-12 <= mine.upper[k][:, None])).all()
        x = layer.activation(x, axis=0)
    rows = np.eye(network.output_dim)
    less = rounding_bound(network, region, rows, "float32", intervals=mine)
    more = rounding_bound(dense, region, rows, "float32", intervals=theirs)
    assert (less <= more).all()
    points = points_of(region, rng, 20)
    errors = [np.abs(single_pass(network, p, rng) - network(p)) for p in points]
    assert (np.array(errors) <= less + 1e-12).all()


def single_pass(network, x, rng):
    """A forward pass in float32 that adds the terms of the sparse maps one by one, in a random order."""
    value = x.astype(np.float32)
    for layer in network.layers:
        w = sp.csr_array(layer.linear.to_sparse())
        rows = np.repeat(np.arange(w.shape[0]), np.diff(w.indptr))
        order = rng.permutation(w.nnz)
        v = layer.bias.astype(np.float32)
        np.add.at(v, rows[order], (w.data.astype(np.float32) * value[w.indices])[order])
        slopes = slopes_of_pieces(layer.activation, v.size) or (np.ones(v.size), np.ones(v.size))
        left, right = (s.astype(np.float32) for s in slopes)
        value = np.where(v >= 0, right * v, left * v).astype(np.float32)
    return value.astype(float)


@given(networks())
@settings(max_examples=4)
def test_exact_values_are_those_of_the_unrolled_network(drawn):
    network, rng = drawn
    x, rows = rng.standard_normal(network.input_dim), rng.standard_normal((2, network.output_dim))
    assert upper_values(network, x, rows) == upper_values(unrolled(network), x, rows)


def test_verdicts_radii_and_float_inference():
    rng = np.random.default_rng(8)
    network = convolutional(rng, (1, 8, 8), [(2, 3, {"padding": 1, "stride": 2}), (3, 2, {"padding": 1})])
    X = rng.standard_normal((4, 64))
    y = network(X).argmax(axis=1)
    real = lmikit.certify_points(network, X, y, 0.05, attack=QUICK)
    single = lmikit.certify_points(network, X, y, 0.05, semantics="float32", attack=QUICK)
    proven = real.verdict == "proven"
    assert proven.any()
    assert (single.margin[proven] < real.margin[proven] + 1e-6).all()
    assert (real.margin[proven] <= real.attack_margin[proven]).all()
    for result in single.results:
        if result.certificate is not None:
            assert lmikit.check(result.certificate, network)
    i = int(np.flatnonzero(proven)[0])
    rows = np.eye(3)[y[i]] - np.eye(3)[[j for j in range(3) if j != y[i]]]
    found = propose_radius(sparse_chain(network), X[i], rows, np.zeros(2), Search(target=np.inf))
    radius = verify_point(network, found).radius
    assert radius >= 0.05 * 0.999
    region = Ball(X[i], radius)
    x = points_of(region, rng)
    assert (network(x) @ rows.T > 0.0).all()
