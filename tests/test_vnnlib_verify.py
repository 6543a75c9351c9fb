"""Verdicts on VNN-LIB properties: small networks with known answers, disjunctions, boxes without width."""

import json
from fractions import Fraction

import numpy as np
import pytest

import lmikit
from lmikit import InputError, Network, verify_vnnlib
from lmikit.adapters import read_vnnlib_property
from lmikit.attacks import exact_outputs
from lmikit.cli import main


def spec(folder, inputs, outputs, boxes, property_, name="p.vnnlib"):
    """A file with one box [(lower, upper), ...] and the assertions `property_`."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    for i, (low, high) in enumerate(boxes):
        lines += [f"(assert (<= X_{i} {high}))", f"(assert (>= X_{i} {low}))"]
    path = folder / name
    path.write_text("; a comment\n" + "\n".join(lines) + "\n" + property_ + "\n")
    return path


@pytest.fixture
def hat():
    """f(x) = (|x_0| + |x_1|, x_0): a roof turned over, with 0 as its least value."""
    first = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return Network.from_arrays([first, np.array([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 0.0, 0.0]])])


UNIT = [(-1, 1), (-1, 1)]


@pytest.mark.parametrize(
    ("property_", "verdict"),
    [
        ("(assert (<= Y_0 -0.1))", "unsat"),
        ("(assert (>= Y_0 2.001))", "unsat"),
        ("(assert (>= Y_0 1.999))", "sat"),
        ("(assert (>= Y_0 2))", "sat"),
        # each is possible, both together are not: y_0 >= |y_1|
        ("(assert (<= Y_0 0.5))(assert (>= Y_1 0.6))", "unsat"),
        ("(assert (<= Y_0 0.5))(assert (>= Y_1 0.4))", "sat"),
        ("(assert (or (and (<= Y_0 -0.1)) (and (>= Y_0 2.1))))", "unsat"),
        ("(assert (or (and (<= Y_0 -0.1)) (and (>= Y_1 0.99))))", "sat"),
        ("(assert (>= (+ (* 0.5 Y_1) (- Y_0)) 0.001))", "unsat"),
        ("(assert (<= Y_0 Y_0))", "sat"),
        ("(assert (<= (+ Y_0 1.0) Y_0))", "unsat"),
        ("(assert (or (and (<= X_0 -0.5) (<= Y_0 0.4)) (and (>= X_0 0.5) (<= Y_0 0.4))))", "unsat"),
        ("(assert (or (and (<= X_0 -0.5) (<= Y_0 0.4)) (and (>= X_0 0.5) (<= Y_0 0.6))))", "sat"),
    ],
)
def test_small_networks_have_known_answers(hat, tmp_path, property_, verdict):
    path = spec(tmp_path, 2, 2, UNIT, property_)
    result = verify_vnnlib(hat, path, 20.0)
    assert result.verdict == verdict
    assert str(result).splitlines()[0] == verdict
    if verdict == "sat":
        held(hat, path, result.counterexample)


def held(network, path, point):
    """The point satisfies the file as it is written, in rational arithmetic."""
    case = next(
        c
        for c in read_vnnlib_property(path).cases
        if all(a <= v <= b for a, v, b in zip(c.lower, point.x, c.upper, strict=True))
    )
    rows = case.alternatives[point.alternative]
    y = exact_outputs(network, point.x)
    for row, bound in zip(rows.coefficients.tolist(), rows.bounds, strict=True):
        assert sum(Fraction(c) * v for c, v in zip(row, y, strict=True)) <= bound


def test_boxes_without_width_and_limits_between_floats(hat, tmp_path):
    pinned = [("0.1", "0.1"), ("-0.2", "-0.2")]
    sat = verify_vnnlib(hat, spec(tmp_path, 2, 2, pinned, "(assert (>= Y_1 0.1))"), 10.0)
    assert sat.verdict == "sat"
    assert sat.counterexample.x == (Fraction(1, 10), Fraction(-1, 5))
    assert verify_vnnlib(hat, spec(tmp_path, 2, 2, pinned, "(assert (>= Y_0 0.31))"), 10.0).verdict == "unsat"
    one = [("0.25", "0.25"), (-1, 1)]
    assert verify_vnnlib(hat, spec(tmp_path, 2, 2, one, "(assert (<= Y_0 0.24))"), 10.0).verdict == "unsat"


def test_verdicts_agree_with_sampling_on_random_networks(tmp_path):
    rng = np.random.default_rng(5)
    for index in range(6):
        network = Network.from_arrays([rng.standard_normal(s) for s in ((6, 2), (6, 6), (3, 6))])
        x = rng.uniform(-1, 1, (4000, 2))
        y = network(x)
        least = float((y[:, 0] - y[:, 1]).min())
        for shift, verdict in ((-0.15, None), (0.01, "sat")):
            path = spec(tmp_path, 2, 3, UNIT, f"(assert (<= (- Y_0 Y_1) {least + shift}))")
            result = verify_vnnlib(network, path, 20.0)
            assert result.verdict == verdict or (verdict is None and result.verdict in ("unsat", "sat")), (
                index
            )
            if result.verdict == "sat":
                held(network, path, result.counterexample)


def test_every_refuted_box_gets_a_certificate_and_the_boxes_cover(hat, tmp_path, capsys):
    path = spec(tmp_path, 2, 2, UNIT, "(assert (or (and (<= Y_0 -0.1)) (and (<= Y_0 0.5) (>= Y_1 0.55))))")
    file, folder = tmp_path / "net.npz", tmp_path / "proofs"
    hat.save(file)
    assert main(["vnnlib", str(file), str(path), "--save", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    files = sorted(folder.glob("box-*.json"))
    assert said["verdict"] == "unsat"
    assert said["certificates"] == len(files) > 0
    for name in files:
        assert (lmikit.PointCertificate.load(name, hat).claim.lower > 0.0).any()
    assert lmikit.check_vnnlib(folder, hat, path).verdict == "proven"


def test_the_command_prints_the_verdict_first_and_ends_with_zero(hat, tmp_path, capsys):
    file = tmp_path / "net.npz"
    hat.save(file)
    path = spec(tmp_path, 2, 2, UNIT, "(assert (>= Y_1 0.9))")
    assert main(["vnnlib", str(file), str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sat"
    assert lines[1].startswith("((X_0 ")
    assert lines[-1].startswith("(Y_1 ")
    assert lines[-1].endswith("))")
    assert main(["vnnlib", str(file), str(path), "--time-limit", "-1"]) == 2
    assert main(["vnnlib", str(file), str(tmp_path / "none.vnnlib")]) == 2


def test_activations_without_rational_values_are_decided_by_enclosure(tmp_path):
    network = Network.from_arrays([np.eye(2), np.array([[1.0, 1.0]])], activation="tanh")
    high = spec(tmp_path, 2, 1, UNIT, "(assert (>= Y_0 1.6))")
    assert verify_vnnlib(network, high, 10.0).verdict == "unsat"
    low = spec(tmp_path, 2, 1, UNIT, "(assert (>= Y_0 1.5))")
    assert verify_vnnlib(network, low, 10.0).verdict == "sat"
    with pytest.raises(InputError, match="tanh"):
        verify_vnnlib(network, high, 10.0, certificates=True)


@pytest.mark.parametrize(
    "property_",
    [
        "(assert (<= Y_0 X_0))",
        "(assert (<= (* Y_0 Y_1) 1))",
        "(assert (<= Y_2 1))",
        "(assert (< Y_0 1))",
        "(assert (<= Y_0 (* 1 Z)))",
        "(assert (<= Y_0))",
    ],
)
def test_what_is_not_linear_is_refused(tmp_path, property_):
    with pytest.raises(InputError):
        read_vnnlib_property(spec(tmp_path, 2, 2, UNIT, property_))


def test_sizes_are_compared(hat, tmp_path):
    with pytest.raises(InputError, match="3 inputs"):
        verify_vnnlib(hat, spec(tmp_path, 3, 2, [*UNIT, (0, 1)], "(assert (<= Y_0 1))"))


# Katz et al., "Reluplex", CAV 2017: properties 3 and 4, in the network's normalised inputs.
ACAS = {
    3: [
        (-0.303531156, -0.298552812),
        (-0.009549297, 0.009549297),
        (0.493380324, 0.5),
        (0.3, 0.5),
        (0.3, 0.5),
    ],
    4: [
        (-0.303531156, -0.298552812),
        (-0.009549297, 0.009549297),
        (0.0, 0.0),
        (0.318181818, 0.5),
        (0.083333333, 0.166666667),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4])
def test_collision_avoidance_properties_hold(data_dir, tmp_path, capsys, number):
    name = "NeuralNetworkVerification__Marabou__ACASXU_experimental_v2a_1_1.onnx"
    pytest.importorskip("onnx")
    worst = "".join(f"(assert (<= Y_0 Y_{j}))" for j in range(1, 5))
    path = spec(tmp_path, 5, 5, ACAS[number], worst)
    command = ["vnnlib", str(data_dir / "real" / name), str(path), "--time-limit", "300", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "unsat"
