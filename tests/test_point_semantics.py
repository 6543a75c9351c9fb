"""Claims about float inferences: below every pass computed in the format, its rounding always paid."""

import dataclasses
import importlib.util
import itertools
import json
import pathlib

import numpy as np
import pytest

import lmikit
from lmikit.certificates.point import PointCertificate, verify_point
from lmikit.certificates.point._inference import inference_loss
from lmikit.certificates.point._inference_check import checked_loss
from lmikit.claims import SEMANTICS, Ball, BallAndBox, Box, PointClaim
from lmikit.cli import main
from lmikit.intervals import FORMATS, rounding_bound
from lmikit.margins import Search, chain_of, propose_margins

NUMPY = {"float16": np.float16, "float32": np.float32, "float64": np.float64}


def network(seed=2, dims=(5, 8, 6, 3), activation="relu"):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(dims)]
    biases = [0.3 * rng.standard_normal(n) for n in dims[1:]]
    return lmikit.Network.from_arrays(weights, biases, activation)


def summed(parts, dtype, rng):
    """The sum of numbers of the format in a random binary tree, some of its nodes in a wider format."""
    parts = list(rng.permutation(parts))
    while len(parts) > 1:
        one, other = parts.pop(), parts.pop(int(rng.integers(len(parts) - 1)) if len(parts) > 1 else 0)
        wide = np.longdouble if rng.random() < 0.3 else dtype
        parts.insert(int(rng.integers(len(parts) + 1)), dtype(wide(one) + wide(other)))
    return parts[0]


def fused(w, value, bias, dtype, rng):
    """sum w value + bias by fused operations in random order, each rounded once (float64 is wide enough)."""
    total = dtype(bias)
    for i in rng.permutation(w.size):
        total = dtype(np.longdouble(w[i]) * np.longdouble(value[i]) + np.longdouble(total))
    return total


def inference(net, x, dtype, rng, flush=False):
    """A forward pass with every operation in `dtype`, the terms of each sum in random order.

    `flush` reads and writes numbers below the smallest normal one as zero, as accelerators do.
    """
    tiny = np.finfo(dtype).tiny

    def kept(v):
        return np.where(np.abs(v) < tiny, dtype(0), v).astype(dtype) if flush else v

    value = kept(x.astype(dtype))
    for k, layer in enumerate(net.layers):
        w, b = kept(layer.linear.to_dense().astype(dtype)), kept(layer.bias.astype(dtype))
        out = np.empty(b.size, dtype)
        for i in range(b.size):
            if rng.random() < 0.5:
                out[i] = fused(w[i], value, b[i], dtype, rng)
            else:
                out[i] = summed(np.append(kept(w[i] * value), b[i]), dtype, rng)
        out = kept(out)
        value = np.maximum(out, dtype(0)) if k < net.hidden_layers else out
    return value.astype(np.float64)


def claim_on(net, region, semantics, lower=None):
    rows = np.vstack([np.eye(net.output_dim), np.ones((1, net.output_dim))])
    lower = np.zeros(len(rows)) if lower is None else lower
    return PointClaim(region, rows, lower, np.zeros(len(rows)), semantics=semantics)


def witness_on(net, region, semantics):
    claim = claim_on(net, region, semantics)
    found = propose_margins(
        chain_of(net), region, claim.rows, claim.offsets, Search(budget=40, newton=20, target=np.inf)
    )
    return dataclasses.replace(found, claim=dataclasses.replace(found.claim, semantics=semantics))


def regions(x):
    ball, box = Ball(x, 1e-3), Box(x - 1e-3, x + 2e-3)
    return (ball, box, BallAndBox(ball, box))


