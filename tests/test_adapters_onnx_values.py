"""from_onnx where values move, meet and have any shape: the same outputs as the reference evaluation."""

import pathlib

import numpy as np
import pytest
from adapters_helpers import importorskip
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import ClosedForm, Graph, InputError, Network, SpectralProduct, lipschitz, lower_bound
from lmikit.adapters import from_onnx

onnx = importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT
rng = np.random.default_rng(1)


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def model(nodes, constants=(), shape=(4,), opset=20):
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, outputs, **attributes)
            for kind, inputs, outputs, attributes in nodes
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def step(kind, inputs, outputs="y", **attributes):
    return kind, inputs.split(), outputs.split(), attributes


def assert_agrees(proto, shape, samples=8):
    """The reference evaluation of one input at a time, over inputs of sizes 0.1 to 10."""
    from onnx.reference import ReferenceEvaluator

    found, run = from_onnx(proto), ReferenceEvaluator(proto)
    for size in np.geomspace(0.1, 10.0, samples):
        x = (size * f32(*shape)).astype(np.float32)
        expected = np.asarray(run.run(None, {"x": x})[0], np.float64).reshape(-1)
        got = found(x.reshape(-1, found.input_dim).astype(np.float64)).reshape(-1)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    return found


C = {
    "W": f32(4, 3), "V": f32(5, 4), "b": f32(3), "S": f32(4, 4), "two": np.array([2]), "one": np.array([1]),
    "zero": np.array([0]), "minus": np.array([-1]), "five": np.array([5]), "c24": np.array([2, 4]),
    "pads": np.array([0, 1, 0, 2]), "seven": np.float32(7.0), "pick": np.array([2, 0, -1]),
    "half": np.float32(0.5), "slopes": f32(3, 1), "t": f32(1, 3, 1), "minus5": np.array([-5]),
    "K": f32(2, 4), "row": f32(1, 4), "E": np.array([2, 3, 4]),
}  # fmt: skip

