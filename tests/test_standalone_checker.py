"""The stand-alone checker: it agrees with the project's own exact checker, and shares no code with it."""

import ast
import importlib.util
import itertools
import json
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import Network, check, lipschitz, verify
from lmikit.methods import EclipseFast
from lmikit.testing import demo_network, networks, witnesses

PATH = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_checker.py"


def load():
    spec = importlib.util.spec_from_file_location("standalone_checker", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load()


def run(path, network):
    return checker.check(path, network.weights, network.slopes)


@pytest.fixture
def saved(tmp_path):
    network = demo_network()
    certificate = lipschitz(network)
    path = tmp_path / "c.json"
    certificate.save(path)
    return network, certificate, path


def test_it_imports_numpy_and_the_standard_library_only():
    tree = ast.parse(PATH.read_text(encoding="utf-8"))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m not in sys.stdlib_module_names} == {"numpy"}


def test_it_accepts_what_lmikit_writes(saved):
    network, certificate, path = saved
    assert run(path, network) == certificate.bound


@settings(max_examples=40)
@given(data=st.data())
def test_it_accepts_and_refuses_as_the_exact_checker_does(data, tmp_path_factory):
    network = data.draw(networks(max_hidden=2, layer_pow2=3))
    path = tmp_path_factory.mktemp("c") / "c.json"
    certificate = verify(network, data.draw(witnesses(network)))
    certificate.save(path)
    if certificate.witness.kind != "lipsdp":
        with pytest.raises(checker.Refused, match="lipsdp only"):
            run(path, network)
        return
    assert check(path, network, exact=True).ok
    assert run(path, network) == certificate.bound


def mutations(text):
    def changed(edit):
        data = json.loads(text)
        edit(data)
        return json.dumps(data)

    def lower_rho(data):
        rho = float.fromhex(data["claim"]["rho"]) * 0.999
        data["claim"]["rho"] = rho.hex()

    yield "rho", changed(lower_rho)
    yield "L", changed(lambda d: d["claim"].update(L="0x1.0p+0"))
    yield "negative", changed(lambda d: d["claim"].update(rho="-0x1.0p+9"))
    yield "scope", changed(lambda d: d["claim"].update(scope="local"))
    yield "version", changed(lambda d: d.update(version=2))
    yield "field", changed(lambda d: d.update(more=1))
    yield "dims", changed(lambda d: d["network"].update(dims=[2, 2, 2, 2]))
    yield "no slopes", changed(lambda d: d["network"].update(slopes=[]))
    yield "slopes", changed(lambda d: d["network"]["slopes"].__setitem__(0, ["0x0p+0", "0x1.8p-1"]))
    yield "powers", changed(lambda d: d["network"].update(layer_pow2=[0, 0, 5]))
    yield "weights", changed(lambda d: d["network"]["weights"][0].update(sha256="0" * 64))
    yield "multipliers", changed(lambda d: d["multipliers"].pop())
    yield "data", changed(lambda d: d["multipliers"][0].update(data=d["multipliers"][1]["data"]))
    yield "twice", text.replace('"version"', '"version": 1, "version"', 1)
    yield "cut", text[: len(text) // 2]
    yield "more", text + "{}"


@pytest.mark.parametrize("name", [name for name, _ in mutations(json.dumps({
    "claim": {"rho": "0x1p+0"}, "network": {"slopes": [0], "weights": [{}]},
    "multipliers": [{"data": ""}, {"data": ""}],
}))])  # fmt: skip
def test_it_refuses_every_mutation(saved, name):
    network, _, path = saved
    path.write_text(dict(mutations(path.read_text(encoding="utf-8")))[name], encoding="utf-8")
    with pytest.raises((checker.Refused, ValueError)):
        run(path, network)


def test_it_refuses_another_network(saved):
    network, _, path = saved
    other = Network.from_arrays([w + 0.25 for w in network.weights])
    with pytest.raises(checker.Refused, match="another network's weights"):
        run(path, other)
    with pytest.raises(checker.Refused, match="slopes"):
        run(path, demo_network(lmikit.Abs()))


def test_the_least_rho_is_a_sharp_threshold(tmp_path):
    """[[rho, -2], [-2, 1]] is PSD exactly from rho = 4 on; above it is accepted, below refused."""
    network = Network.from_arrays([[[2.0]]])
    example = pathlib.Path(PATH).with_name("certificate_format.md").read_text(encoding="utf-8")
    text = example.split("```json")[1].split("```")[0]
    for rho, accepted in ((4.0 * (1 + 1e-9), True), (4.0 * (1 - 1e-15), False), (3.9, False)):
        data = json.loads(text)
        data["claim"].update(rho=rho.hex(), L="0x1.8p+1")
        (tmp_path / "c.json").write_text(json.dumps(data), encoding="utf-8")
        if accepted:
            assert run(tmp_path / "c.json", network) == 3.0
        else:
            with pytest.raises(checker.Refused, match="not proven"):
                run(tmp_path / "c.json", network)


def test_products_of_large_integers_are_exact():
    rng = np.random.default_rng(0)
    a = rng.integers(-(2**61), 2**61, (5, 30)).astype(object)
    b = rng.integers(-(2**61), 2**61, (30, 4)).astype(object)
    assert (checker.product(a, b) == a.dot(b)).all()


def test_a_network_of_some_hundred_neurons(tmp_path):
    rng = np.random.default_rng(1)
    dims = (30, 60, 60, 10)
    network = Network.from_arrays(
        [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    )
    certificate = lipschitz(network, EclipseFast())
    certificate.save(tmp_path / "c.json")
    assert run(tmp_path / "c.json", network) == certificate.bound
