"""The stand-alone checker of implicit networks accepts what is proven and refuses every change."""

import ast
import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_implicit import contractive

import lmikit
from lmikit.network import LinearFractional

FILE = pathlib.Path(__file__).parents[1] / "docs" / "standalone_implicit_checker.py"
SPEC = importlib.util.spec_from_file_location("standalone_implicit_checker", FILE)
checker = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(checker)
MAPS = ("N_vx", "N_vw", "N_yx", "N_yw")


def written(form, folder):
    maps = {name: getattr(form, name).toarray() for name in MAPS}
    np.savez(folder / "net.npz", **maps, alpha=form.alpha, beta=form.beta)
    return folder / "net.npz"


def accepts(text, network, folder):
    (folder / "c.json").write_text(text)
    try:
        checker.check(folder / "c.json", network)
    except checker.Refused:
        return False
    return True


def test_it_imports_numpy_and_the_standard_library_only():
    for node in ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert all(name == "numpy" or name in sys.stdlib_module_names for name in names)


@settings(max_examples=5)
@given(
    seed=st.integers(0, 10**6),
    slopes=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7)]),
    factor=st.sampled_from([1.0, 1.0 - 1e-6, 1.0 - 1e-9, 0.9, 1.0 + 1e-9]),
)
def test_all_three_checkers_agree(seed, slopes, factor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("implicit")
    form = contractive(seed, slopes=slopes)
    data = json.loads(lmikit.lipschitz(form).to_text())
    data["proof"]["rho"] = (float.fromhex(data["proof"]["rho"]) * factor).hex()
    data["claim"]["L"] = (float.fromhex(data["claim"]["L"]) * (2.0 if factor > 1.0 else 1.0)).hex()
    text = json.dumps(data)
    found = accepts(text, written(form, folder), folder)
    assert found or factor != 1.0
    for exact in (False, True):
        ours = lmikit.check(folder / "c.json", form, exact=exact).ok
        assert ours == found or 0.0 < 1.0 - factor < 1e-5  # headroom: the integers may show a little more


def changes(text):
    data = json.loads(text)

    def changed(*keys, value):
        other = json.loads(text)
        place = other
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place[keys[-1]]) if callable(value) else value
        return json.dumps(other)

    for key in data:
        yield f"without {key}", json.dumps({k: v for k, v in data.items() if k != key})
        yield f"{key} a list", json.dumps({**data, key: []})
        yield f"{key} nothing", json.dumps({**data, key: None})
        if isinstance(data[key], dict):
            yield f"{key} with more", json.dumps({**data, key: {**data[key], "more": 1}})
            for inner in data[key]:
                yield f"{key}.{inner} a number", changed(key, inner, value=7.5)
    less = lambda x: (float.fromhex(x) * (1 - 1e-4)).hex()  # noqa: E731
    yield "a bolder L", changed("claim", "L", value=lambda x: (float.fromhex(x) * (1 - 1e-9)).hex())
    yield "a negative L", changed("claim", "L", value="-0x1.0000000000000p+9")
    yield "an infinite L", changed("claim", "L", value="inf")
    yield "a decimal L", changed("claim", "L", value="99.0")
    yield "less rho", changed("proof", "rho", value=less)
    yield "rho zero", changed("proof", "rho", value="0x0.0p+0")
    yield "rho NaN", changed("proof", "rho", value="nan")
    yield "no multipliers", changed("proof", "multipliers", "data", value="")
    yield "zeros", changed("proof", "multipliers", value={"dtype": "F64", "data": "AAAAAAAA" * 8})
    yield "spare bits", changed("proof", "multipliers", "data", value=lambda x: x + "=")
    yield "another network", changed("network", "sha256", value="0" * 64)
    yield "fewer neurons", changed("network", "neurons", value=5)
    yield "local", changed("claim", "scope", value="local")
    yield "another version", changed("version", value=2)
    yield "true", changed("version", value=True)
    yield "twice", text.replace('"version"', '"version": 1, "version"', 1)
    yield "cut off", text[: len(text) // 2]
    yield "more after", text + "{}"


def test_all_three_checkers_refuse_every_change(tmp_path):
    form = contractive(3)
    text = lmikit.lipschitz(form).to_text()
    network = written(form, tmp_path)
    assert accepts(text, network, tmp_path)
    for name, changed in changes(text):
        assert changed != text, name
        assert not accepts(changed, network, tmp_path), name
        for exact in (False, True):
            assert not lmikit.check(tmp_path / "c.json", form, exact=exact).ok, name


def test_other_networks_and_broken_files_are_refused(tmp_path):
    form = contractive(3)
    text = lmikit.lipschitz(form).to_text()
    for other in (
        contractive(4),
        LinearFractional(form.N_vx, form.N_vw, form.N_yx, form.N_yw, -form.beta, form.beta),
    ):
        assert not accepts(text, written(other, tmp_path), tmp_path)
    good = {name: getattr(form, name).toarray() for name in MAPS} | {"alpha": form.alpha, "beta": form.beta}
    for name, value in (("alpha", form.beta + 1.0), ("N_vw", np.eye(5)), ("N_yx", np.full((2, 3), np.nan))):
        np.savez(tmp_path / "bad.npz", **{**good, name: value})
        assert not accepts(text, tmp_path / "bad.npz", tmp_path)


def test_what_has_no_unique_solution_is_refused(tmp_path):
    """w = relu(2 w + x) has two solutions or none; T > 0 and rho do not help."""
    form = LinearFractional([[1.0]], [[2.0]], [[0.0]], [[1.0]], [0.0], [1.0])
    maps = dict(np.load(written(form, tmp_path)))
    for t in (1e-3, 1.0, 1e3):
        assert not checker.is_positive_definite(*checker.matrix(maps, 1e6, np.array([t])))


def test_the_command_line(tmp_path, capsys, monkeypatch):
    form = contractive(1)
    lmikit.lipschitz(form).save(tmp_path / "c.json")
    monkeypatch.setattr(sys, "argv", ["checker", str(tmp_path / "c.json"), str(written(form, tmp_path))])
    source = compile(FILE.read_text(encoding="utf-8"), str(FILE), "exec")
    exec(source, {"__name__": "__main__"})
    assert "proven: one solution" in capsys.readouterr().out
    np.savez(tmp_path / "net.npz", x=np.zeros(1))
    with pytest.raises(SystemExit, match="refused"):
        exec(source, {"__name__": "__main__"})
