"""certify_point and certify_points: three verdicts, never mixed, and the command that prints them."""

import itertools
import json
import math

import numpy as np
import pytest

import lmikit
from lmikit.attacks import exact_values
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.cli import main


def network(seed=2, dims=(5, 8, 6, 3)):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(dims)]
    return lmikit.Network.from_arrays(weights, [0.3 * rng.standard_normal(n) for n in dims[1:]])


def inputs(net, count=12):
    X = np.random.default_rng(7).standard_normal((count, net.input_dim))
    return X, net(X).argmax(axis=1)


def test_the_verdicts_hold_and_a_larger_region_is_never_safer():
    net = network()
    x = inputs(net)[0][0]
    label = int(net(x).argmax())
    rank = {"proven": 0, "undecided": 1, "refuted": 2}
    seen = []
    for eps in (0.01, 0.1, 0.5, 2.0, 20.0):
        result = lmikit.certify_point(net, x, eps=eps)
        seen.append(rank[result.verdict])
        assert result.label == label
        if result.verdict == "proven":
            assert result.margin > 0.0
            assert result.radius == eps
            assert result.margin <= result.attack_margin + 1e-9
            assert lmikit.check(result.certificate, net, exact=True)
        if result.verdict == "refuted":
            found = result.counterexample
            assert Ball(x, eps).contains(found.x)
            row = np.eye(3)[label] - np.eye(3)[found.output]
            assert exact_values(net, found.x, row[None], np.zeros(1))[0] <= 0
            assert result.certificate is None
    assert seen == sorted(seen)
    assert {0, 2} <= set(seen)


def test_a_radius_is_proven_and_no_counterexample_lies_inside():
    net = network()
    for x, label in zip(*inputs(net, 4), strict=True):
        result = lmikit.certify_point(net, x, int(label))
        assert result.verdict == "proven"
        assert math.isnan(result.margin)
        assert result.radius > 0.0
        assert lmikit.certify_point(net, x, int(label), eps=0.999 * result.radius).verdict != "refuted"
        assert lmikit.check(result.certificate, net)


def test_a_wrong_label_is_refuted_by_the_input_itself():
    net = network()
    X, y = inputs(net)
    result = lmikit.certify_point(net, X[0], int((y[0] + 1) % 3))
    assert result.verdict == "refuted"
    assert (result.counterexample.x == X[0]).all()
    assert result.counterexample.value <= 0.0


def test_a_box_helps_a_ball_and_is_kept_in_the_claim():
    net = network()
    x = np.clip(inputs(net)[0][1], 0.0, 1.0)
    eps = 1.05 * lmikit.certify_point(net, x).radius
    both = BallAndBox(Ball(x, eps), Box(np.zeros(5), np.ones(5)))
    ball = lmikit.certify_point(net, x, eps=eps, search=lmikit.margins.Search(target=math.inf))
    cut = lmikit.certify_point(net, x, region=both, search=lmikit.margins.Search(target=math.inf))
    if "refuted" not in (ball.verdict, cut.verdict):
        assert cut.margin >= ball.margin - 1e-3
        assert cut.certificate.claim.region.box is not None


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_table_agrees_with_single_points_and_resumes(tmp_path, jobs):
    net = network()
    X, y = inputs(net)
    y = y.copy()
    y[0] = (y[0] + 1) % 3
    seen = []
    table = lmikit.certify_points(
        net, X, y, eps=0.2, folder=tmp_path, jobs=jobs, progress=lambda p: seen.append(p.iteration)
    )
    assert seen[-1] == len(X)
    assert table.verdict[0] == "refuted"
    assert not table.right[0]
    assert table.certified_accuracy <= table.attacked_accuracy <= table.clean_accuracy < 1.0
    files = sorted(tmp_path.iterdir())
    assert len(files) == sum(r.certificate is not None for r in table.results)
    before = [f.stat().st_mtime_ns for f in files]
    again = lmikit.certify_points(net, X, y, eps=0.2, folder=tmp_path)
    assert (again.verdict == table.verdict).all()
    proven = [
        f for f, r in zip(files, [r for r in table.results if r.certificate], strict=True) if r.margin > 0
    ]
    stamps = dict(zip(files, before, strict=True))
    assert all(f.stat().st_mtime_ns == stamps[f] for f in proven)