@pytest.mark.parametrize("semantics", sorted(NUMPY))
def test_no_forward_pass_in_the_format_is_below_the_claim(semantics):
    net, rng = network(), np.random.default_rng(5)
    for region in regions(rng.standard_normal(5)):
        certificate = verify_point(net, witness_on(net, region, semantics))
        claim = certificate.claim
        assert semantics in claim.sentence
        assert "not of a float inference" not in claim.sentence
        for _ in range(20):
            step = rng.standard_normal(5)
            x = region.anchor + 1e-3 * step / np.linalg.norm(step)
            x = x if region.contains(x) else region.anchor
            computed = inference(net, x, NUMPY[semantics], rng, flush=rng.random() < 0.5)
            assert (claim.rows @ computed >= claim.lower).all()
        assert lmikit.check(certificate, net)
        assert lmikit.check(certificate, net, exact=True)


@pytest.mark.parametrize("activation", ["relu", "abs", "leaky_relu", "hardtanh"])
def test_the_checker_finds_its_own_loss_a_hair_below_the_one_that_was_paid(activation):
    assert set(FORMATS) | {"real"} == set(SEMANTICS)
    net = network(4, (6, 9, 7, 4), activation)
    for region in regions(np.random.default_rng(1).standard_normal(6)):
        for semantics in FORMATS:
            claim = claim_on(net, region, semantics)
            paid, own = inference_loss(net, claim), checked_loss(net, claim)
            assert (own <= paid).all()
            assert (own >= 0.97 * rounding_bound(net, region, claim.rows, semantics) - 1e-290).all()
            assert (own > 0.0).all()


def test_the_semantics_of_a_file_cannot_be_changed_without_paying(tmp_path):
    net, x = network(), np.random.default_rng(5).standard_normal(5)
    real = verify_point(net, witness_on(net, Ball(x, 1e-3), "real"))
    single = verify_point(net, witness_on(net, Ball(x, 1e-3), "float32"))
    assert (single.claim.lower < real.claim.lower).all()
    assert json.loads(real.to_text())["version"] == 1
    data = json.loads(single.to_text())
    assert data["version"] == 2
    path = tmp_path / "point.json"
    single.save(path)
    assert PointCertificate.load(path, net).claim.semantics == "float32"

    def verdict(**changes):
        changed = json.loads(single.to_text())
        changed["version"] = changes.pop("version", 2)
        changed["claim"] |= changes
        path.write_text(json.dumps(changed), encoding="utf-8")
        return [bool(lmikit.check(path, net, exact=exact)) for exact in (False, True)]

    assert verdict() == [True, True]
    greedy = json.loads(real.to_text())["claim"]["lower"]
    assert verdict(lower=greedy) == [False, False]
    for other in ("float16", "bfloat16"):
        statement = dataclasses.replace(single.claim, semantics=other).sentence
        assert verdict(semantics=other, statement=statement) == [False, False]
    weaker = dataclasses.replace(single.claim, semantics="float64").sentence
    assert verdict(semantics="float64", statement=weaker) == [True, True]  # proven anew: it is implied
    assert verdict(semantics="float64") == [False, False]
    assert verdict(semantics="float8", statement=weaker) == [False, False]
    assert verdict(semantics="real", statement=real.claim.sentence) == [True, True]  # implied as well
    assert verdict(semantics="real") == [False, False]
    assert verdict(version=1) == [False, False]


def test_the_stand_alone_checker_refuses_float_claims_by_name(tmp_path):
    page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_point_checker.py"
    spec = importlib.util.spec_from_file_location("standalone_point_checker", page)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = network()
    path = tmp_path / "point.json"
    verify_point(net, witness_on(net, Ball(np.zeros(5), 1e-3), "float32")).save(path)
    with pytest.raises(module.Refused, match="float inferences"):
        module.check(path, net.weights, [layer.bias for layer in net.layers], [("relu", {})] * 2)


def test_claims_of_radius_and_overflow_are_refused():
    net = network()
    with pytest.raises(lmikit.InputError, match="real function"):
        PointClaim(Ball(np.zeros(5), 1.0), np.eye(3), np.zeros(3), np.zeros(3), "radius", "float32")
    large = Ball(np.full(5, 6e4), 1e-3)
    with pytest.raises(lmikit.NotCertified, match="overflow"):
        verify_point(net, witness_on(net, large, "float16"))


