"""The collection of SDPs: files with optima proven from both sides."""

import numpy as np
import pytest

import lmikit
from lmikit.lmi import read_sdpa
from lmikit.testing import named_sdps, write_collection


def test_the_collection_is_written_with_proven_optima(tmp_path):
    results = write_collection(tmp_path)
    assert set(results) == {p.name for p in named_sdps()}
    for name, result in results.items():
        assert result.status == "optimum", name
        assert result.width < 1e-5, name
        sdp = read_sdpa(tmp_path / f"{name}.dat-s")
        assert lmikit.check(tmp_path / f"{name}.json", sdp, exact=True).ok
    demo, lags, loop = (results[name] for name in ("lipsdp-demo", "bounded-real-3", "network-loop"))
    assert demo.upper == pytest.approx(-1.0 / 6.71755**2, rel=1e-5)
    assert lags.lower <= 1.0 <= lags.upper
    assert loop.upper == pytest.approx(6.34646**2, rel=1e-5)


@pytest.mark.slow
def test_lipsdp_of_a_public_network_joins_the_collection(tmp_path, data_dir):
    with np.load(data_dir / "networks" / "eclipse_rand_L2_n80.npz") as arrays:
        network = lmikit.Network.from_arrays([arrays["W0"], arrays["W1"]])
    results = write_collection(tmp_path, {"eclipse-2-80": network})
    result = results["lipsdp-eclipse-2-80"]
    assert result.status == "optimum"
    assert result.lower <= -1.0 / 0.15874307**2 * (1 - 1e-7)
    assert result.width < 1e-6
    sdp = read_sdpa(tmp_path / "lipsdp-eclipse-2-80.dat-s")
    assert lmikit.check(tmp_path / "lipsdp-eclipse-2-80.json", sdp, exact=True).ok
