"""Files: .nnet, .safetensors, VNN-LIB boxes, and load_network, which picks the reader."""

from fractions import Fraction

import numpy as np
import pytest
from adapters_helpers import importorskip
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import InputError, load_network
from lmikit.adapters import from_nnet, from_safetensors, read_vnnlib
from lmikit.testing import demo_network

NNET = """// a comment
2,2,1,3,
2,3,1,
0
-1.0,-2.0
1.0,2.0
0.5,-0.5,10.0
2.0,4.0,3.0
1.0,0.0
0.0,2.0
-1.0,1.0
0.1
0.2
0.3
1.0,-1.0,0.5
0.25
"""


def nnet_value(x):
    """The function of NNET at points inside its box, written out."""
    z = (x - [0.5, -0.5]) / [2.0, 4.0]
    h = np.maximum(z @ np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]).T + [0.1, 0.2, 0.3], 0)
    return 3.0 * (h @ np.array([[1.0, -1.0, 0.5]]).T + 0.25) + 10.0


def test_nnet_in_its_own_units(tmp_path):
    path = tmp_path / "a.nnet"
    path.write_text(NNET)
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    np.testing.assert_allclose(from_nnet(path)(x), nnet_value(x), rtol=1e-13)
    assert load_network(path).digest == from_nnet(path).digest
    bare = from_nnet(path, normalised=True)
    assert bare.weights[0].tolist() == [[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]
    np.testing.assert_allclose(3 * bare((x - [0.5, -0.5]) / [2.0, 4.0]) + 10, nnet_value(x), rtol=1e-13)


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        ("0.25\n", "", "ends too early"),
        ("0.25\n", "0.25\n1.0\n", "expected the end"),
        ("1.0,-1.0,0.5", "1.0,-1.0", "got 2 numbers; expected 3"),
        ("1.0,-1.0,0.5", "1.0,nan,0.5", "finite"),
        ("1.0,-1.0,0.5", "1.0,x,0.5", "expected numbers"),
        ("2.0,4.0,3.0", "2.0,0.0,3.0", "range > 0"),
        ("2,3,1,\n", "2,3,2,\n", "do not fit"),
        ("2,2,1,3,", "2.5,2,1,3,", "expected integers"),
    ],
)
def test_broken_nnet_files(tmp_path, old, new, pattern):
    path = tmp_path / "a.nnet"
    path.write_text(NNET.replace(old, new))
    with pytest.raises(InputError, match=pattern):
        from_nnet(path)


def save_tensors(path, tensors):
    importorskip("safetensors").numpy.save_file(tensors, path)


@pytest.fixture
def tensors():
    importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    names = {"net.0": (5, 3), "net.2": (4, 5), "net.10": (2, 4)}
    result = {f"{k}.weight": rng.standard_normal(s).astype(np.float32) for k, s in names.items()}
    return result | {"net.0.bias": rng.standard_normal(5), "net.10.bias": np.ones(2, np.float16)}


def test_safetensors_by_number_and_by_order(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors)
    network = from_safetensors(path, ["relu", "tanh"])
    assert network.dims == (3, 5, 4, 2)
    for k, name in enumerate(("net.0", "net.2", "net.10")):
        assert np.array_equal(network.weights[k], tensors[f"{name}.weight"])
    assert load_network(path, "relu").dims == (3, 5, 4, 2)
    with pytest.raises(InputError, match=r"layer net.0 takes 3 features"):
        from_safetensors(path, "relu", order=["net.2", "net.0", "net.10"])


def test_safetensors_holds_bfloat16_exactly(tmp_path):
    torch = importorskip("torch")
    save_file = importorskip("safetensors.torch").save_file
    weight = torch.randn(3, 2).to(torch.bfloat16)
    save_file({"fc.weight": weight}, tmp_path / "a.safetensors")
    network = from_safetensors(tmp_path / "a.safetensors", "relu")
    assert np.array_equal(network.weights[0], weight.float().numpy())