def test_points_in_a_format_are_decided_with_its_rounding(tmp_path, capsys):
    net = network()
    X = np.random.default_rng(7).standard_normal((4, 5))
    y = net(X).argmax(axis=1)
    eps = 0.02
    real = lmikit.certify_point(net, X[0], int(y[0]), eps=eps)
    single = lmikit.certify_point(net, X[0], int(y[0]), eps=eps, semantics="float32")
    assert real.verdict == single.verdict == "proven"
    assert single.certificate.claim.semantics == "float32"
    radius = lmikit.certify_point(net, X[0], int(y[0]))
    ball = lmikit.certify_point(net, X[0], int(y[0]), semantics="float32")
    assert ball.verdict == "proven"
    assert 0.98 * radius.radius < ball.radius < radius.radius
    assert ball.margin > 0.0
    # a value that is wrong in reals by less than the rounding refutes no inference
    tie = lmikit.Network.from_arrays([np.eye(2), np.array([[1.0, 0.0], [1.0, 1e-9]])])
    there = np.array([1.0, 1.0])
    assert lmikit.certify_point(tie, there, 0, eps=1e-12).verdict == "refuted"
    assert lmikit.certify_point(tie, there, 0, eps=1e-12, semantics="float32").verdict == "undecided"
    table = lmikit.certify_points(net, X, y, eps=eps, semantics="float32", folder=tmp_path / "s")
    again = lmikit.certify_points(net, X, y, eps=eps, semantics="float32", folder=tmp_path / "s")
    assert (table.verdict == again.verdict).all()
    net.save(tmp_path / "net.npz")
    np.savez(tmp_path / "data.npz", X=X[:1], y=y[:1])
    arguments = ["robust", str(tmp_path / "net.npz"), str(tmp_path / "data.npz"), "--eps", str(eps)]
    main([*arguments, "--semantics", "float32", "--json"])
    assert json.loads(capsys.readouterr().out)["semantics"] == "float32"


@pytest.mark.parametrize("semantics", ["float16", "float32"])
def test_passes_in_any_order_stay_within_the_loss_at_awkward_sizes(semantics):
    """Weights that are not in the format, subnormal ones, steep and dead neurons, large biases."""
    rng, dtype = np.random.default_rng(11), NUMPY[semantics]
    tiny = float(np.finfo(dtype).tiny)
    for trial in range(12):
        weights = [
            rng.standard_normal((b, a)) * 2.0 ** rng.integers(-3, 4) for a, b in ((7, 9), (9, 6), (6, 3))
        ]
        weights[0][:, trial % 7] *= tiny * 2.0 ** rng.integers(-2, 6)
        weights[1][trial % 6] = tiny * rng.standard_normal(9)
        biases = [rng.standard_normal(w.shape[0]) * 2.0 ** rng.integers(-4, 5) for w in weights]
        net = lmikit.Network.from_arrays(weights, biases, "relu")
        x0 = rng.standard_normal(7)
        region = regions(x0)[trial % 3]
        loss = checked_loss(net, claim_on(net, region, semantics))
        for _ in range(6):
            x = np.clip(x0 + 5e-4 * rng.uniform(-1.0, 1.0, 7), x0 - 1e-3, x0 + 1e-3)
            rows = claim_on(net, region, semantics).rows
            exact = rows @ net(x)
            computed = rows @ inference(net, x, dtype, rng, flush=trial % 2 == 0)
            assert (np.abs(computed - exact) <= loss * (1.0 + 1e-9) + 1e-12 * np.abs(exact).max()).all()


def test_the_checker_sees_an_activation_overflow_where_the_next_weights_vanish():
    weights = [np.eye(2), np.zeros((2, 2)), np.eye(2)]
    steep = lmikit.Network.from_arrays(weights, None, [lmikit.LeakyReLU(300.0), lmikit.ReLU()])
    region = Box(np.full(2, -400.0), np.full(2, -399.0))
    assert np.isinf(checked_loss(steep, claim_on(steep, region, "float16"))).all()
    assert np.isinf(rounding_bound(steep, region, np.eye(2), "float16")).all()
