"""from_onnx on exported models and on graphs made node by node: same outputs, refusal by name."""

import warnings

import numpy as np
import pytest
from adapters_helpers import assert_same_bound, assert_same_function, importorskip, softmax, training_data

from lmikit import InputError, load_network
from lmikit.adapters import from_onnx

onnx = importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT
rng = np.random.default_rng(0)


def model(nodes, constants=(), shape=("n", 4), opset=20, output="y"):
    """A ModelProto with input x and these nodes; constants by name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(output, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(kind, inputs, output="y", name="", **attributes):
    return helper.make_node(kind, inputs, [output], name=name or f"the_{kind}", **attributes)


def reference(proto, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, {"x": x})[0]


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


WEIGHTS = {"W": f32(4, 3), "b": f32(3), "V": f32(2, 3)}
HEAD = [node("MatMul", ["x", "W"], "h0", "fc"), node("Add", ["b", "h0"], "h")]


def test_matmul_add_gemm_and_the_bound_of_the_raw_arrays():
    tail = [node("Relu", ["h"], "r"), node("Gemm", ["r", "V"], "y", transB=1)]
    network = from_onnx(model([*HEAD, *tail], WEIGHTS))
    x = f32(20, 4)
    assert_same_function(network, reference(model([*HEAD, *tail], WEIGHTS), x), x)
    assert_same_bound(network, [WEIGHTS["W"].T, WEIGHTS["V"]])
    assert network.layers[0].linear.source_dtype == "F32"


STEPS = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.3}, "Elu": {"alpha": 0.5}, "Sigmoid": {}, "Tanh": {}, "Softplus": {},
    "Gelu": {}, "Mish": {}, "HardSwish": {}, "Abs": {}, "Sin": {}, "Identity": {}, "Flatten": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", STEPS)
def test_every_operator_of_one_value(kind):
    proto = model([*HEAD, node(kind, ["h"], "g", **STEPS[kind]), node("Gemm", ["g", "V"], transB=1)], WEIGHTS)
    x = 2 * f32(30, 4)
    assert_same_function(from_onnx(proto), reference(proto, x), x)


def test_gelu_by_its_approximation():
    proto = model([*HEAD, node("Gelu", ["h"], approximate="tanh")], WEIGHTS)
    assert from_onnx(proto).layers[0].activation.approximate == "tanh"


def test_operators_with_constants():
    constants = {
        **WEIGHTS, "mean": f32(1, 3), "scale": np.float32(0.5), "shape": np.array([-1, 3]),
        "low": np.float32(-0.4), "high": np.float32(0.7), "slope": np.array([0.1, 0.2, 1.5], np.float32),
        "one": np.ones(3, np.float32),
        "var": np.full(3, 2.0, np.float32), "ratio": np.float32(0.5), "off": np.array(False),
        "two": np.float32(2.0),
    }  # fmt: skip
    nodes = [
        *HEAD,
        node("Sub", ["mean", "h"], "a"),
        node("Mul", ["a", "scale"], "b1"),
        node("PRelu", ["b1", "slope"], "c"),
        node("BatchNormalization", ["c", "one", "b", "b", "var"], "d", epsilon=0.1),
        node("Div", ["d", "two"], "e"),
        node("Reshape", ["e", "shape"], "f"),
        node("Clip", ["f", "low", "high"], "g"),
        node("Dropout", ["g", "ratio", "off"], "k"),
        node("Constant", [], "w", value=numpy_helper.from_array(f32(3, 3))),
        node("Transpose", ["w"], "wt", perm=[1, 0]),
        node("Gemm", ["k", "wt", "b"], "y", alpha=0.5, beta=2.0),
    ]
    proto = model(nodes, constants)
    x = f32(30, 4)
    assert_same_function(from_onnx(proto), reference(proto, x), x)


def test_inputs_of_any_shape_are_flattened_in_row_order():
    constants = {"W": f32(12, 2), "mean": f32(1, 3, 1, 1), "scale": f32(3), "zero": np.zeros(3, np.float32)}
    constants["one"] = np.ones(3, np.float32)
    nodes = [
        node("Sub", ["x", "mean"], "a"),
        node("BatchNormalization", ["a", "scale", "zero", "zero", "one"], "c"),
        node("Flatten", ["c"], "d"),
        node("MatMul", ["d", "W"]),
    ]
    proto = model(nodes, constants, shape=(1, 3, 2, 2))
    x = f32(1, 3, 2, 2)
    network = from_onnx(proto)
    np.testing.assert_allclose(network(x.reshape(1, -1)), reference(proto, x), rtol=1e-5)


REFUSED = {
    "conv": (
        model([node("Conv", ["x", "K"], name="conv_1")], {"K": f32(1, 1, 2, 2, 2)}, shape=("n", 1, 4, 4, 4)),
        "layer conv_1 is an ONNX Conv of values of shape .*one sample of an image or signal is read",
    ),
    "softmax": (
        model([*HEAD, node("Softmax", ["h"])], WEIGHTS),
        "layer the_Softmax is an ONNX Softmax; ",
    ),
    "attention": (
        model([*HEAD, node("MatMul", ["h", "h"], name="att")], WEIGHTS),
        "layer att is an ONNX MatM",
    ),
    "gate": (
        model([*HEAD, node("Mul", ["h", "h0"], name="gate")], WEIGHTS),
        "layer gate is an ONNX Mul of two values; a product has no global Lipschitz constant",
    ),
    "jump": (model([node("Floor", ["x"])]), "layer the_Floor is an ONNX Floor; it jumps"),
    "sign": (model([node("Sign", ["x"])]), "layer the_Sign is an ONNX Sign; it jumps, .* pass output="),
    "layer norm": (
        model([*HEAD, node("LayerNormalization", ["h", "b"])], WEIGHTS, opset=17),
        "layer the_LayerNormalization .*1 / sqrt.* pass output= of a value before it",
    ),
    "inner softmax": (
        model([*HEAD, node("Softmax", ["h"], "s"), node("Relu", ["s"])], WEIGHTS),
        "layer the_Softmax is an ONNX Softmax; leave it off, or pass logits=True",
    ),
    "product": (
        model([*HEAD, node("Mul", ["h", "h"])], WEIGHTS),
        "layer the_Mul is an ONNX Mul of two values; a product has no global .* pass output= of a",
    ),
    "steep": (model([node("Exp", ["x"])]), "its slope grows without limit"),
    "mixed": (model([node("Transpose", ["x"], perm=[1, 0])]), "moves the axis of the samples"),
    "circle": (
        model([node("Add", ["x", "b"], "a"), node("Add", ["a", "y"], "b"), node("Relu", ["b"])]),
        "depend on each other in a circle",
    ),
    "huge": (
        model([node("Expand", ["x", "s"])], {"s": np.array([1, 2**40, 4])}, shape=(1, 1, 4)),
        "out of proportion to the file",
    ),
    "huge constant": (
        model(
            [node("ConstantOfShape", ["s"], "c"), node("Add", ["x", "c"])], {"s": np.array([2**20, 2**20])}
        ),
        "out of proportion to the file",
    ),
    "doubled": (
        model(
            [
                node("Expand", ["x", "s"], "a"),
                *(node("Concat", [a, a], b, axis=1) for a, b in zip("abcdefghi", "bcdefghiy", strict=True)),
            ],
            {"s": np.array([1, 2**16, 4])},
            shape=(1, 1, 4),
        ),
        "out of proportion to the file",
    ),
    "where": (model([*HEAD, node("Where", ["h", "b", "b"])], WEIGHTS), "layer the_Where is an ONNX Where"),
    "foreign": (
        model([helper.make_node("Relu", ["x"], ["y"], name="own", domain="my.domain")]),
        r"layer own is an ONNX my.domain.Relu",
    ),
    "left product": (
        model([node("MatMul", ["W", "x"], name="left")], WEIGHTS),
        "layer left is an ONNX Mat",
    ),
    "reshape": (
        model([*HEAD, node("Reshape", ["h", "s"])], {**WEIGHTS, "s": np.array([-1, 1])}),
        "layer the_Reshape is an ONNX Reshape of samples of shape",
    ),
    "flatten": (model([*HEAD, node("Flatten", ["h"], axis=0)], WEIGHTS), "ONNX Flatten at axis 0"),
    "sequence": (
        model([node("Gemm", ["x", "W"])], WEIGHTS, shape=("n", 5, 4)),
        r"Gemm of samples of shape \(5, 4\)",
    ),
    "per sample": (
        model([*HEAD, node("Add", ["h", "c"], "y")], {**WEIGHTS, "c": f32(2, 3)}),
        r"layer the_Add is an ONNX Add .*constant of shape \(2, 3\)",
    ),
    "cast": (model([node("Cast", ["x"], to=onnx.TensorProto.INT64)]), "ONNX Cast to something else"),
    "division": (model([node("Div", ["c", "x"])], {"c": f32(4)}), "not a division by nonzero constants"),
    "old": (model([node("Relu", ["x"])], opset=5), "opset 5; expected 6"),
    "unknown shape": (model([node("Relu", ["x"])], shape=("n", "m")), "every size after the first known"),
    "no chain": (model([*HEAD], WEIGHTS), "no chain of nodes leads to 'y'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_by_name(name):
    proto, pattern = REFUSED[name]
    with pytest.raises(InputError, match=pattern):
        from_onnx(proto)


def test_batch_normalisation_in_training_mode_is_refused():
    parts = dict.fromkeys(("s", "o", "m", "v"), np.ones(3, np.float32))
    outputs = ["y", "mean", "variance"]
    norm = helper.make_node("BatchNormalization", ["h", *parts], outputs, "bn", training_mode=1)
    nodes = [*HEAD, norm]
    with pytest.raises(InputError, match="layer bn is an ONNX BatchNormalization in training mode"):
        from_onnx(model(nodes, {**WEIGHTS, **parts}))


def test_a_model_exported_by_torch(tmp_path):
    torch = importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 6),
        nn.GELU(), nn.Linear(6, 3), nn.Softmax(1),
    ).eval()  # fmt: skip
    x = torch.randn(7, 3, 4)
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():  # the exporter's own deprecations
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), path, opset_version=20, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    network = from_onnx(path, logits=True)
    probabilities = softmax(network(x.numpy().reshape(7, -1)))
    assert np.abs(probabilities - net(x).detach().numpy()).max() < 1e-6
    with pytest.raises(InputError, match="Softmax; leave it off"):
        load_network(path)


def test_a_model_exported_by_skl2onnx(tmp_path):
    importorskip("skl2onnx")
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, y = training_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regressor = MLPRegressor(hidden_layer_sizes=(8, 5), max_iter=30, random_state=0).fit(x, x[:, 0])
        classifier = MLPClassifier((8,), max_iter=30, random_state=0).fit(x, y)
        protos = [to_onnx(m, x[:1]) for m in (regressor, classifier)]
    network = from_onnx(protos[0])
    assert_same_function(network, regressor.predict(x)[:, None], x)
    assert_same_bound(network, [w.T.astype(np.float32) for w in regressor.coefs_])
    with pytest.raises(InputError, match="pass output=name"):
        from_onnx(protos[1])
    network = from_onnx(protos[1], output="out_activations_result", logits=True)
    assert np.abs(softmax(network(x)) - classifier.predict_proba(x)).max() < 1e-5


def test_broken_files_are_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"\x08\xff not a model")
    with pytest.raises(InputError, match="cannot be read as ONNX"):
        from_onnx(tmp_path / "broken.onnx")
    with pytest.raises(InputError, match=r"expected a path or an onnx.ModelProto"):
        from_onnx(3)
