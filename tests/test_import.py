"""`import lmikit` costs nothing, and gives all the names all the same."""

import ast
import importlib
import pathlib
import pkgutil
import subprocess
import sys
import types

import pytest

import lmikit

PACKAGE = pathlib.Path(lmikit.__file__).parent
SUBMODULES = sorted(m.name for m in pkgutil.iter_modules(lmikit.__path__) if not m.name.startswith("_"))


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_import_reads_no_numerical_package():
    code = "import sys; import lmikit; print([m for m in ('numpy', 'scipy', 'clarabel') if m in sys.modules])"
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("submodule", SUBMODULES)
def test_submodules_are_attributes_without_an_import(submodule):
    if submodule == "testing":
        pytest.importorskip("hypothesis")
    assert getattr(lmikit, submodule) is importlib.import_module(f"lmikit.{submodule}")


def test_a_submodule_is_imported_when_it_is_first_asked_for():
    assert run("import lmikit; print(lmikit.training.rs_lmi.__name__)").strip() == "rs_lmi"


def test_dir_shows_public_names_and_nothing_else():
    import lmikit._public as public

    names = dir(lmikit)
    assert set(names) >= {"lipschitz", "Network", "training", "methods", "NotCertified"}
    assert not [n for n in names if n.startswith("_")]
    assert set(lmikit.__all__) == {*names, "__version__"}
    for name in names:
        value = getattr(lmikit, name)
        home = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        assert home.startswith("lmikit."), name
    imported = {n for n in vars(public) if not n.startswith("_")}
    assert imported <= set(names)


def test_all_names_come_with_a_star():
    code = "from lmikit import *; print(lipschitz.__name__, training.__name__, __version__)"
    assert run(code).split() == ["lipschitz", "lmikit.training", lmikit.__version__]


def test_an_unknown_name_is_an_attribute_error():
    for name in ("lipshitz", "_api2", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"'lmikit' has no attribute '{name}'"):
            getattr(lmikit, name)


def test_type_checkers_see_every_submodule():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is None
        for alias in node.names
    }
    listed = {n for n in dir(lmikit) if isinstance(getattr(lmikit, n), types.ModuleType)}
    assert seen == listed | {"testing"}


def test_what_is_exported_says_so():
    tree = ast.parse((PACKAGE / "_public.py").read_text(encoding="utf-8"))
    names = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert len(names) > 40
    assert all(alias.asname == alias.name for alias in names)  # else type checkers hide it
