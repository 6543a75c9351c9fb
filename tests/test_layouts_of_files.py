""".nnet headers and .mat layouts of others, made here."""

import numpy as np
import pytest

from lmikit import InputError, Network, load_network
from lmikit.adapters import from_nnet

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
