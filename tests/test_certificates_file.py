"""The certificate file: round trips exactly, and every single mutation is refused or harmless."""

import base64
import copy
import dataclasses
import hashlib
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from certificates_helpers import any_witness
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from strategies import DEMO_WEIGHTS, demo_network, networks

from lmikit import InputError, Network, NotCertified, Witness
from lmikit.certificates import Certificate, check, verify
from lmikit.certificates._format_read import parse
from lmikit.certificates._format_write import render
from lmikit.network import Slopes

DEMO = demo_network(Slopes([-0.1, 0.0], [1.0, 1.1]))
CERTIFICATE = verify(
    DEMO, Witness("lipsdp", 60.0, ([8.998, 1.2238], [3.3376, 1.4248]), produced_by="by hand")
)
LAYERWISE = verify(DEMO, Witness("layerwise", 0.0, ([0.0], [0.0], [0.0])))


@settings(max_examples=60)
@given(st.data(), networks(layer_pow2=3))
def test_round_trip(data, network):
    certificate = verify(network, data.draw(any_witness(network)))
    again = parse(render(certificate))
    assert again.bound == certificate.bound
    assert again.witness.rho == certificate.rho
    assert again.witness.kind == certificate.witness.kind
    for a, b in zip(again.witness.multipliers, certificate.witness.multipliers, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("certificate", [CERTIFICATE, LAYERWISE])
def test_save_load_check(certificate, tmp_path):
    path = tmp_path / "c.json"
    certificate.with_lower(5.5).save(path)
    loaded = Certificate.load(path, DEMO)
    assert (loaded.bound, loaded.rho, loaded.lower) == (certificate.bound, certificate.rho, 5.5)
    assert loaded.produced_by == certificate.produced_by
    assert loaded.network_digest == DEMO.digest
    for exact in (False, True):
        assert check(path, DEMO, exact=exact).ok
        assert check(str(path), DEMO, exact=exact).ok
        assert check(loaded, DEMO, exact=exact).ok
    assert list(tmp_path.iterdir()) == [path]


def test_biases_and_activation_names_are_not_part_of_the_claim(tmp_path):
    CERTIFICATE.save(tmp_path / "c.json")
    other = Network.from_arrays(DEMO_WEIGHTS, [[1, 2], [3, 4], [5]], Slopes([-0.1, 0.0], [1.0, 1.1]))
    assert check(tmp_path / "c.json", other).ok


def test_sparse_weights():
    network = Network.from_arrays([sparse.csr_array(np.array(w)) for w in DEMO_WEIGHTS])
    certificate = verify(network, Witness("lipsdp", 46.0, ([8.998, 1.2238], [3.3376, 1.4248])))
    assert check(certificate, network).ok
    assert check(certificate, network, exact=True).ok
    assert "SHA-256" in check(certificate, demo_network()).reason


# ---------------------------------------------------------------------------------------- mutations


def _set(path, value):
    def mutate(data):
        *parents, last = path
        for key in parents:
            data = data[key]
        data[last] = value(data[last]) if callable(value) else value

    return mutate


def _bump(text):
    """The next float, in hexadecimal."""
    return math.nextafter(float.fromhex(text), math.inf).hex()


def _scaled(factor):
    return lambda text: (float.fromhex(text) * factor).hex()


def _array(change, rehash=True):
    def mutate(entry):
        dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        values = np.frombuffer(base64.b64decode(entry["data"]), dtype=dtype).astype("<f8")
        raw = change(values.copy()).tobytes()
        changed = {**entry, "dtype": "F64", "data": base64.b64encode(raw).decode()}
        if rehash and "sha256" in entry:
            changed["sha256"] = hashlib.sha256(raw).hexdigest()
        return changed

    return mutate


def _with(index, value, rehash=True):
    def change(values):
        values[index] = value(values[index]) if callable(value) else value
        return values

    return _array(change, rehash)


def _swap(data):
    data["multipliers"].reverse()


def _mutations():
    yield "rho up beyond L", _set(["claim", "rho"], _scaled(1 + 1e-12))
    yield "rho down", _set(["claim", "rho"], _scaled(1 - 1e-9))
    yield (
        "rho and L down",
        lambda d: d["claim"].update(
            L=_scaled(1 - 1e-9)(d["claim"]["L"]), rho=_scaled(1 - 2e-9)(d["claim"]["rho"])
        ),
    )
    yield "L down", _set(["claim", "L"], lambda t: math.nextafter(float.fromhex(t), 0).hex())
    for name in ("L", "rho"):
        for value in ("nan", "inf", "-0x1.8p+1", "0x0p+0", "6.7", "0x1.8p+9999", "", None, 6, 6.5):
            yield f"{name} = {value!r}", _set(["claim", name], value)
    for name in ("norm", "scope", "semantics", "statement"):
        yield f"claim.{name}", _set(["claim", name], "local")
    yield "dims", _set(["network", "dims", 0], 3)
    yield "a layer more", _set(["network", "dims"], [2, 2, 2, 2, 1])
    yield "no dims", _set(["network", "dims"], [])
    for k in range(3):
        yield f"pow2[{k}]", _set(["network", "layer_pow2", k], lambda p: p - 1)
        yield f"huge pow2[{k}]", _set(["network", "layer_pow2", k], 10**6)
        yield (
            f"hash {k}",
            _set(["network", "weights", k, "sha256"], lambda t: t[:-1] + ("0" if t[-1] != "0" else "1")),
        )
        yield f"kind {k}", _set(["network", "weights", k, "dtype"], "F32")
        yield f"order {k}", _set(["network", "weights", k, "order"], "F")
        yield f"shape {k}", _set(["network", "weights", k, "shape"], [9, 9])
    for k in range(2):
        for side in ("alpha", "beta"):
            yield (
                f"slopes[{k}].{side}",
                _set(["network", "slopes", k, side], _with(0, lambda v: v + 2.0**-40)),
            )
        yield f"slopes[{k}] uniform", _set(["network", "slopes", k], ["0x0p+0", "0x1p+0"])
        yield f"slopes[{k}] reversed", _set(["network", "slopes", k], ["0x1p+0", "0x0p+0"])
    for kind in ("probabilistic", None):
        yield f"kind {kind}", _set(["kind"], kind)
    yield "delta", _set(["delta"], 0.05)
    yield "delta as text", _set(["delta"], "0x1p-4")
    yield "seed", _set(["seed"], 1)
    yield "format", _set(["format"], "other")
    yield "version", _set(["version"], 2)
    yield "version true", _set(["version"], True)
    yield "method", _set(["method"], "spectral")
    yield "unknown field", lambda d: d.update(extra=1)
    yield "unknown inner field", lambda d: d["network"].update(extra=1)
    for field in ("claim", "network", "multipliers", "method", "tool", "unproven", "verification", "margin"):
        yield f"no {field}", lambda d, field=field: d.pop(field)
        yield f"{field} is a list", _set([field], [[]])


def _multiplier_mutations():
    for k in range(2):
        for i in range(2):
            for value in (0.0, -1.0, math.nan, math.inf, -math.inf):
                yield f"T[{k}][{i}] = {value}", _set(["multipliers", k], _with(i, value))
            for factor in (-1, 1 / 16, 16):
                change = _with(i, lambda v, factor=factor: v * factor)
                yield f"T[{k}][{i}] times {factor}", _set(["multipliers", k], change)
            change = _with(i, lambda v: math.nextafter(v, 0.0), rehash=False)
            yield f"T[{k}][{i}] by one bit", _set(["multipliers", k], change)
        yield f"T[{k}] hash", _set(["multipliers", k, "sha256"], "0" * 64)
        yield f"T[{k}] truncated", _set(["multipliers", k, "data"], lambda t: t[:-4])
        yield f"T[{k}] not base64", _set(["multipliers", k, "data"], "?")
        yield f"T[{k}] dtype", _set(["multipliers", k, "dtype"], "F32")
        yield f"T[{k}] non-diagonal", _set(["multipliers", k], _array(lambda v: np.outer(v, v).ravel()))
    yield "T swapped", _swap
    yield "T missing", lambda d: d["multipliers"].pop()
    yield "layerwise instead", _set(["method"], "layerwise")


MUTATIONS = {**dict(_mutations()), **dict(_multiplier_mutations())}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_file_is_refused(name, tmp_path):
    data = json.loads(render(CERTIFICATE))
    MUTATIONS[name](data)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    for exact in (False, True):
        result = check(path, DEMO, exact=exact)
        assert not result.ok
        assert result.reason
    with pytest.raises((NotCertified, InputError)):
        Certificate.load(path, DEMO)


@pytest.mark.parametrize("k", range(3))
def test_a_mutated_tau_is_refused(k, tmp_path):
    data = json.loads(render(LAYERWISE))
    data["multipliers"][k] = _with(0, lambda v: v * (1 - 1e-9))(data["multipliers"][k])
    (tmp_path / "c.json").write_text(json.dumps(data))
    for exact in (False, True):
        assert not check(tmp_path / "c.json", DEMO, exact=exact).ok
    data["multipliers"][k] = _with(0, lambda v: v * 2)(data["multipliers"][k])
    (tmp_path / "c.json").write_text(json.dumps(data))
    assert "product" in check(tmp_path / "c.json", DEMO).reason


def test_what_no_proof_reads_may_change(tmp_path):
    """A larger L is a weaker true claim; notes are notes."""
    for mutate in (
        _set(["claim", "L"], _bump),
        _set(["margin"], "0x1p+0"),
        _set(["verification", "shift"], "0x1p+0"),
        _set(["verification", "alg"], "another"),
        _set(["verification", "lifted"], False),
        _set(["tool", "version"], "9"),
        _set(["unproven", "lower"], "0x1p+0"),
    ):
        data = json.loads(render(CERTIFICATE))
        mutate(data)
        (tmp_path / "c.json").write_text(json.dumps(data))
        assert check(tmp_path / "c.json", DEMO).ok


@pytest.mark.parametrize("k", range(3))
def test_each_weight_counts(k):
    for i in range(DEMO.weights[k].size):
        weights = [w.copy() for w in DEMO.weights]
        flat = weights[k].reshape(-1)
        flat[i] = np.nextafter(flat[i], math.inf)
        other = Network.from_arrays(weights, activation=[layer.activation for layer in DEMO.layers[:-1]])
        assert f"weight {k}" in check(CERTIFICATE, other).reason


def test_another_network(tmp_path):
    CERTIFICATE.save(tmp_path / "c.json")
    wider = Network.from_arrays([np.ones((3, 2)), np.ones((1, 3))])
    leaky = demo_network(Slopes(-0.1, 1.1))
    for other, reason in ((wider, "dims"), (leaky, "slope bounds")):
        assert reason in check(tmp_path / "c.json", other).reason
        with pytest.raises(NotCertified, match="another network"):
            Certificate.load(tmp_path / "c.json", other)


# -------------------------------------------------------------------------------------- broken files


def test_every_truncation_is_refused(tmp_path):
    text = render(LAYERWISE)
    path = tmp_path / "c.json"
    for stop in [*range(0, len(text) - 2, 37), len(text) - 2]:
        path.write_text(text[:stop])
        assert not check(path, DEMO).ok
        with pytest.raises(InputError):
            Certificate.load(path, DEMO)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t + "{}",
        lambda t: t + t,
        lambda t: t.replace('"version": 1', '"version": 1, "version": 1'),
        lambda t: t.replace('"version": 1', '"version": NaN'),
        lambda t: t.replace('"version": 1', '"version": 1.0'),
        lambda t: t.replace('"version": 1', '"version": 1e0'),
        lambda t: t.replace('"version": 1', '"version": Infinity'),
        lambda t: "[" + t + "]",
        lambda t: "[" * 100000,
        lambda t: "null",
        lambda t: "\x00",
    ],
)
def test_spoiled_json_is_refused(spoil, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(spoil(render(CERTIFICATE)))
    result = check(path, DEMO)
    assert not result.ok
    try:
        json.loads(path.read_text())
    except (ValueError, RecursionError):
        assert "it is no JSON" in result.reason
    with pytest.raises(InputError):
        Certificate.load(path, DEMO)


def test_binary_rubbish_is_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(bytes(range(256)))
    assert not check(path, DEMO).ok
    with pytest.raises(InputError, match="cannot be read"):
        Certificate.load(path, DEMO)


def test_unreadable_paths(tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            check(path, DEMO)
        with pytest.raises(InputError, match="cannot be read"):
            Certificate.load(path, DEMO)
    with pytest.raises(InputError, match="expected a Certificate"):
        check(7, DEMO)


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        CERTIFICATE.save(tmp_path / "absent" / "c.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        CERTIFICATE.save(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_the_file_holds_hexadecimal_floats_only():
    text = render(CERTIFICATE)
    assert not re.search(r"[0-9]\.[0-9]+(e[+-]?[0-9]+)?[,\s}]", text.replace('"', " ").split(" tool ")[0])
    assert float.fromhex(json.loads(text)["claim"]["L"]) == CERTIFICATE.bound


# ------------------------------------------------------------------------------------------ exact mode


@pytest.mark.parametrize("alpha", [0.0, -0.1])
def test_exact_mode_without_flint(alpha, monkeypatch):
    network = demo_network(Slopes(alpha, 1.0))
    certificate = verify(network, Witness("lipsdp", 46.0, ([8.998, 1.2238], [3.3376, 1.4248])))
    with_flint = check(certificate, network, exact=True)
    monkeypatch.setitem(sys.modules, "flint", None)
    assert check(certificate, network, exact=True) == with_flint
    assert with_flint.ok


def test_exact_mode_refuses_a_slightly_small_rho():
    """By 1e-6 of itself, as the float mode and `verify` do."""
    data = json.loads(render(CERTIFICATE))
    for side, cut in (("rho", 1 - 1e-6), ("L", 1.0)):
        data["claim"][side] = _scaled(cut)(data["claim"][side])
    spoiled = copy.copy(CERTIFICATE)
    object.__setattr__(spoiled, "rho", float.fromhex(data["claim"]["rho"]))
    object.__setattr__(spoiled, "witness", dataclasses.replace(CERTIFICATE.witness, rho=spoiled.rho))
    for exact in (False, True):
        result = check(spoiled, DEMO, exact=exact)
        assert not result.ok
        assert not result.margin >= 0.0


def test_the_mnist_net_in_a_new_process(data_dir, tmp_path):
    source = data_dir / "networks" / "mnist_weights.npz"
    stored = np.load(source)
    network = Network.from_arrays([stored["W0"], stored["W1"]])
    certificate = verify(network, Witness("lipsdp", 0.0, tuple(np.zeros(n) for n in network.dims[1:-1])))
    path = tmp_path / "mnist.json"
    certificate.save(path)
    code = (
        "import sys, numpy as np\n"
        "from lmikit import Network\n"
        "from lmikit.certificates import check, Certificate\n"
        "d = np.load(sys.argv[1]); n = Network.from_arrays([d['W0'], d['W1']])\n"
        "print(check(sys.argv[2], n).ok, check(sys.argv[2], n, exact=True).ok)\n"
        "print(Certificate.load(sys.argv[2], n).bound.hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", certificate.bound.hex()]
    for change in (
        _with(3, -1.0),
        _with(3, math.nan),
        _with(3, lambda v: v * 1e-6),
        _with(3, lambda v: v / 2, rehash=False),
    ):
        data = json.loads(path.read_text())
        data["multipliers"][0] = change(data["multipliers"][0])
        (tmp_path / "mutated.json").write_text(json.dumps(data))
        assert not check(tmp_path / "mutated.json", network).ok
        assert not check(tmp_path / "mutated.json", network, exact=True).ok


def test_the_example_of_the_documentation(tmp_path):
    page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "certificate_format.md"
    example = page.read_text().split("```json\n")[1].split("```")[0]
    (tmp_path / "c.json").write_text(example)
    double, triple = (Network.from_arrays([[[factor]]]) for factor in (2.0, 3.5))
    for exact in (False, True):
        assert check(tmp_path / "c.json", double, exact=exact).ok
        assert not check(tmp_path / "c.json", triple, exact=exact).ok
    assert Certificate.load(tmp_path / "c.json", double).bound == 3.0
