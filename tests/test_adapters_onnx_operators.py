"""Every operator that from_onnx reads, over opsets and attributes, against onnxruntime on random inputs."""

import numpy as np
import pytest
from adapters_helpers import importorskip
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import (
    ClosedForm,
    Graph,
    InputError,
    Network,
    SpectralProduct,
    lipschitz,
    load_network,
    lower_bound,
)
from lmikit.adapters import from_onnx

onnx = importorskip("onnx")
runtime = importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
rng = np.random.default_rng(5)


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def model(nodes, inputs, constants, opset, outputs=("y",), values=()):
    """A ModelProto; `inputs` and `values` are (name, shape)."""
    typed = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (*inputs, *values)]
    graph = helper.make_graph(
        nodes,
        "g",
        typed[: len(inputs)],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        value_info=typed[len(inputs) :],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = min(made.ir_version, 10)
    return made


def assert_agrees(proto, inputs, samples=6, output=None, **options):
    """onnxruntime on inputs of sizes 0.1 to 10, 1e-5 of the largest value; returns what was read."""
    found = from_onnx(proto, output=output, **options)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in np.geomspace(0.1, 10.0, samples):
        given = {name: (size * f32(*(n if isinstance(n, int) else 1 for n in s))) for name, s in inputs}
        given = {name: v.astype(np.float32) for name, v in given.items()}
        expected = np.asarray(session.run([output or proto.graph.output[0].name], given)[0], float).reshape(
            -1
        )
        x = np.concatenate([v.reshape(-1) for v in given.values()]).astype(np.float64)
        got = found(x)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    return found


IMAGE, SIGNAL = ("n", 2, 7, 6), (1, 3, 9)
IN_ALL = (
    "Conv", "ConvTranspose", "AveragePool", "MaxPool", "GlobalAveragePool", "BatchNormalization", "Tile",
    "Resize floor", "DepthToSpace", "Pad cuts", "Expand", "ScatterND", "Clip below", "PRelu channels", "Sum",
    "Max of three", "ReduceSum", "ReduceMean 18", "ReduceMin", "CumSum", "LeakyRelu", "HardSigmoid",
)  # fmt: skip
# name: (shape of x, node kind, further operands, attributes, opsets)
CASES = {
    "Conv": (IMAGE, "Conv", {"K": f32(4, 2, 3, 2), "b": f32(4)}, {"pads": [1, 0, 2, 1]}, (6, 11, 21)),
    "Conv strides dilation": (
        IMAGE,
        "Conv",
        {"K": f32(3, 2, 2, 2)},
        {"strides": [2, 1], "dilations": [2, 3]},
        (11,),
    ),
    "Conv groups": (IMAGE, "Conv", {"K": f32(4, 1, 3, 3), "b": f32(4)}, {"group": 2}, (11, 22)),
    "Conv same upper": (
        IMAGE,
        "Conv",
        {"K": f32(3, 2, 4, 3)},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        (11,),
    ),
    "Conv same lower": (
        IMAGE,
        "Conv",
        {"K": f32(3, 2, 4, 3)},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        (11,),
    ),
    "Conv valid": (IMAGE, "Conv", {"K": f32(3, 2, 3, 3)}, {"auto_pad": "VALID"}, (11,)),
    "Conv signal": (
        SIGNAL,
        "Conv",
        {"K": f32(4, 3, 3), "b": f32(4)},
        {"pads": [1, 2], "strides": [2]},
        (11,),
    ),
    "ConvTranspose": (
        IMAGE,
        "ConvTranspose",
        {"K": f32(2, 3, 3, 2), "b": f32(3)},
        {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]},
        (11,),
    ),
    "ConvTranspose dilations": (
        IMAGE,
        "ConvTranspose",
        {"K": f32(2, 3, 3, 2)},
        {"dilations": [2, 1], "strides": [1, 2], "pads": [1, 0, 2, 1]},
        (11, 22),
    ),
    "ConvTranspose groups": (
        IMAGE,
        "ConvTranspose",
        {"K": f32(2, 2, 3, 3)},
        {"group": 2, "dilations": [2, 1]},
        (11,),
    ),
    "ConvTranspose shape": (
        IMAGE,
        "ConvTranspose",
        {"K": f32(2, 1, 3, 3)},
        {"strides": [2, 2], "output_shape": [14, 12]},
        (11,),
    ),
    "ConvTranspose signal": (
        SIGNAL,
        "ConvTranspose",
        {"K": f32(3, 2, 4)},
        {"strides": [2], "pads": [1, 1]},
        (11,),
    ),
    "AveragePool": (IMAGE, "AveragePool", {}, {"kernel_shape": [3, 2], "strides": [2, 1]}, (7, 11, 22)),
    "AveragePool pads": (IMAGE, "AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (11,)),
    "AveragePool counts pads": (
        IMAGE,
        "AveragePool",
        {},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        (11,),
    ),
    "AveragePool signal": (SIGNAL, "AveragePool", {}, {"kernel_shape": [3]}, (11,)),
    "AveragePool ceil": (
        IMAGE,
        "AveragePool",
        {},
        {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},
        (11,),
    ),
    "MaxPool": (IMAGE, "MaxPool", {}, {"kernel_shape": [2, 3], "strides": [2, 2]}, (8, 12)),
    "MaxPool pads": (
        IMAGE,
        "MaxPool",
        {},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
        (12,),
    ),
    "MaxPool ceil": (
        IMAGE,
        "MaxPool",
        {},
        {"kernel_shape": [2, 2], "strides": [2, 4], "ceil_mode": 1},
        (12,),
    ),
    "MaxPool same": (
        IMAGE,
        "MaxPool",
        {},
        {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        (12,),
    ),
    "MaxPool signal": (SIGNAL, "MaxPool", {}, {"kernel_shape": [2], "strides": [2]}, (12,)),
    "GlobalAveragePool": (IMAGE, "GlobalAveragePool", {}, {}, (11,)),
    "GlobalMaxPool": (IMAGE, "GlobalMaxPool", {}, {}, (11,)),
    "BatchNormalization": (
        IMAGE,
        "BatchNormalization",
        {"s": f32(2), "o": f32(2), "m": f32(2), "v": np.abs(f32(2)) + 0.1},
        {"epsilon": 1e-3},
        (9, 15),
    ),
    "Upsample": (IMAGE, "Upsample", {"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": "nearest"}, (9,)),
    "Resize 10": (IMAGE, "Resize", {"s": np.array([1, 1, 2, 0.5], np.float32)}, {}, (10,)),
    "Resize floor": (
        IMAGE,
        "Resize",
        {"": None, "s": np.array([1, 1, 2, 2], np.float32)},
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        (13, 19),
    ),
    "Resize half pixel": (
        IMAGE,
        "Resize",
        {"": None, "s": np.array([1, 1, 1.5, 3], np.float32)},
        {"nearest_mode": "round_prefer_ceil"},
        (13,),
    ),
    "Resize corners": (
        IMAGE,
        "Resize",
        {"": None, " ": None, "n": ints(1, 2, 9, 4)},
        {"coordinate_transformation_mode": "align_corners"},
        (13,),
    ),
    "DepthToSpace": ((1, 8, 3, 2), "DepthToSpace", {}, {"blocksize": 2}, (11,)),
    "DepthToSpace CRD": ((1, 8, 3, 2), "DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}, (11,)),
    "SpaceToDepth": ((1, 2, 4, 6), "SpaceToDepth", {}, {"blocksize": 2}, (11,)),
    "Tile": ((1, 2, 3), "Tile", {"r": ints(1, 2, 3)}, {}, (11,)),
    "Pad reflect": (IMAGE, "Pad", {"p": ints(0, 0, 2, 1, 0, 0, 1, 3)}, {"mode": "reflect"}, (11,)),
    "Pad edge": (IMAGE, "Pad", {"p": ints(0, 1, 2, 1, 0, 0, 1, 3)}, {"mode": "edge"}, (11,)),
    "Pad cuts": (IMAGE, "Pad", {"p": ints(0, 0, -1, 1, 0, 0, 2, -2)}, {}, (11,)),
    "Pad axes": (IMAGE, "Pad", {"p": ints(1, 2), "c": np.float32(3.0), "a": ints(2)}, {}, (18,)),
    "Pad old": (IMAGE, "Pad", {}, {"pads": [0, 0, 1, 1, 0, 0, 1, 0], "value": 2.0}, (6,)),
    "Expand": ((1, 2, 1), "Expand", {"s": ints(1, 2, 4)}, {}, (8,)),
    "GatherElements": (
        (3, 4),
        "GatherElements",
        {"i": ints([0, -1, 2, 1], [1, 1, 0, 0])},
        {"axis": 0},
        (13,),
    ),
    "GatherND": ((3, 4, 2), "GatherND", {"i": ints([0, 1], [2, -1])}, {}, (13,)),
    "ScatterND": ((3, 4), "ScatterND", {"i": ints([0], [2]), "u": f32(2, 4)}, {}, (13, 18)),
    "Clip below": ((4,), "Clip", {"l": np.float32(-0.5)}, {}, (11,)),
    "Clip above": ((4,), "Clip", {"": None, "h": np.float32(0.5)}, {}, (13,)),
    "Clip old": ((4,), "Clip", {}, {"min": -0.3}, (6,)),
    "PRelu channels": (IMAGE, "PRelu", {"a": f32(2, 1, 1)}, {}, (9, 16)),
    "Max of three": ((4,), "Max", {"a": f32(4), "b": f32(1)}, {}, (8,)),
    "Min of three": ((4,), "Min", {"a": f32(4), "b": f32(1)}, {}, (8,)),
    "Mean": ((4,), "Mean", {"a": f32(4), "b": f32(1)}, {}, (8,)),
    "Sum": ((4,), "Sum", {"a": f32(4), "b": f32(1)}, {}, (8,)),
    "ReduceSum": (IMAGE, "ReduceSum", {"a": ints(1, 3)}, {"keepdims": 0}, (13,)),
    "ReduceSum old": (IMAGE, "ReduceSum", {}, {"axes": [2]}, (11,)),
    "ReduceMean": (IMAGE, "ReduceMean", {}, {"axes": [2, 3]}, (11,)),
    "ReduceMean 18": (IMAGE, "ReduceMean", {"a": ints(-1)}, {}, (18,)),
    "ReduceMax": (IMAGE, "ReduceMax", {}, {"axes": [3], "keepdims": 0}, (12,)),
    "ReduceMin": (IMAGE, "ReduceMin", {"a": ints(1, 2)}, {}, (18,)),
    "ReduceL1": (IMAGE, "ReduceL1", {}, {"axes": [1]}, (11,)),
    "CumSum": ((1, 4), "CumSum", {"a": ints(1)}, {"reverse": 1, "exclusive": 1}, (14,)),
    "Pow": ((4,), "Pow", {"e": np.float32(1.0)}, {}, (13,)),
    "LeakyRelu": ((4,), "LeakyRelu", {}, {"alpha": 0.2}, (6, 16)),
    "HardSigmoid": ((4,), "HardSigmoid", {}, {"alpha": 0.3}, (6,)),
}


NEWEST = min(onnx.defs.onnx_opset_version(), 26)  # the newest that onnxruntime runs
CASES = {n: (*case[:4], (*case[4], *([NEWEST] if n in IN_ALL else []))) for n, case in CASES.items()}


@pytest.mark.parametrize(("name", "opset"), [(n, o) for n, case in CASES.items() for o in case[4]])
def test_operators(name, opset):
    shape, kind, constants, attributes, _ = CASES[name]
    node = helper.make_node(kind, ["x", *(c.strip() for c in constants)], ["y"], **attributes)
    held = {key: value for key, value in constants.items() if key.strip()}
    assert_agrees(model([node], [("x", shape)], held, opset), [("x", shape)])


def gate(*steps):
    """Nodes from 'Kind in,in out' texts."""
    return [helper.make_node(k, i.split(","), [o]) for k, i, o in (text.split() for text in steps)]


GATES = {
    "silu": ("silu", {}, gate("Sigmoid x s", "Mul x,s y")),
    "swish with a constant": ("silu", {"c": np.float32(1.7)}, gate("Mul x,c z", "Sigmoid z s", "Mul s,x y")),
    "gelu": (
        "gelu",
        {"r": np.float32(np.sqrt(2)), "one": np.float32(1), "h": np.float32(0.5)},
        gate("Div x,r z", "Erf z e", "Add e,one f", "Mul x,f g", "Mul g,h y"),
    ),
    "gelu of a half": (
        "gelu",
        {"r": np.float32(np.sqrt(0.5)), "one": np.float32(1), "h": np.float32(0.5)},
        gate("Mul x,h hx", "Mul x,r z", "Erf z e", "Add one,e f", "Mul hx,f y"),
    ),
    "minus": ("silu", {}, gate("Neg x z", "Sigmoid z s", "Mul x,s y")),
    "mish": ("mish", {}, gate("Softplus x s", "Tanh s t", "Mul x,t y")),
    "hardswish": (
        "hardswish",
        {"three": np.float32(3), "lo": np.float32(0), "hi": np.float32(6), "six": np.float32(6)},
        gate("Add x,three z", "Clip z,lo,hi c", "Mul x,c p", "Div p,six y"),
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_products_that_write_an_activation_out(name):
    activation, constants, nodes = GATES[name]
    affine = [helper.make_node("MatMul", ["v", "W"], ["w"]), helper.make_node("Add", ["w", "b"], ["x"])]
    proto = model([*affine, *nodes], [("v", (1, 4))], {**constants, "W": f32(4, 4), "b": f32(4)}, 13)
    found = assert_agrees(proto, [("v", (1, 4))])
    assert [layer.activation.name for layer in found.layers[:-1]] == [activation]


@pytest.mark.parametrize(
    "nodes",
    [
        gate("Mul x,x y"),
        gate("Tanh x t", "Mul x,t y"),
        gate("Erf x e", "Mul x,e y"),
        gate("Add x,c z", "Sigmoid z s", "Mul x,s y"),
        gate("Sigmoid x s", "Mul s,c t", "Add t,c u", "Mul x,u y"),
        gate("Relu x r", "Mul x,r y"),
    ],
)
def test_other_products_are_refused(nodes):
    with pytest.raises(InputError, match=r"of two values; a product has no global Lipschitz constant"):
        from_onnx(model(nodes, [("x", (1, 4))], {"c": f32(4)}, 13))


def test_several_inputs_are_one_and_may_be_chosen(tmp_path):
    nodes = gate("Reshape v,s flat", "Concat x,flat z", "Gemm z,W y", "Relu x aside")
    nodes[1].attribute.append(helper.make_attribute("axis", 1))
    inputs = [("x", ("n", 3)), ("v", ("n", 2, 2))]
    proto = model(nodes, inputs, {"s": ints(-1, 4), "W": f32(7, 2)}, 13, values=[("z", (1, 7))])
    found = assert_agrees(proto, inputs)
    assert isinstance(found, Network)
    assert (found.input_dim, found.output_dim) == (7, 2)
    turned = from_onnx(proto, input=["v", "x"])
    x = rng.standard_normal(7)
    np.testing.assert_allclose(turned(np.roll(x, 4)), found(x), rtol=1e-12)
    np.testing.assert_allclose(from_onnx(proto, input="z")(x), found(x), rtol=1e-12)
    onnx.save(proto, tmp_path / "a.onnx")
    assert load_network(tmp_path / "a.onnx", input="z").input_dim == 7
    with pytest.raises(InputError, match=r"inputs \['x', 'v'\], asked for were \['q'\]"):
        from_onnx(proto, input="q")
    with pytest.raises(InputError, match=r"of 'v', which nothing gives"):
        from_onnx(proto, input="x")


def test_several_outputs_are_asked_for():
    proto = model(gate("Relu x a", "Neg a b"), [("x", (1, 3))], {}, 13, outputs=("a", "b"))
    with pytest.raises(InputError, match=r"outputs \['a', 'b'\]; expected one: pass output=name"):
        from_onnx(proto)
    for output in ("a", "b"):
        assert_agrees(proto, [("x", (1, 3))], output=output)


def test_shape_arithmetic_is_folded():
    """What exporters write for x.view(x.shape[0], -1) and for a resize by a factor."""
    nodes = gate(
        "Shape x s",
        "Gather s,i0 n",
        "Unsqueeze n,zero u",
        "Concat u,minus w",
        "Reshape x,w flat",
        "Gemm flat,W g",
        "Shape x t",
        "Slice t,two,four hw",
        "Cast hw f",
        "Mul f,half m",
        "Floor m k",
        "Cast k c",
        "ReduceProd c p",
        "Equal p,six q",
        "Where q,one,six r",
        "ConstantOfShape r o",
        "Add g,o y",
    )
    nodes[3].attribute.append(helper.make_attribute("axis", 0))
    nodes[8].attribute.append(helper.make_attribute("to", 1))
    nodes[11].attribute.append(helper.make_attribute("to", 7))
    constants = {
        "i0": np.array(0),
        "zero": ints(0),
        "minus": ints(-1),
        "W": f32(84, 3),
        "two": ints(2),
        "four": ints(4),
        "half": np.float32(0.5),
        "six": np.array(9),
        "one": ints(1),
    }
    assert_agrees(model(nodes, [("x", IMAGE)], constants, 13), [("x", IMAGE)])


def chain(*kinds):
    """Image layers by letter, with random numbers; (nodes, constants)."""
    nodes, constants, name, channels = [], {}, "x", 2
    for k, kind in enumerate(kinds):
        out = f"out{k}"
        if kind == "C":
            constants[f"k{k}"], constants[f"b{k}"] = f32(3, channels, 3, 3), f32(3)
            nodes.append(helper.make_node("Conv", [name, f"k{k}", f"b{k}"], [out], pads=[1] * 4))
            channels = 3
        elif kind == "P":
            constants[f"p{k}"] = ints(0, 0, 1, 0, 0, 0, 1, 1)
            nodes.append(helper.make_node("Pad", [name, f"p{k}"], [out]))
        elif kind == "N":
            held = {
                "s": f32(channels),
                "o": f32(channels),
                "m": f32(channels),
                "v": np.abs(f32(channels)) + 0.1,
            }
            constants |= {f"{key}{k}": value for key, value in held.items()}
            nodes.append(
                helper.make_node("BatchNormalization", [name, *(f"{key}{k}" for key in held)], [out])
            )
        elif kind == "A":
            nodes.append(helper.make_node("AveragePool", [name], [out], kernel_shape=[2, 2]))
        elif kind == "M":
            nodes.append(helper.make_node("MaxPool", [name], [out], kernel_shape=[2, 2]))
        elif kind == "T":
            nodes.append(helper.make_node("Transpose", [name], [f"t{k}"], perm=[0, 3, 1, 2]))
            nodes.append(helper.make_node("Relu", [f"t{k}"], [f"r{k}"]))
            nodes.append(helper.make_node("Transpose", [f"r{k}"], [out], perm=[0, 2, 3, 1]))
        elif kind == "S":
            nodes.append(helper.make_node("Tanh", [name], [f"t{k}"]))
            nodes.append(helper.make_node("Add", [f"t{k}", name], [out]))
        else:
            nodes.append(helper.make_node("Relu", [name], [out]))
        name = out
    nodes.append(helper.make_node("Flatten", [name], ["y"]))
    return nodes, constants


@settings(max_examples=12)
@given(st.text("CPNAMTSR", min_size=2, max_size=5))
def test_random_image_networks_agree_and_have_a_bound_above_what_is_sampled(kinds):
    nodes, constants = chain(*kinds)
    found = assert_agrees(model(nodes, [("x", IMAGE)], constants, 13), [("x", IMAGE)], samples=2)
    method = SpectralProduct() if isinstance(found, Graph) else ClosedForm()
    assert lower_bound(found, starts=2, steps=3).value <= lipschitz(found, method).bound * (1 + 1e-9)


def test_layouts_and_normalisations_leave_no_trace():
    """Padding, normalisation and transposed activations belong to the convolutions around them."""
    nodes, constants = chain(*"PCNTC")
    found = assert_agrees(model(nodes, [("x", IMAGE)], constants, 13), [("x", IMAGE)])
    assert isinstance(found, Network)
    assert [type(layer.linear).__name__ for layer in found.layers] == ["Convolution2d"] * 2
    assert len(found.layers) == 2
