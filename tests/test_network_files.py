"""Network files: exact round trips, other people's formats, and one clear line for broken ones."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from strategies import demo_network, networks

from lmikit import InputError, Network
from lmikit.network import DenseMap, Layer, PReLU, ReLU, Slopes, SparseMap

W = [np.array([[1.5, -2.0], [0.25, 3.0], [0.1, -1.0]]), np.array([[1.0, 0.5, -8.0]])]


def assert_same(a: Network, b: Network) -> None:
    assert a.digest == b.digest
    assert a.dims == b.dims
    for x, y in zip(a.layers, b.layers, strict=True):
        assert type(x.linear) is type(y.linear)
        assert x.linear.source_dtype == y.linear.source_dtype
        np.testing.assert_array_equal(x.bias, y.bias)
        assert type(x.activation) is type(y.activation)
        for key, value in x.activation.parameters().items():
            np.testing.assert_array_equal(value, y.activation.parameters()[key])
        np.testing.assert_array_equal(x.alpha, y.alpha)
        np.testing.assert_array_equal(x.beta, y.beta)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(networks(layer_pow2=300))
def test_round_trip_is_exact(tmp_path, network):
    network.save(tmp_path / "net.npz")
    assert_same(network, Network.from_file(tmp_path / "net.npz"))
    assert [file.name for file in tmp_path.iterdir()] == ["net.npz"]


@pytest.mark.parametrize("dtype", ["F16", "F32", "BF16", "F64"])
def test_round_trip_keeps_dtypes_sparsity_and_slopes(tmp_path, dtype):
    phi = PReLU([0.1, -0.2, 3.0])
    first = SparseMap(sp.csr_array(np.array([[1.5, 0.0], [0.25, 3.0], [0.0, -1.0]])), dtype)
    base = Network.from_arrays([first, DenseMap(W[1], dtype)], activation=phi)
    wide = Layer(first, np.arange(3.0), phi, np.array([0.1, -0.5, 1.0]), np.full(3, 4.0))
    network = Network((wide, base.layers[1]), 2)
    network.save(str(tmp_path / "net.npz"))
    assert_same(network, Network.from_file(str(tmp_path / "net.npz")))


def test_round_trip_of_bfloat16(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    network = Network.from_arrays([w.astype(ml_dtypes.bfloat16) for w in W])
    network.save(tmp_path / "net.npz")
    again = Network.from_file(tmp_path / "net.npz")
    assert_same(network, again)
    assert again.layers[0].linear.source_dtype == "BF16"


def test_plain_npz_takes_the_activation_argument(tmp_path):
    np.savez(tmp_path / "a.npz", W0=W[0], W1=W[1], b0=np.arange(3.0))
    network = Network.from_file(tmp_path / "a.npz", activation="tanh")
    np.testing.assert_array_equal(network.layers[0].bias, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(network.layers[1].bias, [0.0])
    assert network.layers[0].activation.name == "tanh"
    assert Network.from_file(tmp_path / "a.npz").layers[0].activation.name == "relu"
    with pytest.raises(InputError, match="no known slope bounds"):
        Network.from_file(tmp_path / "a.npz", activation="swish")


def test_a_file_that_names_its_activations_keeps_them(tmp_path):
    demo_network("gelu").save(tmp_path / "a.npz")
    assert Network.from_file(tmp_path / "a.npz", activation="relu").layers[0].activation.name == "gelu"


def cell(*matrices):
    result = np.empty((1, len(matrices)), dtype=object)
    result[0, :] = matrices
    return result


def test_mat_files_of_lipsdp(tmp_path):
    file = tmp_path / "net.mat"
    scipy.io.savemat(file, {"weights": cell(*W)})
    assert_same(Network.from_file(file), Network.from_arrays(W))
    scipy.io.savemat(file, {"weights": np.array([*W, None], dtype=object)[:2]})
    assert_same(Network.from_file(file, activation="tanh"), Network.from_arrays(W, activation="tanh"))
    scipy.io.savemat(file, {"weights": cell(*W), "biases": cell(np.ones((1, 3)), np.ones((1, 1)))})
    assert_same(Network.from_file(file), Network.from_arrays(W, [np.ones(3), np.ones(1)]))
    square = [np.arange(4.0).reshape(2, 2), np.eye(2)]
    scipy.io.savemat(file, {"weights": np.array(square, dtype=object)})  # one 3-D array of scalar cells
    assert_same(Network.from_file(file), Network.from_arrays(square))


def broken(tmp_path, name, content):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif name.endswith(".mat"):
        scipy.io.savemat(file, content)
    else:
        np.savez(file, **content)
    return file


LAYER = {"activation": "relu", "parameters": {}, "dtype": "F64"}
GOOD_JSON = json.dumps({"version": 1, "layers": [LAYER] * 2})
SPARSE = {"W0_data": np.ones(1), "W0_indptr": np.array([0, 1]), "W0_shape": np.array([1, 2])}


def described(**changes):
    content = json.loads(GOOD_JSON)
    content["layers"][0] |= changes
    return {"W0": W[0], "W1": W[1], "activations": np.array(json.dumps(content))}


BROKEN = [
    ("a.npz", b"", "cannot be read as .npz"),
    ("a.npz", b"PK\x03\x04 truncated", "cannot be read as .npz"),
    ("a.mat", b"MATLAB 5.0 MAT-file, cut", "cannot be read as .mat"),
    ("a.txt", b"1 2 3", "suffix '.txt'; expected .npz or .mat"),
    ("a.npz", {"W0": W[0], "W2": W[1]}, "holds W2 but not W1; expected W0 to W2"),
    ("a.npz", {"W1": W[1]}, "holds W1 but not W0"),
    ("a.npz", {"x": W[1]}, "holds x; expected weights W0"),
    ("a.npz", {}, "holds nothing; expected weights W0"),
    ("a.npz", {"W0": W[0], "b1": np.ones(1)}, "holds b1 without its weight"),
    (
        "a.npz",
        {"K0": np.ones((2, 1, 3, 3)), "W1": W[1]},
        r"convolution kernels \(K0\).*load_network reads it",
    ),
    ("a.npz", {"W0": W[0], "W1": np.ones((10, 64))}, "outputs 3 features"),
    ("a.npz", {"W0": np.full((2, 2), np.nan)}, "NaN or infinity"),
    ("a.npz", {"W0": np.array([[None]], dtype=object)}, "cannot be read as .npz"),
    ("a.npz", {"W0": W[0], "b0": np.ones(4)}, r"biases\[0\] has shape"),
    ("a.npz", {"W0_data": np.ones(1), "W0_indices": [0]}, "W0 is incomplete"),
    ("a.npz", SPARSE | {"W0_indices": np.array([9])}, "W0 is not a sparse matrix"),
    ("a.npz", {"W0": W[0], "activations": np.array("{")}, "not the JSON text"),
    ("a.npz", {"W0": W[0], "activations": np.array(3)}, "not the JSON text"),
    ("a.npz", {"W0": W[0], "activations": np.array(GOOD_JSON)}, "does not describe 1 layers"),
    (
        "a.npz",
        described() | {"activations": np.array('{"version": 2, "layers": []}')},
        "version 2; expected 1",
    ),
    ("a.npz", described(activation="swish"), "'swish' is unknown"),
    ("a.npz", described(activation=["relu"]), "is unknown"),
    ("a.npz", described(parameters={"slope": 1}), r"parameters \['slope'\]"),
    ("a.npz", described(activation="leaky_relu", parameters={"negative_slope": None}), "negative_slope"),
    ("a.npz", described(dtype="F16"), "does not fit its stated dtype 'F16'"),
    ("a.npz", described(dtype="I8"), "does not fit its stated dtype 'I8'"),
    ("a.npz", described() | {"alpha0": np.zeros(3)}, "one of alpha0 and beta0"),
    ("a.npz", described() | {"alpha0": np.ones(3), "beta0": np.zeros(3)}, "alpha > beta"),
    ("a.mat", {"W": W[0]}, "'W' is not a cell array"),
    ("a.mat", {"V": W[0]}, "holds V; expected a cell array 'weights'"),
    ("a.mat", {"weights": cell(*W), "offsets": cell(*W)}, "holds offsets, which is not known"),
    ("a.mat", {"weights": cell(*W), "W": cell(*W)}, "each under one name"),
    ("a.mat", {"weights": cell(*W), "act_fcns": np.array(["swish", "linear"])}, "'swish'; expected relu"),
    ("a.npz", {"W0": W[0], "W1": W[1], "act_fcns": np.array(["relu", "relu"])}, "one more weight, the ident"),
    ("a.npz", {"W0": W[0], "W1": W[1], "b": np.ones(3)}, "holds b, which is not known"),
    ("a.npz", {"W0": W[0], "W1": W[1], "scale": np.ones(3)}, "holds scale, which is not known"),
    ("a.npz", {"W0": W[0], "W1": W[1], "activation": np.array("leaky_relu")}, "'leaky_relu'; expected relu"),
    ("a.npz", {"W0": W[0], "W1": W[1], "activation": np.array(3)}, "not the JSON text"),
    ("a.npz", {"W0": W[0], "activation": np.array("tanh")}, "0, one per hidden layer"),
    (
        "a.npz",
        {"W0": np.eye(2), "W1": np.ones((1, 2)), "alpha0": np.full(2, 0.4), "beta0": np.full(2, 0.5)},
        r"narrower than \[0, 1\]",
    ),
    ("a.npz", described() | {"alpha0": np.full(3, 0.4), "beta0": np.full(3, 0.5)}, r"narrower than \[0, 1\]"),
    ("a.npz", {"W0": W[0], "W99999999": W[1]}, "holds W99999999, which is not known"),
    ("a.npz", {"W0": W[0], "W999999": W[1]}, "holds W999999 but not W1"),
    ("a.npz", {"W0": W[0], "activations": np.array("[" * 100000)}, "not the JSON text"),
    ("a.npz", SPARSE | {"W0_indices": [0], "W0_shape": np.array([1, 10**9])}, "out of proportion"),
    ("a.npz", SPARSE | {"W0_indices": [0], "W0_shape": np.array([-1, 2])}, "not a sparse matrix"),
    ("a.mat", {"weights": W[0]}, "'weights' is not a cell array"),
    ("a.mat", {"weights": np.empty((1, 0), dtype=object)}, "is empty"),
    ("a.mat", {"weights": cell(W[0], np.ones((10, 64)))}, "outputs 3 features"),
    ("a.mat", {"weights": cell("relu", W[0])}, "dtype"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=[m[:30] for *_, m in BROKEN])
def test_broken_files_are_one_clear_line(tmp_path, name, content, message):
    file = broken(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        Network.from_file(file)
    assert "\n" not in str(caught.value)


def test_common_spellings_are_read(tmp_path):
    biases = [np.arange(3.0), np.ones(1)]
    right = Network.from_arrays(W, biases, "tanh")
    for entry in (
        {"activation": np.array("tanh")},
        {"activations": np.array(["tanh"])},
        {"act_fcns": np.array(["tansig", "purelin"])},
    ):
        np.savez(tmp_path / "a.npz", W0=W[0], W1=W[1], b0=biases[0], b1=biases[1], **entry)
        assert_same(Network.from_file(tmp_path / "a.npz"), right)
    np.savez(tmp_path / "a.npz", W0=W[0], b=biases[0])
    assert Network.from_file(tmp_path / "a.npz").layers[0].bias.tolist() == [0.0, 1.0, 2.0]
    content = {"W": cell(*W), "b": cell(*biases), "act_fcns": np.array(["tanh  ", "linear"])}
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert_same(Network.from_file(tmp_path / "a.mat"), right)
    content["act_fcns"] = cell("tanh")
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert_same(Network.from_file(tmp_path / "a.mat"), right)


def test_two_entries_of_one_name_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", W0=W[0])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("W0.npy", archive.read("W0.npy"))
    with pytest.raises(InputError, match="two entries have one name"):
        Network.from_file(tmp_path / "a.npz")


def test_stated_sizes_are_not_believed(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**20)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("W0.npy", head.getvalue() + bytes(64))
    with pytest.raises(InputError, match="which is not what it holds"):
        Network.from_file(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W0.npy", bytes(2**27 + 1))
    with pytest.raises(InputError, match="unpack to more than"):
        Network.from_file(tmp_path / "a.npz")


def test_every_truncation_is_refused(tmp_path):
    for name in ("a.npz", "a.mat"):
        file = tmp_path / name
        if name == "a.npz":
            demo_network().save(file)
        else:
            scipy.io.savemat(file, {"weights": cell(*W)})
        content = file.read_bytes()
        for size in range(0, len(content) - 1, max(1, len(content) // 40)):
            file.write_bytes(content[:size])
            with pytest.raises(InputError):
                Network.from_file(file)


def test_damaged_members_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("W0.npy", b"\x93NUMPY\x01\x00 not an array")
    with pytest.raises(InputError, match="cannot be read"):
        Network.from_file(file)


def test_missing_paths_and_wrong_suffixes(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        Network.from_file(tmp_path / "none.npz")
    with pytest.raises(InputError, match="is not a file"):
        Network.from_file(tmp_path)
    with pytest.raises(InputError, match=r"expected \.npz"):
        demo_network().save(tmp_path / "net.mat")
    with pytest.raises(InputError, match=r"cannot be written .No such file"):
        demo_network().save(tmp_path / "none" / "net.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    class Odd(ReLU):
        name = "odd"

    file = tmp_path / "net.npz"
    demo_network().save(file)
    before = file.read_bytes()
    with pytest.raises(InputError, match="save writes those only"):
        demo_network(Odd()).save(file)
    assert file.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["net.npz"]


def test_slope_classes_are_saved(tmp_path):
    network = Network.from_arrays(
        [DenseMap(W[0]), SparseMap(sp.csr_array(W[1]))], activation=Slopes(-0.1, [1.0, 1.1, 0.3])
    )
    network.save(tmp_path / "a.npz")
    assert_same(network, Network.from_file(tmp_path / "a.npz"))


def test_stored_networks_can_be_read(data_dir):
    files = sorted((data_dir / "networks").glob("*.npz"))
    assert files
    for file in files:
        if file.name.startswith("cnn"):
            with pytest.raises(InputError, match="convolution"):
                Network.from_file(file)
        else:
            assert Network.from_file(file).hidden_layers >= 1
