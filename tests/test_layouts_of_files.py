""".nnet headers and .mat layouts of others, made here."""

import gzip

import numpy as np
import pytest
import scipy.sparse

from lmikit import InputError, Network, OptionError, load_network
from lmikit.adapters import from_nnet
from lmikit.maps import Convolution2d

savemat = pytest.importorskip("scipy.io").savemat
rng = np.random.default_rng(0)


def nnet(minima, mean, ranges):
    head = ["1,2,1,2,", "2,1,", "0,", minima, minima, mean, ranges]
    return "\n".join([*head, "1.0,2.0,", "0.5,"]) + "\n"


def test_nnet_headers_with_more_entries_or_without_outputs(tmp_path):
    path = tmp_path / "a.nnet"
    x = np.array([3.0, 5.0])
    path.write_text(nnet("0,0", "1,2,7", "2,4,3"))
    expected = from_nnet(path)(x)
    path.write_text(nnet("0,0,0,0", "1,2,9,9,7", "2,4,9,9,3"))  # two variables that are no inputs any more
    np.testing.assert_array_equal(from_nnet(path)(x), expected)
    path.write_text(nnet("0,0", "1,2", "2,4"))
    np.testing.assert_allclose(from_nnet(path)(x), (expected - 7.0) / 3.0, rtol=1e-14)
    path.write_text(nnet("0,0", "1,2,7", "0,4,3"))
    with pytest.raises(InputError, match=r"normalised=True"):
        from_nnet(path)
    np.testing.assert_array_equal(from_nnet(path, normalised=True)(x), [13.5])
    path.write_text(nnet("0,0,0", "1,2,7", "2,4,3"))
    with pytest.raises(InputError, match="minima, maxima, means and ranges have 3, 3, 3 and 3 entries"):
        from_nnet(path)


def cells(arrays):
    result = np.empty((1, len(arrays)), dtype=object)
    result[0, :] = arrays
    return result


WEIGHTS = [rng.standard_normal(shape) for shape in ((6, 3), (4, 6), (2, 4))]
BIASES = [rng.standard_normal((n, 1)) for n in (6, 4, 2)]
NAMES = np.array(["relu  ", "tanh  ", "linear"])


def test_a_struct_and_an_activation_of_the_output(tmp_path):
    path = tmp_path / "a.mat"
    plain = Network.from_arrays(WEIGHTS, BIASES, ["relu", "tanh"])
    x = rng.standard_normal((5, 3))
    fields = {"W": cells(WEIGHTS), "b": cells(BIASES), "number_of_inputs": 3, "layer_sizes": [6, 4, 2]}
    savemat(path, {"network": {**fields, "activation_fcns": NAMES}})
    np.testing.assert_array_equal(load_network(path)(x), plain(x))
    savemat(path, {"network": {**fields, "activation_fcns": np.array(["relu", "tanh", "relu"])}})
    np.testing.assert_array_equal(load_network(path)(x), np.maximum(plain(x), 0.0))
    savemat(path, {"network": {**fields, "activation_fcns": NAMES, "delay": 1}})
    with pytest.raises(InputError, match="holds delay, which is not known"):
        load_network(path)


def test_the_orientation_that_chains(tmp_path):
    path = tmp_path / "a.mat"
    plain = Network.from_arrays(WEIGHTS, BIASES, "relu")
    savemat(path, {"W": cells([w.T for w in WEIGHTS]), "b": cells(BIASES)})
    assert load_network(path, "relu").digest == plain.digest
    savemat(path, {"W": cells(WEIGHTS), "b": cells(BIASES)})
    assert load_network(path, "relu").digest == plain.digest


def test_files_of_others(data_dir):
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    for path in sorted(folder.glob("*.mat")):
        assert load_network(path).input_dim
    for path in sorted(folder.glob("*.nnet")):
        normalised = "mnist4" in path.name  # its ranges are zeros
        assert from_nnet(path, normalised=normalised).input_dim


def named(pattern, arrays=None, first=0, across=False):
    """{name: array} of the layers; across: weights as (in, out)."""
    weight, bias = pattern
    pairs = enumerate(zip(WEIGHTS, BIASES, strict=True) if arrays is None else arrays, first)
    found = {}
    for k, (w, b) in pairs:
        found |= {weight.format(k): w.T if across else w, bias.format(k): b}
    return found


PATTERNS = {
    "layers.N.weight": (("layers.{}.weight", "layers.{}.bias"), 0, False),
    "NAME_weight": (("fc{}_weight", "fc{}_bias"), 1, False),
    "W1": (("W{}", "b{}"), 1, False),
    "w1 across": (("w{}", "b{}"), 1, True),
    "kernel": (("dense_{}_kernel", "dense_{}_bias"), 0, True),
}


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_arrays_by_the_names_of_layers(tmp_path, kind, suffix):
    pattern, first, across = PATTERNS[kind]
    path, plain = tmp_path / f"a{suffix}", Network.from_arrays(WEIGHTS, BIASES, "tanh")
    content = named(pattern, first=first, across=across)
    if suffix == ".mat":
        savemat(path, content)
    else:
        np.savez(path, **{k: v.ravel() if v.shape[1] == 1 else v for k, v in content.items()})
    assert load_network(path, "tanh").digest == plain.digest
    assert load_network(path, "tanh")(np.ones(3)) == pytest.approx(plain(np.ones(3)), rel=1e-14)