def test_safetensors_refuses_what_no_layer_uses(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors | {"norm.running_mean": np.ones(3)})
    with pytest.raises(InputError, match=r"holds norm.running_mean; expected NAME.weight"):
        from_safetensors(path, "relu")
    save_tensors(path, tensors | {"head.weight": np.ones((2, 2)), "tail.weight": np.ones((2, 2))})
    with pytest.raises(InputError, match="whose order is not known"):
        from_safetensors(path, "relu")
    save_tensors(path, {"conv.weight": np.ones((2, 2, 3, 3, 3))})
    with pytest.raises(InputError, match=r"layer conv.weight is a tensor of shape"):
        from_safetensors(path, "relu")
    path.write_bytes(b"12345678 broken")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        from_safetensors(path, "relu")


def test_load_network_picks_the_reader(tmp_path):
    demo_network().save(tmp_path / "a.npz")
    assert load_network(tmp_path / "a.npz").digest == demo_network().digest
    with pytest.raises(InputError, match="is not a file"):
        load_network(tmp_path / "b.onnx")
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(InputError, match=r"suffix '.txt'; expected one of .npz"):
        load_network(tmp_path / "c.txt")


DECLARED = "; a comment (\n(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n"


def read(tmp_path, text, head=DECLARED):
    path = tmp_path / "p.vnnlib"
    path.write_text(head + text)
    return read_vnnlib(path)


def test_a_box_and_a_property_of_outputs(tmp_path):
    (box,) = read(
        tmp_path,
        "(assert (<= X_0 0.5))(assert (>= X_0 -0.25))(assert (and (<= -1 X_1) (>= 2e0 X_1)))"
        "(assert (>= Y_0 3.0))(assert (or (and (<= Y_0 1.0)) (and (>= Y_0 2.0))))",
    )
    assert box.lower.tolist() == [-0.25, -1.0]
    assert box.upper.tolist() == [0.5, 2.0]
    assert box.centre.tolist() == [0.125, 0.5]
    assert box.radius >= np.hypot(0.375, 1.5)
    assert box.radius == pytest.approx(np.hypot(0.375, 1.5))


def test_alternatives_of_boxes(tmp_path):
    side = "(and (>= X_1 {0}) (<= X_1 {1}) (<= Y_0 0))"
    text = "(assert (>= X_0 0))(assert (<= X_0 1))(assert (or " + side.format(0, 1) + side.format(2, 3) + "))"
    boxes = read(tmp_path, text)
    assert [box.lower.tolist() for box in boxes] == [[0.0, 0.0], [0.0, 2.0]]


@settings(max_examples=50)
@given(low=st.decimals(-10, 10, places=18), width=st.decimals(0, 5, places=18))
def test_decimal_limits_are_rounded_outwards(tmp_path_factory, low, width):
    text = f"(assert (>= X_0 {low:f}))(assert (<= X_0 {low + width:f}))"
    folder = tmp_path_factory.mktemp("v")
    (box,) = read(folder, text, "(declare-const X_0 Real)")
    assert Fraction(box.lower[0]) <= Fraction(low)
    assert Fraction(box.upper[0]) >= Fraction(low + width)
    assert box.upper[0] - box.lower[0] == pytest.approx(float(width), abs=1e-14)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("(assert (<= X_0 1))", "expected all of X_0 to X_1"),
        ("(assert (<= X_0 X_1))", "not a number"),
        ("(assert (<= X_0 1)", "cut off"),
        ("(assert (<= X_0 1)))", "too many"),
        ("(assert (= X_0 1))", "cannot read"),
        ("(assert (<= (+ X_0 X_1) 1))", "no limit on one input"),
        ("(assert (or (<= X_0 1) (<= Y_0 1)))", "no box of inputs"),
        (
            "(assert (<= X_0 1))(assert (>= X_0 2))(assert (<= X_1 1))(assert (>= X_1 0))",
            "expected lower <= upper",
        ),
    ],
)
def test_what_is_no_box_is_refused(tmp_path, text, pattern):
    with pytest.raises(InputError, match=pattern):
        read(tmp_path, text)
