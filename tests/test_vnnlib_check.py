"""The folder of a VNN-LIB answer is proven again: coverage, refutations, counterexample; changes are not."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import InputError, Network, OptionError, check_vnnlib, verify_vnnlib
from lmikit.cli import main

UNIT = [(-1, 1), (-1, 1)]
TWO = "(assert (or (and (<= Y_0 -0.1)) (and (<= Y_0 0.5) (>= Y_1 0.55))))"
CASES = "(assert (or (and (<= X_0 -0.5) (<= Y_0 0.4)) (and (>= X_0 0.5) (<= Y_0 0.4))))"


def spec(folder, property_, name="p.vnnlib", outputs=2):
    lines = [f"(declare-const X_{i} Real)" for i in range(2)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    for i, (low, high) in enumerate(UNIT):
        lines += [f"(assert (<= X_{i} {high}))", f"(assert (>= X_{i} {low}))"]
    path = folder / name
    path.write_text("\n".join(lines) + "\n" + property_ + "\n")
    return path


@pytest.fixture(scope="module")
def hat():
    """f(x) = (|x_0| + |x_1|, x_0)."""
    first = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return Network.from_arrays([first, np.array([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 0.0, 0.0]])])


@pytest.fixture(scope="module")
def rough():
    """A network whose boxes have to be halved often."""
    rng = np.random.default_rng(5)
    return Network.from_arrays([rng.standard_normal(s) for s in ((8, 2), (8, 8), (2, 8))])


@pytest.fixture(scope="module")
def answer(rough, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    least = float(rough(np.random.default_rng(1).uniform(-1, 1, (20000, 2)))[:, 0].min())
    path = spec(
        folder, f"(assert (or (and (<= Y_0 {least - 0.05})) (and (<= Y_0 {least - 0.2}) (>= Y_1 0))))"
    )
    result = verify_vnnlib(rough, path, 60.0, folder=folder, enclosures=True)
    assert result.verdict == "unsat"
    assert result.boxes > 5
    return folder, path, json.loads((folder / "cover.json").read_text())


@pytest.mark.parametrize("property_", [TWO, CASES, "(assert (<= (+ Y_0 1.0) Y_0))"])
@pytest.mark.parametrize("enclosures", [False, True])
def test_unsat_is_proven_again(hat, tmp_path, property_, enclosures):
    path = spec(tmp_path, property_)
    result = verify_vnnlib(hat, path, 20.0, folder=tmp_path / "out", enclosures=enclosures)
    assert result.verdict == "unsat"
    for exact in (False, True):
        found = check_vnnlib(tmp_path / "out", hat, path, exact)
        assert found.verdict == "proven", found.reason


def test_sat_is_proven_again_and_moved_points_are_not(hat, tmp_path):
    path, out = spec(tmp_path, "(assert (<= Y_0 0.5))(assert (>= Y_1 0.4))"), tmp_path / "out"
    assert verify_vnnlib(hat, path, 20.0, folder=out).verdict == "sat"
    assert check_vnnlib(out, hat, path).verdict == "refuted"
    data = json.loads((out / "cover.json").read_text())
    for point in (["0", "0"], ["2", "0"], ["1/2"], ["1/0", "0"], None):
        (out / "cover.json").write_text(json.dumps({**data, "counterexample": point}))
        assert check_vnnlib(out, hat, path).verdict == "undecided"
    (out / "cover.json").write_text(json.dumps({**data, "verdict": "unsat"}))
    assert check_vnnlib(out, hat, path).verdict == "undecided"


def test_activations_without_rational_values(tmp_path):
    network = Network.from_arrays([np.eye(2), np.array([[1.0, 1.0]])], activation="tanh")
    for number, verdict in (("1.6", "proven"), ("1.5", "refuted")):
        path, out = spec(tmp_path, f"(assert (>= Y_0 {number}))", outputs=1), tmp_path / number
        verify_vnnlib(network, path, 20.0, folder=out, enclosures=True)
        assert check_vnnlib(out, network, path).verdict == verdict


def test_an_unfinished_search_is_undecided(rough, answer, tmp_path):
    _, path, _ = answer
    assert verify_vnnlib(rough, path, 1e-6, folder=tmp_path, enclosures=True).verdict == "unknown"
    found = check_vnnlib(tmp_path, rough, path)
    assert (found.verdict, found.malformed) == ("undecided", False)
    assert "not finished" in found.reason


def test_another_network_or_property_is_undecided(rough, answer):
    folder, path, _ = answer
    assert check_vnnlib(folder, rough, path).verdict == "proven"
    moved = Network.from_arrays(rough.weights, [layer.bias + 1e-12 for layer in rough.layers])
    assert "another network" in check_vnnlib(folder, moved, path).reason
    other = spec(folder, "(assert (<= Y_0 -1000))", "other.vnnlib")
    assert "another property" in check_vnnlib(folder, rough, other).reason
    same = folder / "same.vnnlib"
    same.write_text("; said again\n" + path.read_text())
    assert check_vnnlib(folder, rough, same).verdict == "proven"


def refused(network, path, folder, data, text):
    (folder / "cover.json").write_text(json.dumps({**data, "cases": [text]}))
    return check_vnnlib(folder, network, path).verdict == "undecided"


@settings(max_examples=80)
@given(choice=st.data())
def test_changed_trees_are_undecided(rough, answer, tmp_path_factory, choice):
    """A closing left out, a leaf left open, a halving moved or made a leaf, tokens dropped."""
    _, path, data = answer
    tokens = data["cases"][0].split(" ")
    kind = choice.draw(st.sampled_from(["drop", "move", "leaf", "cut", "other"]))
    if kind == "drop":
        del tokens[choice.draw(st.integers(0, len(tokens) - 1))]
    elif kind == "cut":
        tokens = tokens[: choice.draw(st.integers(0, len(tokens) - 1))]
    elif kind == "other":
        k = choice.draw(st.sampled_from([k for k, t in enumerate(tokens) if t[0] == "e"]))
        tokens[k] = choice.draw(st.sampled_from(["e7", "f0:0.1", "f123:0.1"]))
    else:
        k = choice.draw(st.sampled_from([k for k, t in enumerate(tokens) if t[0] == "s"]))
        coordinate, at = tokens[k][1:].split(":")
        outside = float.fromhex(at) + choice.draw(st.sampled_from([-4.0, 4.0]))
        tokens[k] = "l" if kind == "leaf" else f"s{coordinate}:{outside.hex()}"
    assert refused(rough, path, tmp_path_factory.mktemp("changed"), data, " ".join(tokens))


def test_boxes_that_an_enclosure_does_not_refute_are_undecided(rough, answer, tmp_path):
    _, path, data = answer
    assert refused(rough, path, tmp_path, data, "e0.1 l")
    assert refused(rough, path, tmp_path, data, "l")
    assert refused(rough, path, tmp_path, data, "o")


def test_certificates_of_other_boxes_and_changed_files_are_undecided(rough, answer, tmp_path):
    _, path, _ = answer
    assert verify_vnnlib(rough, path, 60.0, folder=tmp_path).verdict == "unsat"
    assert check_vnnlib(tmp_path, rough, path).verdict == "proven"
    files = sorted(tmp_path.glob("box-*.json"))
    assert files
    first = files[0].read_text()
    files[0].unlink()
    assert "cannot be read" in check_vnnlib(tmp_path, rough, path).reason
    files[0].write_text(first.replace('"lower"', '"lowest"'))
    assert check_vnnlib(tmp_path, rough, path).verdict == "undecided"
    if len(files) > 1:
        files[0].write_text(files[1].read_text())
        assert check_vnnlib(tmp_path, rough, path).verdict == "undecided"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"version": 2},
        {"verdict": "yes"},
        {"cases": "l"},
        {"cases": ["q"]},
        {"property": {}},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_no_cover_is_malformed(rough, answer, tmp_path, change):
    _, path, data = answer
    (tmp_path / "cover.json").write_text(json.dumps({**data, **change}))
    found = check_vnnlib(tmp_path, rough, path)
    assert found.malformed
    assert found.verdict == "undecided"


def test_the_command(hat, tmp_path, capsys):
    net, out = tmp_path / "net.npz", tmp_path / "out"
    hat.save(net)
    path = spec(tmp_path, TWO)
    assert main(["vnnlib", str(net), str(path), "--save", str(out), "--enclosures"]) == 0
    check = ["check", str(out), str(net), "--property"]
    assert main([*check, str(path)]) == 0
    assert "proven: " in capsys.readouterr().out
    sat = spec(tmp_path, "(assert (>= Y_1 0.9))", "sat.vnnlib")
    assert main([*check, str(sat), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "undecided"
    assert main(["vnnlib", str(net), str(sat), "--save", str(out)]) == 0
    assert main([*check, str(sat)]) == 1
    assert "refuted: " in capsys.readouterr().out
    (out / "cover.json").unlink()
    assert main([*check, str(sat)]) == 2


def test_options_and_types(hat, tmp_path):
    path = spec(tmp_path, TWO)
    with pytest.raises(OptionError, match="both asked for"):
        verify_vnnlib(hat, path, certificates=True, enclosures=True)
    with pytest.raises(InputError, match=r"lmikit\.Network"):
        check_vnnlib(tmp_path, "net", path)
    with pytest.raises(InputError, match="outputs"):
        check_vnnlib(tmp_path, hat, spec(tmp_path, "(assert (<= Y_0 1))", outputs=1))
