"""The stand-alone checker of SDP certificates: it agrees with `check` and shares no code with it."""

import ast
import importlib.util
import json
import math
import pathlib
import sys

import numpy as np
import pytest

import lmikit
from lmikit.lmi import read_sdpa, write_sdpa
from lmikit.testing import random_exact

PATH = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_sdp_checker.py"


def load():
    spec = importlib.util.spec_from_file_location("standalone_sdp_checker", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load()


def test_it_imports_numpy_and_the_standard_library_only():
    names = set()
    for node in ast.walk(ast.parse(PATH.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"numpy"}


def problems(tmp_path):
    """SDPA files with their exact optimum, without equalities and cones."""
    for seed in range(12):
        known = random_exact(np.random.default_rng(seed), ("infeasible", "unbounded")[seed % 2])
        path = tmp_path / f"{seed}.dat-s"
        write_sdpa(known.sdp, path)
        yield path, known.optimum
    path = tmp_path / "bounded.dat-s"
    path.write_text(
        "2\n2\n3 -2\n1 1\n0 1 1 2 1.0\n1 1 1 1 1.0\n2 1 2 2 1.0\n1 1 3 3 0.5\n1 2 1 1 1.0\n2 2 2 2 1.0\n"
    )
    yield path, 2.0


def test_it_accepts_what_is_proven_and_refuses_more(tmp_path):
    saved = tmp_path / "c.json"
    for path, optimum in problems(tmp_path):
        result = lmikit.prove(read_sdpa(path))
        assert result.status == {math.inf: "infeasible", -math.inf: "unbounded"}.get(optimum, "optimum")
        result.save(saved)
        status, lower, upper = checker.check(saved, path)
        assert status == result.status
        data = json.loads(saved.read_text())
        if status == "optimum":
            assert lower <= optimum <= upper
            for side, value in (("lower", optimum + 1e-3), ("upper", optimum - 1e-3)):
                changed = json.loads(saved.read_text())
                changed["claim"][side] = value.hex()
                saved.with_name("x.json").write_text(json.dumps(changed))
                with pytest.raises(checker.Refused):
                    checker.check(saved.with_name("x.json"), path)
        data["claim"]["status"] = "unbounded" if status == "infeasible" else "infeasible"
        data["dual_ray"], data["primal_ray"] = data["dual"], data["primal"]
        saved.write_text(json.dumps(data))
        with pytest.raises((checker.Refused, TypeError, KeyError)):
            checker.check(saved, path)


def test_it_refuses_another_problem(tmp_path):
    (path, _), (other, _) = list(problems(tmp_path))[:2]
    lmikit.prove(read_sdpa(path)).save(tmp_path / "c.json")
    with pytest.raises(checker.Refused, match="another problem"):
        checker.check(tmp_path / "c.json", other)


@pytest.mark.parametrize("name", ["truss1", "infp1", "control1"])
def test_sdplib(name, data_dir, tmp_path):
    path = data_dir / "sdplib" / f"{name}.dat-s"
    result = lmikit.prove(read_sdpa(path), lmikit.solvers.Clarabel(chordal=False))
    result.save(tmp_path / "c.json")
    assert checker.check(tmp_path / "c.json", path)[0] == result.status
