"""Certificates at a point: what is proven holds, what is changed is refused, both checkers agree."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit.certificates.point import (
    MultiplierGroup,
    PointCertificate,
    PointWitness,
    TermMultipliers,
    point_digest,
    verify_point,
)
from lmikit.claims import Ball, BallAndBox, Box, PointClaim, linf_ball
from lmikit.margins import Search, chain_of, propose_margins

ACTIVATIONS = (lmikit.ReLU(), lmikit.LeakyReLU(0.1), lmikit.Abs(), lmikit.LeakyReLU(2.5))


@st.composite
def small_networks(draw):
    """Networks with biases whose activations have two pieces."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(3, 4)))]
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
    biases = [rng.standard_normal(b) for b in dims[1:]]
    activation = draw(st.sampled_from(ACTIVATIONS))
    return lmikit.Network.from_arrays(weights, biases, activation), rng


def regions(rng, n):
    x0 = rng.standard_normal(n)
    ball = Ball(x0, float(rng.uniform(0.05, 1.0)))
    box = linf_ball(x0, float(rng.uniform(0.05, 1.0)))
    return {"ball": ball, "box": box, "both": BallAndBox(ball, box)}


def samples(region, rng, count=400):
    """Float64 points of the region (decided exactly), many of them at its border."""
    n = region.dim
    x = region.anchor + rng.standard_normal((count, n))
    if region.ball is not None:
        g = rng.standard_normal((count, n))
        g /= np.linalg.norm(g, axis=1, keepdims=True)
        reach = region.ball.radius * (1 - 1e-12) * rng.uniform(0.0, 1.0, (count, 1)) ** 0.2
        x = region.ball.x0 + reach * g
    if region.box is not None:
        if region.ball is None:
            x = rng.uniform(region.box.lower - 0.2, region.box.upper + 0.2, (count, n))
        x = np.clip(x, region.box.lower, region.box.upper)
    return np.array([p for p in x if region.contains(p)])


def witness_for(network, region, budget=25, newton=0, target=np.inf):
    rows = np.vstack([np.eye(network.output_dim), -np.ones((1, network.output_dim))])
    offsets = np.linspace(-0.5, 0.5, len(rows))
    return propose_margins(
        chain_of(network), region, rows, offsets, Search(budget=budget, newton=newton, target=target)
    )


@given(small_networks(), st.sampled_from(["ball", "box", "both"]), st.sampled_from([0, 0, 20]))
@settings(max_examples=15)
def test_a_proven_margin_is_below_every_sampled_value(drawn, kind, newton):
    network, rng = drawn
    region = regions(rng, network.input_dim)[kind]
    certificate = verify_point(network, witness_for(network, region, newton=newton))
    claim = certificate.claim
    x = samples(region, rng)
    values = network(x) @ claim.rows.T + claim.offsets
    assert (values >= claim.lower - 1e-9 * (1 + np.abs(values))).all()
    assert lmikit.check(certificate, network)
    assert lmikit.check(certificate, network, exact=True)


def example(kind="margin"):
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal(s) for s in ((5, 4), (4, 5), (3, 4))]
    network = lmikit.Network.from_arrays(weights, [rng.standard_normal(n) for n in (5, 4, 3)])
    witness = witness_for(network, Ball(rng.standard_normal(4), 0.25))
    if kind == "radius":
        x = witness.claim.region.anchor
        y = int(np.argmax(network(x)))
        rows = np.array([np.eye(3)[y] - np.eye(3)[j] for j in range(3) if j != y])
        found = propose_margins(
            chain_of(network), Ball(x, 0.02), rows, np.zeros(2), Search(budget=60, target=0.0)
        )
        claim = PointClaim(found.claim.region, rows, np.zeros(2), np.zeros(2), "radius")
        witness = PointWitness(found.digest, claim, found.groups)
    return network, witness


@pytest.mark.parametrize("kind", ["margin", "radius"])
def test_a_file_is_read_back_and_proven_again(tmp_path, kind):
    network, witness = example(kind)
    certificate = verify_point(network, witness)
    path = tmp_path / "point.json"
    certificate.save(path)
    again = PointCertificate.load(path, network)
    assert again.to_text() == certificate.to_text()
    assert (again.claim.lower == certificate.claim.lower).all()
    assert again.radius == certificate.radius > 0.0
    assert lmikit.check(path, network)
    assert lmikit.check(path, network, exact=True)