def test_bad_input_is_refused_where_it_enters():
    net = network()
    x = np.zeros(5)
    with pytest.raises(lmikit.OptionError, match="semantics"):
        lmikit.certify_point(net, x, eps=0.1, semantics="float8")
    with pytest.raises(lmikit.OptionError, match="both given"):
        lmikit.certify_point(net, x, eps=0.1, region=Ball(x, 0.1))
    with pytest.raises(lmikit.InputError, match="label is 3"):
        lmikit.certify_point(net, x, 3, eps=0.1)
    with pytest.raises(lmikit.InputError, match="x has shape"):
        lmikit.certify_point(net, np.zeros(4), eps=0.1)
    waves = lmikit.Network.from_arrays(net.weights, activation="sin")
    with pytest.raises(lmikit.InputError, match="sin"):
        lmikit.certify_point(waves, x, eps=0.1)
    with pytest.raises(lmikit.InputError, match="y has shape"):
        lmikit.certify_points(net, np.zeros((2, 5)), np.zeros(2), eps=0.1)
    with pytest.raises(lmikit.InputError, match="eps"):
        lmikit.certify_points(net, np.zeros((2, 5)), np.zeros(2, int), eps="0.1")
    with pytest.raises(lmikit.OptionError, match="l2 radius"):
        lmikit.certify_points(net, np.zeros((2, 5)), np.zeros(2, int), norm="linf")


def test_the_command_prints_verdicts_and_its_exit_code_says_whether_all_are_proven(tmp_path, capsys):
    net = network()
    X, y = inputs(net, 4)
    net.save(tmp_path / "net.npz")
    np.savez(tmp_path / "data.npz", X=X, y=y)
    paths = [str(tmp_path / "net.npz"), str(tmp_path / "data.npz")]
    assert main(["robust", *paths, "--eps", "1e-3", "--json", "--save", str(tmp_path / "out")]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["certified_accuracy"] == 1.0
    assert {p["verdict"] for p in data["points"]} == {"proven"}
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert main(["robust", *paths, "--eps", "30", "--norm", "linf"]) == 1
    assert "refuted" in capsys.readouterr().out
    assert main(["robust", *paths, "--radius", "--first", "2"]) == 0
    assert main(["robust", paths[0], paths[0], "--eps", "1"]) == 2
    assert "expected X and y" in capsys.readouterr().err
    assert main(["robust", *paths, "--radius", "--eps", "1"]) == 2


def test_the_picture_needs_radii_and_is_written_whole(tmp_path):
    pytest.importorskip("matplotlib")
    from lmikit import plots

    net = network()
    X, y = inputs(net, 4)
    path = tmp_path / "accuracy.png"
    plots.accuracy_against_radius(lmikit.certify_points(net, X, y), path, {0.1: 1.0, 0.5: 0.5})
    assert path.stat().st_size > 5000
    with pytest.raises(lmikit.InputError, match="without eps"):
        plots.accuracy_against_radius(lmikit.certify_points(net, X, y, eps=0.1, norm="linf"), path)


def test_a_certificate_of_another_input_is_not_taken_for_this_one(tmp_path):
    rng = np.random.default_rng(3)
    net = lmikit.Network.from_arrays([rng.standard_normal((12, 6)) / 3, rng.standard_normal((3, 12)) / 4])
    X = rng.uniform(size=(2, 6))
    y = net(X).argmax(axis=1)
    first = lmikit.certify_points(net, X, y, eps=1e-3, folder=tmp_path)
    assert list(first.verdict) == ["proven", "proven"]
    one, two = sorted(tmp_path.glob("point-*.json"))
    two.write_bytes(one.read_bytes())
    again = lmikit.certify_points(net, X, y, eps=1e-3, folder=tmp_path)
    assert np.array_equal(again.margin, first.margin)
    assert np.array_equal(lmikit.PointCertificate.load(two, net).claim.region.ball.x0, X[1])
