"""Rows that CROWN proves need no multipliers: never fewer points than CROWN, and every row is recomputed."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import lmikit
from lmikit.certificates.point import PointCertificate, PointWitness, point_digest, verify_point
from lmikit.claims import Ball, BallAndBox, Box, PointClaim
from lmikit.intervals import crown_margin
from lmikit.margins import Search, chain_of, propose_margins, united


def network(seed, dims=(4, 9, 9, 8, 8, 3), activation="relu"):
    rng = np.random.default_rng(seed)
    weights = [1.4 * rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(dims)]
    biases = [0.3 * rng.standard_normal(n) for n in dims[1:]]
    return lmikit.Network.from_arrays(weights, biases, activation)


def rows_of(label, outputs=3):
    return np.eye(outputs)[label] - np.delete(np.eye(outputs), label, axis=0)


def enclosed(net, region, rows, offsets=None, indices=None):
    offsets = np.zeros(len(rows)) if offsets is None else offsets
    claim = PointClaim(region, rows, np.zeros(len(rows)), offsets)
    chosen = tuple(range(len(rows))) if indices is None else indices
    return PointWitness(point_digest(net), claim, (), "CROWN", chosen)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_a_margin_is_never_below_crown_whatever_the_search_may_do(activation):
    for seed in range(5 if activation == "relu" else 2):
        net = network(seed, (4, 9, 9, 3) if activation == "tanh" else (4, 9, 9, 8, 8, 3), activation)
        x = np.random.default_rng(seed + 50).standard_normal(4)
        label = int(net(x).argmax())
        rows = rows_of(label)
        for region in (Ball(x, 0.05), Box(x - 0.02, x + 0.02)):
            crown = crown_margin(net, region, rows)
            search = Search(budget=1, newton=0, target=np.inf)
            result = lmikit.certify_point(net, x, label, region=region, search=search)
            if result.certificate is None:
                assert not np.isfinite(crown).all()
                continue
            assert result.certificate.margin >= crown.min() - 1e-6 * (1.0 + abs(crown.min()))
            assert lmikit.check(result.certificate, net)
            assert lmikit.check(result.certificate, net, exact=True)
            if (crown > 1e-6).all():
                assert result.verdict == "proven"


def test_rows_without_multipliers_hold_at_samples_and_survive_a_file(tmp_path):
    net = network(3)
    x = np.random.default_rng(9).standard_normal(4)
    region = BallAndBox(Ball(x, 0.1), Box(x - 0.06, x + 0.06))
    rows, offsets = rows_of(int(net(x).argmax())), np.array([0.25, -3.0])
    certificate = verify_point(net, enclosed(net, region, rows, offsets))
    steps = np.random.default_rng(1).uniform(-0.05, 0.05, (200, 4))
    assert (net(x + steps) @ rows.T + offsets >= certificate.claim.lower).all()
    path = tmp_path / "point.json"
    certificate.save(path)
    data = json.loads(path.read_text())
    assert data["version"] == 2
    assert data["groups"] == []
    assert data["enclosed"] == [0, 1]
    assert PointCertificate.load(path, net).claim.lower.tolist() == certificate.claim.lower.tolist()

    def verdict(change):
        changed = json.loads(certificate.to_text())
        change(changed)
        path.write_text(json.dumps(changed), encoding="utf-8")
        return [bool(lmikit.check(path, net, exact=exact)) for exact in (False, True)]

    assert verdict(lambda d: None) == [True, True]
    for rows_named in ([], [0], [0, 0], [0, 2], [0, -1], "01", None):
        assert verdict(lambda d, named=rows_named: d.update(enclosed=named)) == [False, False]
    assert verdict(lambda d: d.pop("enclosed")) == [False, False]
    assert verdict(lambda d: d.update(version=1)) == [False, False]
    bold = dataclasses.replace(
        certificate.witness, claim=certificate.claim.with_lower(certificate.claim.lower + 1e-3)
    )
    with pytest.raises(lmikit.NotCertified, match="claims"):
        verify_point(net, bold, repair=False)
    above = dataclasses.replace(certificate, claim=bold.claim, witness=bold, token=certificate_token())
    assert not lmikit.check(above, net)
    assert not lmikit.check(above, net, exact=True)


def certificate_token():
    from lmikit.certificates.point import _certificate

    return _certificate._FROM_VERIFY


def test_float_claims_pay_for_their_rounding_here_too():
    net = network(2)
    x = np.random.default_rng(4).standard_normal(4)
    rows = rows_of(int(net(x).argmax()))
    real = verify_point(net, enclosed(net, Ball(x, 0.01), rows))
    asked = enclosed(net, Ball(x, 0.01), rows)
    half = verify_point(
        net, dataclasses.replace(asked, claim=dataclasses.replace(asked.claim, semantics="float16"))
    )
    assert (half.claim.lower < real.claim.lower - 1e-4).all()
    assert lmikit.check(half, net)


def test_a_radius_is_not_proven_by_enclosures():
    net = network(1)
    x = np.zeros(4)
    rows = rows_of(int(net(x).argmax()))
    claim = PointClaim(Ball(x, 1e-3), rows, np.zeros(2), np.zeros(2), "radius")
    with pytest.raises(lmikit.NotCertified, match="radius"):
        verify_point(net, PointWitness(point_digest(net), claim, (), "", (0, 1)))


def test_a_union_serves_each_row_by_its_better_witness():
    net = network(5, (4, 9, 8, 3))
    x = np.random.default_rng(6).standard_normal(4)
    region, rows = Ball(x, 0.05), rows_of(int(net(x).argmax()))
    dual = propose_margins(chain_of(net), region, rows, np.zeros(2), Search(target=np.inf))
    alone = enclosed(net, region, rows)
    alone = dataclasses.replace(alone, claim=alone.claim.with_lower(np.array([1e3, -1e3])))
    both = united([dual, alone])
    assert both.enclosed == (0,)
    assert {r for group in both.groups for r in group.rows} == {1}
    assert lmikit.check(verify_point(net, both), net)


def test_multipliers_that_fail_leave_what_enclosures_prove(monkeypatch):
    net = network(0)
    x = np.random.default_rng(50).standard_normal(4)
    label = int(net(x).argmax())
    assert (crown_margin(net, Ball(x, 0.01), rows_of(label)) > 0.0).all()
    real = lmikit._points.propose

    def broken(*arguments):
        witness = real(*arguments)
        groups = tuple(dataclasses.replace(g, mu=0.0) for g in witness.groups)
        return dataclasses.replace(witness, groups=groups)

    monkeypatch.setattr(lmikit._points, "propose", broken)
    result = lmikit.certify_point(net, x, label, eps=0.01)
    assert result.verdict == "proven"
    assert result.certificate.witness.groups == ()