def test_unnamed_arrays_in_turn_and_options_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "a.npz", *(v.squeeze() for pair in zip(WEIGHTS, BIASES, strict=True) for v in pair))
    plain = Network.from_arrays(WEIGHTS, BIASES, "relu")
    assert load_network(tmp_path / "a.npz").digest == plain.digest
    plain.save(tmp_path / "b.npz")
    with pytest.raises(OptionError, match=r"order is for files of named tensors; b.npz is none"):
        load_network(tmp_path / "b.npz", order=["W0", "W1"])
    np.savez(tmp_path / "c.npz", W0=WEIGHTS[0], W2=WEIGHTS[1])
    with pytest.raises(InputError, match="holds W2 but not W1"):
        load_network(tmp_path / "c.npz")


def test_kernels_with_an_order(tmp_path):
    kernel, weight = rng.standard_normal((2, 1, 3, 3)), rng.standard_normal((4, 32))
    np.savez(tmp_path / "a.npz", K0=kernel, b0=np.ones(2), W1=weight, b1=np.zeros(4))
    found = load_network(tmp_path / "a.npz", order=["0:padding=1", "relu", "1"], input_shape=(1, 4, 4))
    x = rng.standard_normal(16)
    hidden = Convolution2d(kernel, (1, 4, 4), 1, 1).matvec(x) + 1.0
    np.testing.assert_allclose(found(x), weight @ np.maximum(hidden, 0.0), rtol=1e-13)
    with pytest.raises(InputError, match=r"these fit the shapes: 0:padding=1,relu,1"):
        load_network(tmp_path / "a.npz", input_shape=(1, 4, 4))


def test_a_mat_with_its_normalisation(tmp_path):
    fields = {"W": cells(WEIGHTS), "b": cells(BIASES), "act_fcns": NAMES, "is_symmetric": 0}
    scaling = {"means_for_scaling": [1.0, 2.0, 3.0, 0.5], "range_for_scaling": [2.0, 4.0, 1.0, 7.0]}
    savemat(tmp_path / "a.mat", fields | scaling | {"min_inputs": [0.0] * 3, "max_inputs": [1.0] * 3})
    plain = Network.from_arrays(WEIGHTS, BIASES, ["relu", "tanh"])
    x = rng.standard_normal((5, 3))
    expected = 7.0 * plain((x - [1.0, 2.0, 3.0]) / [2.0, 4.0, 1.0]) + 0.5
    np.testing.assert_allclose(load_network(tmp_path / "a.mat")(x), expected, rtol=1e-12)
    savemat(tmp_path / "a.mat", fields | scaling | {"range_for_scaling": [2.0, 0.0, 1.0, 7.0]})
    with pytest.raises(InputError, match="positive ranges: or leave both out"):
        load_network(tmp_path / "a.mat")


def test_a_network_with_convolutions_is_saved_and_read_back(tmp_path):
    kernel = rng.standard_normal((2, 1, 3, 3)).astype(np.float32)
    conv = Convolution2d(kernel, (1, 6, 5), (2, 1), ((1, 0), (2, 1)))
    size = conv.shape[0]
    sparse = scipy.sparse.csr_array(scipy.sparse.eye_array(size))
    network = Network.from_arrays([conv, sparse, np.ones((2, size))], None, ["relu", "tanh"])
    network.save(tmp_path / "a.npz")
    found = load_network(tmp_path / "a.npz")
    assert found.digest == network.digest
    assert isinstance(found.layers[0].linear, Convolution2d)
    assert found.layers[0].linear.source_dtype == "F32"
    with pytest.raises(InputError, match="load_network reads it"):
        Network.from_file(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as held:
        entries = dict(held)
    text = str(entries["activations"])
    wide = text.replace('"input_shape": [1, 6, 5]', '"input_shape": [1, 9999999, 9999999]')
    for wrong in (wide, text.replace('"groups"', '"other"'), text.replace("relu", "nothing")):
        np.savez(tmp_path / "b.npz", **(entries | {"activations": np.array(wrong)}))
        with pytest.raises(InputError):
            load_network(tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", **entries, extra=np.ones(2))
    with pytest.raises(InputError, match="holds extra, which is not known"):
        load_network(tmp_path / "b.npz")


ACAS = (
    "NeuralNetworkVerification__Marabou__ACASXU_experimental_v2a_1_1.onnx",
    "dlshriver__dnnv-benchmarks__N_1_1.onnx",
    "eth-sri__eran__ACASXU_run2a_1_1_batch_2000.onnx",
    "verivital__vnn-comp__ACASXU_run2a_1_1_batch_2000.mat",
)


def test_one_network_of_acas_xu_in_all_its_spellings(data_dir, tmp_path):
    """ONNX of four exporters (also gzipped), .mat, and .nnet with 7 and 8 entries are one function."""
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    pytest.importorskip("onnx")
    x = rng.uniform(-0.5, 0.5, (20, 5))
    nnet = folder / "NeuralNetworkVerification__Marabou__ACASXU_run2a_1_1_batch_2000.nnet"
    expected = from_nnet(nnet, normalised=True)(x)
    for name in ACAS:
        np.testing.assert_allclose(load_network(folder / name)(x), expected, atol=1e-6)
    first = ACAS[0]
    (tmp_path / "a.onnx.gz").write_bytes(gzip.compress((folder / first).read_bytes()))
    np.testing.assert_array_equal(load_network(tmp_path / "a.onnx.gz")(x), load_network(folder / first)(x))
    lines = nnet.read_text().splitlines()
    head = next(k for k, line in enumerate(lines) if not line.startswith("//"))
    mean, spread = (np.array(lines[head + k].rstrip(",").split(","), float) for k in (5, 6))
    outer = x * spread[:5] + mean[:5]
    found = load_network(nnet)(outer)
    np.testing.assert_allclose(found, expected * spread[-1] + mean[-1], rtol=1e-5, atol=1e-3)
