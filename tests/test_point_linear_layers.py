"""Layers without a nonlinearity at a point: the proof is about the network as it is given."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import lmikit
from lmikit.certificates.point import point_digest, verify_point
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.margins import Search, chain_of, problem_of, propose_margins


def network(seed, dims, activations):
    rng = np.random.default_rng(seed)
    weights = [1.3 * rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(dims)]
    biases = [0.3 * rng.standard_normal(n) for n in dims[1:]]
    return lmikit.Network.from_arrays(weights, biases, list(activations))


def folded_by_hand(net):
    """The same function without its linear layers, up to rounding."""
    return chain_of(net).network


def rows_of(net, x):
    label = int(net(x).argmax())
    return label, np.eye(net.output_dim)[label] - np.delete(np.eye(net.output_dim), label, axis=0)


E, R, L, T = lmikit.Identity(), lmikit.ReLU(), lmikit.LeakyReLU(0.1), lmikit.Tanh()
MIXED = [(E, R), (R, E), (R, E, R), (E, E, L), (L, E, E, R), (E, T), (T, E)]


def regions(x, eps):
    return (
        Ball(x, eps),
        Box(x - eps / 2, x + eps / 2),
        BallAndBox(Ball(x, eps), Box(x - eps / 2, x + eps / 2)),
    )


@pytest.mark.parametrize("activations", MIXED, ids=lambda a: "-".join(f.name for f in a))
def test_margins_with_linear_layers_are_those_of_the_folded_network(activations):
    net = network(len(activations), (4, *([6] * len(activations)), 3), activations)
    x = np.random.default_rng(3).standard_normal(4)
    label, rows = rows_of(net, x)
    rng = np.random.default_rng(8)
    folded = problem_of(net).network
    assert folded.hidden_layers == sum(a.name != "identity" for a in activations)
    search = Search(target=np.inf, budget=40, newton=10)
    for region in regions(x, 0.1)[len(activations) % 3 :][:1]:
        result = lmikit.certify_point(net, x, label, region=region, search=search)
        certificate = result.certificate
        assert certificate.network_digest == point_digest(net)
        steps = rng.uniform(-0.05, 0.05, (100, 4))
        assert (net(x + steps) @ rows.T >= certificate.claim.lower).all()
        assert lmikit.check(certificate, net)
        assert lmikit.check(certificate, net, exact=True)
        assert not lmikit.check(certificate, folded)
        same = lmikit.certify_point(folded, x, label, region=region, search=search)
        assert certificate.margin >= same.certificate.margin - 1e-4 * (1.0 + abs(same.certificate.margin))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_linear_networks_are_certified_exactly(depth):
    net = network(depth + 5, (5, *([4] * depth), 3), [E] * depth)
    x = np.random.default_rng(depth).standard_normal(5)
    label, rows = rows_of(net, x)
    matrix = np.eye(5)
    for layer in net.layers:
        matrix = layer.linear.to_dense() @ matrix
    a, values = rows @ matrix, rows @ net(x)
    norms = np.linalg.norm(a, axis=1)
    ball, box, _ = regions(x, 0.1)
    found = lmikit.certify_point(net, x, label, region=ball).certificate
    assert np.abs(found.claim.lower - (values - 0.1 * norms)).max() <= 1e-6 * (1.0 + np.abs(values).max())
    found = lmikit.certify_point(net, x, label, region=box).certificate
    assert np.abs(found.claim.lower - (values - 0.05 * np.abs(a).sum(axis=1))).max() <= 1e-6
    radius = lmikit.certify_point(net, x, label)
    best = (values / norms).min()
    assert best * (1.0 - 1e-6) <= radius.radius <= best * (1.0 + 1e-12)
    assert lmikit.check(radius.certificate, net)
    assert lmikit.check(radius.certificate, net, exact=True)


def test_a_radius_and_a_float_claim_with_linear_layers():
    net = network(2, (4, 6, 6, 6, 3), (E, R, E))
    x = np.random.default_rng(1).standard_normal(4)
    label, _ = rows_of(net, x)
    result = lmikit.certify_point(net, x, label)
    assert result.verdict == "proven"
    same = lmikit.certify_point(folded_by_hand(net), x, label)
    assert result.radius >= 0.999 * same.radius
    assert lmikit.check(result.certificate, net, exact=True)
    single = lmikit.certify_point(net, x, label, eps=0.5 * result.radius, semantics="float32")
    assert single.verdict == "proven"
    assert lmikit.check(single.certificate, net)


def test_terms_of_linear_layers_are_refused_elsewhere_and_files_cannot_be_bent(tmp_path):
    net = network(4, (4, 6, 6, 3), (R, E))
    x = np.random.default_rng(2).standard_normal(4)
    _, rows = rows_of(net, x)
    witness = propose_margins(chain_of(net), Ball(x, 0.1), rows, np.zeros(2), Search(target=np.inf))
    certificate = verify_point(net, witness)
    group = witness.groups[0]
    swapped = dataclasses.replace(witness, groups=(dataclasses.replace(group, layers=group.layers[::-1]),))
    with pytest.raises(lmikit.NotCertified):
        verify_point(net, swapped)
    path = tmp_path / "point.json"
    data = json.loads(certificate.to_text())
    for layer, term in ((0, "linear_line"), (0, "linear_square"), (1, "piece_product")):
        changed = json.loads(certificate.to_text())
        changed["groups"][0]["layers"][layer][0]["term"] = term
        path.write_text(json.dumps(changed), encoding="utf-8")
        assert not lmikit.check(path, net)
        assert not lmikit.check(path, net, exact=True)
    for shift in (1e-3, 1.0):
        bold = certificate.claim.with_lower(certificate.claim.lower + shift)
        with pytest.raises(lmikit.NotCertified):
            verify_point(net, dataclasses.replace(certificate.witness, claim=bold), repair=False)
    assert data["version"] == 1