def mutations(text):
    """Texts with one number of the proof changed to the claimant's advantage or to nonsense."""
    import base64

    def encoded(values):
        return {"dtype": "F64", "data": base64.b64encode(np.asarray(values, "<f8").tobytes()).decode()}

    def decoded(entry):
        return np.frombuffer(
            base64.b64decode(entry["data"]), "<f" + entry["dtype"][1:].replace("64", "8").replace("32", "4")
        ).astype(float)

    def changed(change):
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    def term(index, value):
        def change(data):
            for group in data["groups"]:
                for layer in group["layers"]:
                    values = decoded(layer[index]["multipliers"])
                    values[:] = value(values)
                    layer[index]["multipliers"] = encoded(values)

        return change

    def mu(factor):
        def change(data):
            for group in data["groups"]:
                group["mu"] = (float.fromhex(group["mu"]) * factor).hex()

        return change

    def claim(name, value):
        def change(data):
            data["claim"][name] = encoded(value(decoded(data["claim"][name])))

        return change

    def region(name, value):
        def change(data):
            data["claim"]["region"][name] = value(data["claim"]["region"][name])

        return change

    yield "lower up", changed(claim("lower", lambda v: v + 1e-3))
    yield "mu less", changed(mu(0.9))
    yield "mu negative", changed(mu(-1.0))
    yield "mu zero", changed(mu(0.0))
    yield "T negative", changed(term(0, lambda t: -t))
    yield "T huge", changed(term(0, lambda t: 3.0 * t))
    yield "eta negative", changed(term(1, lambda t: t - 1.0))
    yield "nu negative", changed(term(2, lambda t: -t - 1e-9))
    yield "eta dropped", changed(term(1, lambda t: 0.0 * t))
    yield "nu more", changed(term(2, lambda t: t + 5.0))
    yield "radius up", changed(region("radius", lambda r: (float.fromhex(r) * 1.5).hex()))
    yield "another point", changed(region("x0", lambda x: encoded(decoded(x) + 0.3)))
    yield "rows", changed(claim("rows", lambda v: -v))
    yield "offsets", changed(claim("offsets", lambda v: v - 0.1))
    yield "statement", changed(lambda d: d["claim"].update(statement=d["claim"]["statement"] + " "))
    yield "unknown field", changed(lambda d: d.update(note="x"))
    yield "no groups", changed(lambda d: d.update(groups=[]))
    yield "unknown term", changed(lambda d: d["groups"][0]["layers"][0][0].update(term="x"))
    yield "digest", changed(lambda d: d["network"].update(digest="0" * 64))
    yield "cut", text[: len(text) // 2]
    yield "row out of range", changed(lambda d: d["groups"][0].update(rows=[99]))


def test_every_mutation_is_refused():
    network, witness = example()
    text = verify_point(network, witness).to_text()
    from lmikit.certificates.point._check import check_point

    assert check_point(text, network, False)
    for name, mutated in mutations(text):
        assert not check_point(mutated, network, False), name
        assert not check_point(mutated, network, True), name


def test_another_network_is_refused_also_if_only_a_bias_differs():
    network, witness = example()
    certificate = verify_point(network, witness)
    biases = [layer.bias.copy() for layer in network.layers]
    biases[1][0] += 1e-9
    shifted = lmikit.Network.from_arrays(network.weights, biases)
    leaky = lmikit.Network.from_arrays(
        network.weights, [x.bias for x in network.layers], lmikit.LeakyReLU(0.0)
    )
    assert shifted.digest == network.digest
    for other in (shifted, leaky):
        assert point_digest(other) != point_digest(network)
        assert not lmikit.check(certificate, other)
        with pytest.raises(lmikit.NotCertified, match="another network"):
            verify_point(other, witness)


def test_without_repair_precisely_the_claim_is_proven():
    network, witness = example()
    certificate = verify_point(network, witness)
    lower = certificate.claim.lower.copy()
    lower[0] += 1e-3
    bold = PointWitness(witness.digest, certificate.claim.with_lower(lower), witness.groups)
    with pytest.raises(lmikit.NotCertified, match="row 0 claims"):
        verify_point(network, bold, repair=False)
    modest = PointWitness(witness.digest, certificate.claim.with_lower(lower - 1.0), witness.groups)
    assert (verify_point(network, modest, repair=False).claim.lower == lower - 1.0).all()


def test_a_certificate_is_made_by_verify_only():
    network, witness = example()
    certificate = verify_point(network, witness)
    with pytest.raises(TypeError, match="verify_point"):
        PointCertificate(certificate.claim, witness, "", 0.0)


def test_terms_of_other_activations_are_refused():
    network, witness = example()
    smooth = lmikit.Network.from_arrays(network.weights, [x.bias for x in network.layers], "tanh")
    relabelled = PointWitness(point_digest(smooth), witness.claim, witness.groups)
    with pytest.raises(lmikit.NotCertified, match="two linear pieces, not of tanh"):
        verify_point(smooth, relabelled)


@given(small_networks(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_random_multipliers_never_prove_a_wrong_bound(drawn, seed):
    network, rng = drawn
    draw = np.random.default_rng(seed)
    region = regions(rng, network.input_dim)["ball"]
    layers = []
    for k in range(network.hidden_layers):
        n = network.dims[k + 1]
        t, eta, nu = draw.exponential(1.0, n), draw.exponential(0.5, n), draw.exponential(0.5, n)
        kinds = ("piece_product", "piece_left", "piece_right")
        layers.append(tuple(TermMultipliers(k, v) for k, v in zip(kinds, (t, eta, nu), strict=True)))
    rows = np.eye(network.output_dim)
    count = len(rows)
    mu = float(draw.exponential(10.0))
    group = MultiplierGroup(range(count), np.ones(count), mu, np.zeros(0), tuple(layers))
    claim = PointClaim(region, rows, np.zeros(count), np.zeros(count))
    try:
        certificate = verify_point(network, PointWitness(point_digest(network), claim, (group,)))
    except lmikit.NotCertified:
        return
    x = samples(region, rng)
    assert (network(x) >= certificate.claim.lower - 1e-9).all()
    assert lmikit.check(certificate, network)


def test_regions_are_validated_and_decide_membership_exactly():
    with pytest.raises(lmikit.InputError, match="radius"):
        Ball(np.zeros(2), 0.0)
    with pytest.raises(lmikit.InputError, match="lower <= upper"):
        Box(np.ones(2), np.zeros(2))
    with pytest.raises(lmikit.InputError, match="outside the box"):
        BallAndBox(Ball(np.full(2, 3.0), 1.0), Box(np.zeros(2), np.ones(2)))
    ball = Ball(np.zeros(2), 0.1)
    assert ball.contains(np.array([0.1, 0.0]))
    assert not ball.contains(np.array([0.1, 1e-200]))
    box = linf_ball(np.full(3, 0.3), 0.1, lower=0.25)
    assert (box.lower == 0.25).all()
    assert (box.upper > 0.4 - 1e-15).all()


# Margin SDP without intervals, all neurons kept: cvxpy with Clarabel on the primal relaxation (X_00 = 1,
# X >= 0, X_ww = X_wv, X_0w >= 0, X_0w >= X_0v, trace of the input block at most eps^2) gives these optima.
TINY = (((0.2, 0.1), 0.5, -1.661553), ((1.0, 0.5), 0.5, -2.918950), ((-0.3, 0.6), 0.4, -3.749242))


def tiny_network():
    weights = [[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, -1.0]]]
    return lmikit.Network.from_arrays(weights, [[0.1, -0.2], [0.0, -0.3], [0.0]])


@pytest.mark.parametrize(("x0", "eps", "optimum"), TINY)
def test_the_optimum_of_the_relaxation_is_reached_and_proven(x0, eps, optimum):
    network = tiny_network()
    found = propose_margins(
        chain_of(network),
        Ball(np.array(x0), eps),
        np.eye(1),
        np.zeros(1),
        Search(budget=60, newton=150, target=np.inf),
    )
    certificate = verify_point(network, found)
    assert certificate.margin == pytest.approx(optimum, abs=1e-6)
    assert lmikit.check(certificate, network, exact=True)
