"""Rules of the package as a whole: rooms import downwards, one class per name, abstract or final."""

import ast
import configparser
import pathlib

import pytest

import lmikit
from lmikit.formulations import iqc

PACKAGE = pathlib.Path(lmikit.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
NODES = [(file, node) for file, tree in TREES.items() for node in ast.walk(tree)]
CLASSES = [(file, node) for file, node in NODES if isinstance(node, ast.ClassDef)]
CALLS = [(f, n) for f, n in NODES if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
IMPORTS = [(file, node) for file, node in NODES if isinstance(node, ast.Import | ast.ImportFrom)]


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return list(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file, node):
    """The modules of the package, in full, of which an import names a part."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".") for alias in node.names]
    here = module_of(file) if file.name == "__init__.py" else module_of(file)[:-1]
    base = here[: len(here) - node.level + 1] if node.level else []
    base = base + (node.module.split(".") if node.module else [])
    return [[*base, alias.name] for alias in node.names]


def test_no_class_has_the_name_of_another():
    homes = {}
    for file, node in CLASSES:
        homes.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    again = set(iqc.__all__)  # stable names, older than the rule: each may be the name of one other class
    twice = {name: where for name, where in homes.items() if len(where) > 1 + (name in again)}
    assert not twice


def bases(node):
    return {ast.unparse(base).split("[")[0].removeprefix("abc.") for base in node.bases}


def test_a_class_is_abstract_or_final():
    """No class with instances is subclassed; errors are, since `except` needs a hierarchy."""
    by_name = {node.name: node for _, node in CLASSES}

    def is_error(name):
        return name.endswith(("Error", "Exception")) or (
            name in by_name and any(map(is_error, bases(by_name[name])))
        )

    def is_abstract(node):
        own = {ast.unparse(d) for item in node.body for d in getattr(item, "decorator_list", ())}
        return (
            bool(bases(node) & {"ABC", "Protocol"})
            or node.name.lstrip("_").startswith("Abstract")
            or "abc.abstractmethod" in own
        )

    wrong = [
        f"{node.name}({base}) in {file.relative_to(PACKAGE)}"
        for file, node in CLASSES
        for base in bases(node)
        if base in by_name and not is_abstract(by_name[base]) and not is_error(base)
    ]
    assert not wrong


def test_a_class_that_is_called_abstract_cannot_be_made():
    for _, node in CLASSES:
        if node.name.startswith("Abstract"):
            assert any(base == "ABC" or base.startswith("Abstract") for base in bases(node)), node.name


def layers():
    """Rooms by layer, 0 the highest, from the file that import-linter reads."""
    parser = configparser.ConfigParser()
    if not parser.read(ROOT / ".importlinter"):
        pytest.skip("the package is installed without its checkout")
    lines = parser["importlinter:contract:layers"]["layers"].split("\n")
    return {room.strip(): k for k, line in enumerate(filter(None, lines)) for room in line.split("|")}


def test_rooms_import_from_lower_layers_only():
    level = layers()
    free = {"lmikit", "lmikit._public", "lmikit._version", "lmikit.rs_lmi"}  # names, nothing else
    rooms = {".".join(module_of(file)[:2]) for file in FILES}
    assert rooms - set(level) <= free
    upward = []
    for file, node in IMPORTS:
        room = ".".join(module_of(file)[:2])
        for target in imported(file, node):
            other = ".".join(target[:2])
            if room in level and other in level and other != room and level[other] <= level[room]:
                upward.append(f"{file.relative_to(PACKAGE)} imports {'.'.join(target)}")
    assert not upward


def test_the_library_prints_nothing():
    """Only the command line does; everything else logs, or reports through a callback."""
    talkers = {str(file.relative_to(PACKAGE)) for file, node in CALLS if node.func.id == "print"}
    assert {name for name in talkers if not name.startswith("cli/") and name != "__main__.py"} == set()


def test_what_may_only_be_proposed_never_builds_a_certificate():
    """A `...Certificate(...)` is written by the room that proves and by what it hands on, nowhere else."""
    kinds = {node.name for _, node in CLASSES if node.name.endswith("Certificate") and node.name[0] != "_"}
    proposers = ("methods", "solvers", "formulations", "sketching", "attacks", "training", "adapters", "lmi")
    wrong = [
        f"{file.relative_to(PACKAGE)}: {node.func.id}"
        for file, node in CALLS
        if file.relative_to(PACKAGE).parts[0] in proposers and node.func.id in kinds
    ]
    assert not wrong
