"""Margins whose proof encloses the preactivations: sound, above CROWN, and refused when changed."""

import dataclasses
import itertools
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lmikit import Network, NotCertified, check
from lmikit.certificates.point import PointCertificate, verify_point
from lmikit.claims import Ball, BallAndBox, Box, linf_ball
from lmikit.intervals import crown_margin
from lmikit.margins import Search, chain_of, propose_margins, propose_with_intervals
from lmikit.network import LeakyReLU, PReLU

TINY = Network.from_arrays(
    [[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, -1.0]]], [[0.1, -0.2], [0.0, -0.3], [0.0]]
)
BEST = Search(budget=300, target=np.inf)


def proven(network, region, rows, search=BEST):
    witness = propose_with_intervals(chain_of(network), region, rows, np.zeros(len(rows)), search)
    return None if witness is None else verify_point(network, witness)


def deep(seed=0, layers=5, width=8):
    rng = np.random.default_rng(seed)
    dims = [4, *[width] * layers, 3]
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) * 1.3 for a, b in itertools.pairwise(dims)]
    return Network.from_arrays(
        weights, [0.2 * rng.standard_normal(n) for n in dims[1:]]
    ), rng.standard_normal(4)


@pytest.mark.parametrize(
    ("x0", "eps", "minimum"),
    [((0.2, 0.1), 0.5, -1.661553), ((1.0, 0.5), 0.5, -2.918034), ((-0.3, 0.6), 0.4, -3.749242)],
)
def test_tiny_examples_reach_their_minimum(x0, eps, minimum):
    certificate = proven(TINY, Ball(x0, eps), np.eye(1))
    assert abs(certificate.margin - minimum) < 2e-4
    assert certificate.margin <= minimum + 1e-6


@settings(max_examples=8)
@given(data=st.data(), kind=st.sampled_from(("ball", "box", "both")))
def test_bounds_are_sound_checked_and_not_below_crown(data, kind):
    activation = data.draw(st.sampled_from(["relu", "abs", LeakyReLU(0.1), LeakyReLU(-0.5), PReLU(1.5)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    dims = rng.integers(1, 5, data.draw(st.integers(3, 5)))
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
    network = Network.from_arrays(weights, [0.3 * rng.standard_normal(n) for n in dims[1:]], activation)
    x0 = rng.integers(-4, 5, network.input_dim) / 4.0
    region = {
        "ball": Ball(x0, 0.5),
        "box": linf_ball(x0, 0.25),
        "both": BallAndBox(Ball(x0, 0.5), Box(x0 - 0.25, x0 + 0.375)),
    }[kind]
    rows = rng.integers(-2, 3, (2, network.output_dim)).astype(float)
    rows[0, 0] = 1.0
    certificate = proven(network, region, rows, Search(budget=30, target=np.inf))
    x = x0 + rng.uniform(-0.5, 0.5, (400, network.input_dim))
    x = np.array([p for p in np.vstack([x, x0[None]]) if region.contains(p)])
    values = network(x) @ rows.T
    assert (certificate.claim.lower <= values.min(axis=0) + 1e-12 * (1.0 + np.abs(values).max())).all()
    crown = crown_margin(network, region, rows)
    assert (certificate.claim.lower >= crown - 0.02 * (1.0 + np.abs(values).max())).all()
    assert check(certificate, network).ok


def test_deep_networks_need_intervals():
    network, x0 = deep()
    rows = np.eye(3)[:1] - np.eye(3)[1:2]
    region = Ball(x0, 0.05)
    with_intervals = proven(network, region, rows).margin
    free = verify_point(
        network, propose_margins(chain_of(network), region, rows, np.zeros(1), Search(budget=60, newton=0))
    ).margin
    clean = float((network(x0) @ rows.T)[0])
    assert clean - with_intervals < 0.5 * (clean - free)
    assert with_intervals >= crown_margin(network, region, rows)[0] - 1e-6


def test_files_are_checked_in_both_modes_and_changes_are_refused(tmp_path):
    network, x0 = deep(1, layers=2, width=5)
    certificate = proven(network, Ball(x0, 0.3), np.eye(3))
    path = tmp_path / "point.json"
    certificate.save(path)
    assert check(path, network).ok
    assert check(path, network, exact=True).ok
    assert PointCertificate.load(path, network).margin == certificate.margin
    text = json.loads(path.read_text())
    assert any(
        term["term"] == "stable_line"
        for group in text["groups"]
        for layer in group["layers"]
        for term in layer
    )
    biased = Network.from_arrays(network.weights, [layer.bias + 1e-3 for layer in network.layers])
    assert not check(path, biased).ok


def changed(witness, kind, **fields):
    """The witness with one kind of term changed in its first group and layer that uses it."""
    group = witness.groups[0]
    layers, done = [], False
    for layer in group.layers:
        terms = []
        for term in layer:
            if term.kind == kind and term.values.any() and not done:
                done = True
                new = {name: change(term) for name, change in fields.items()}
                term = dataclasses.replace(term, **new)
            terms.append(term)
        layers.append(tuple(terms))
    assert done
    return dataclasses.replace(
        witness, groups=(dataclasses.replace(group, layers=tuple(layers)), *witness.groups[1:])
    )


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("piece_left_limit", {"parameters": lambda t: {"limit": 0.5 * t.parameters["limit"]}}, "limit"),
        ("piece_right_limit", {"parameters": lambda t: {"limit": -t.parameters["limit"]}}, "limit"),
        ("piece_left_limit", {"values": lambda t: -t.values}, "negative multiplier"),
        (
            "stable_line",
            {"parameters": lambda t: {"slope": 1.0 - t.parameters["slope"]}},
            "not proven stable",
        ),
        ("stable_square", {"values": lambda t: t.values - 1.0}, "not proven stable"),
    ],
)
def test_terms_that_the_enclosures_do_not_allow_are_refused(kind, fields, message):
    network, x0 = deep(1, layers=2, width=5)
    certificate = proven(network, Ball(x0, 0.3), np.eye(3))
    with pytest.raises(NotCertified, match=message):
        verify_point(network, changed(certificate.witness, kind, **fields))