CASES = {
    "rank 1": ((4,), [step("MatMul", "x W", "a"), step("Add", "a b", "h"), step("Relu", "h")]),
    "from the left": ((4, 2), [step("MatMul", "V x", "a"), step("Tanh", "a")]),
    "a row of matrices from the left": ((3, 4, 2), [step("MatMul", "V x")]),
    "a row of matrices from the right": ((3, 2, 4), [step("MatMul", "x W", "a"), step("Relu", "a")]),
    "Gemm of a constant first": ((4, 2), [step("Gemm", "W x", alpha=0.5, transA=1)]),
    "Gemm that transposes": ((4, 1), [step("Gemm", "x W b", alpha=2.0, beta=0.5, transA=1)]),
    "layouts": (
        (1, 2, 3, 4),
        [
            step("Transpose", "x", "a", perm=[0, 3, 1, 2]), step("Relu", "a", "r"),
            step("Reshape", "r f", "c"), step("Unsqueeze", "c one", "d"), step("Squeeze", "d one"),
        ],
    ),
    "slices": ((2, 6), [step("Slice", "x minus minus5 one minus", "a"), step("Relu", "a")]),
    "split and concat": ((1, 6), [
        step("Split", "x", "a c", axis=1, num_outputs=2), step("Relu", "c", "r"),
        step("Concat", "r a r", axis=-1),
    ]),
    "gather": ((3, 4), [step("Gather", "x pick", "a", axis=1), step("Neg", "a")]),
    "pad and expand": ((3, 4), [step("Pad", "x pads seven", "a"), step("Relu", "a")]),
    "expand": ((3, 4), [step("Expand", "x E")]),
    "concat with constants": ((1, 4), [step("Concat", "row x", "a", axis=0), step("Sigmoid", "a")]),
    "skip": ((4,), [step("MatMul", "x S", "a"), step("Relu", "a", "r"), step("Add", "r x")]),
    "difference that broadcasts": ((3, 4), [
        step("ReduceMean", "x one", "m", keepdims=1), step("Sub", "x m", "d"), step("Relu", "d"),
    ]),
    "sums": ((3, 4), [step("ReduceSum", "x zero", "m", keepdims=0), step("Abs", "m")]),
    "three summands": ((4,), [
        step("Relu", "x", "r"), step("Tanh", "x", "t0"), step("Sum", "r t0 x row")
    ]),
    "largest of constants": ((2, 3), [step("Max", "x half", "a"), step("Min", "b a")]),
    "largest of values": ((4,), [step("MatMul", "x S", "a"), step("Max", "a x", "m"), step("Min", "m x")]),
    "a lower limit": ((4,), [step("Clip", "x half")]),
    "slopes by row": ((1, 3, 2), [step("PRelu", "x slopes")]),
    "silu as written out": ((4,), [step("Sigmoid", "x", "s"), step("Mul", "s x")]),
    "hard sigmoid": ((4,), [step("HardSigmoid", "x", alpha=0.3, beta=0.4)]),
    "averages": ((1, 3, 2, 2), [step("GlobalAveragePool", "x", "a"), step("Relu", "a")]),
    "arithmetic of shapes": ((1, 2, 4), [
        step("Shape", "x", "s"), step("Gather", "s zero", "n"), step("Concat", "n minus", "to", axis=0),
        step("Reshape", "x to", "z"), step("Relu", "z"),
    ]),
    "arithmetic of constants": ((4,), [
        step("Mul", "W half", "w"), step("Transpose", "w", "wt"), step("Neg", "wt", "m"),
        step("MatMul", "m x"),
    ]),
    "broadcast before": ((3, 1), [step("Add", "x t", "a"), step("Relu", "a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_of_any_shape(name):
    shape, nodes = CASES[name]
    constants = {**C, "f": np.array([1, -1])}
    used = {i for _, inputs, _, _ in nodes for i in inputs}
    found = assert_agrees(model(nodes, {k: v for k, v in constants.items() if k in used}, shape), shape)
    proven = lipschitz(found, SpectralProduct()).bound
    lower = lower_bound(found)
    assert lower.value <= proven


@pytest.mark.parametrize("kind", ["Selu", "Celu", "Softsign", "Erf", "Atan", "Cos"])
def test_new_activations(kind):
    assert_agrees(model([step(kind, "x")], shape=(9,), opset=22 if kind == "Celu" else 20), (9,))


def test_nodes_in_any_order():
    nodes = [step("MatMul", "x W", "a"), step("Add", "a b", "h"), step("Relu", "h")]
    protos = [model(order, {"W": C["W"], "b": C["b"]}) for order in (nodes, nodes[::-1])]
    first, second = (from_onnx(p) for p in protos)
    x = f32(4).astype(np.float64)
    assert first.digest == second.digest
    np.testing.assert_array_equal(first(x), second(x))


def test_chains_are_networks_and_others_graphs():
    nodes = [step("MatMul", "x S", "a"), step("Relu", "a", "r"), step("Add", "r x")]
    assert isinstance(from_onnx(model(nodes, {"S": C["S"]})), Graph)
    assert isinstance(from_onnx(model([*nodes[:2], step("Identity", "r")], {"S": C["S"]})), Network)


def test_layouts_that_cancel_leave_the_chain_of_the_raw_weights():
    weight = f32(3, 8)
    nodes = [
        step("Transpose", "x", "a", perm=[0, 2, 1]), step("Transpose", "a", "c", perm=[0, 2, 1]),
        step("Flatten", "c", "f"), step("Gemm", "f W", transB=1),
    ]  # fmt: skip
    network = from_onnx(model(nodes, {"W": weight}, (1, 2, 4)))
    assert network.digest == Network.from_arrays([weight]).digest
    swapped = from_onnx(model([nodes[0], step("Flatten", "a", "f"), nodes[3]], {"W": weight}, (1, 2, 4)))
    columns = np.arange(8).reshape(2, 4).T.reshape(-1)
    assert np.array_equal(swapped.weights[0][:, columns], weight)


def test_several_stated_samples_are_kept_apart_or_read_as_one_input():
    weight = f32(4, 3)
    apart = from_onnx(model([step("MatMul", "x W")], {"W": weight}, (5, 4)))
    assert apart.dims == (4, 3)
    mixed = assert_agrees(model([step("MatMul", "V x")], {"V": f32(2, 5)}, (5, 4)), (5, 4))
    assert mixed.input_dim == 20
    added = model([step("Transpose", "x", "a", perm=[1, 0]), step("Add", "a r")], {"r": f32(1, 5)}, (5, 1))
    assert assert_agrees(added, (5, 1)).input_dim == 5


def test_old_models_by_the_rules_of_their_opset():
    gain = np.array([1.0, 2.0], np.float32)
    nodes = [step("Add", "x gain", broadcast=1, axis=1)]
    network = from_onnx(model(nodes, {"gain": gain}, (1, 2, 3), opset=6))
    np.testing.assert_array_equal(network(np.zeros(6)), np.repeat(gain, 3))
    parts = dict.fromkeys(("s", "o", "m", "v"), gain)
    with pytest.raises(InputError, match="in training mode; export the model in evaluation mode"):
        from_onnx(model([step("BatchNormalization", "x s o m v")], parts, (1, 2, 3), opset=6))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_random_programs_of_moves_and_sums_agree(seed, length):
    draw = np.random.default_rng(seed)
    names, shape = ["x"], (2, 3, 2)
    nodes, constants = [], {"i": np.array([1, 0]), "w": draw.standard_normal((2, 2)).astype(np.float32)}
    for k in range(length):
        given_, other = (names[int(draw.integers(len(names)))] for _ in range(2))
        kind = draw.choice(["flip", "mul", "relu", "add", "sub", "max", "neg"])
        new = f"v{k}" if k + 1 < length else "y"
        nodes.append({
            "flip": step("Gather", f"{given_} i", new, axis=2), "mul": step("MatMul", f"{given_} w", new),
            "relu": step("Relu", given_, new), "add": step("Add", f"{given_} {other}", new),
            "sub": step("Sub", f"{given_} {other}", new), "max": step("Max", f"{given_} {other}", new),
            "neg": step("Neg", given_, new),
        }[kind])  # fmt: skip
        names.append(new)
    assert_agrees(model(nodes, constants, shape), shape, samples=3)


def test_files_of_others(data_dir: pathlib.Path):
    """Every ONNX file loads, or is refused by a reason; what loads gets a proven bound above its samples."""
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    loaded, reasons = 0, {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            found = from_onnx(path)
        except InputError as error:
            reasons[path.name] = str(error)
            continue
        loaded += 1
        if found.input_dim < 200:
            method = ClosedForm() if isinstance(found, Network) else SpectralProduct()
            assert lower_bound(found, time_limit=0.2).value <= lipschitz(found, method).bound
    known = ("two values", "slope grows", "has outputs", "constants", "jumps", "Softmax")
    assert not [text for text in reasons.values() if not any(reason in text for reason in known)]
    assert loaded >= 30


def test_a_residual_model_from_the_command_line(tmp_path, capsys):
    from lmikit.cli import main

    nodes = [step("MatMul", "x S", "a"), step("Relu", "a", "r"), step("Add", "r x")]
    path = tmp_path / "skip.onnx"
    onnx.save(model(nodes, {"S": C["S"]}), path)
    certificate = str(tmp_path / "skip.json")
    assert main(["bound", str(path), "--lower", "--save", certificate]) == 0
    assert "proven bound" in capsys.readouterr().out
    assert main(["check", certificate, str(path)]) == 0
