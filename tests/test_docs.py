"""The documentation: its code runs and prints what it says, its links lead somewhere, its names exist."""

import contextlib
import doctest
import importlib.util
import io
import pathlib
import re
import shlex
import subprocess
import sys
import types

import pytest

import lmikit
from lmikit.cli import main as command_line

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    "index",
    "tutorial",
    "safe_input",
    "howto/iqc",
    "howto/solver",
    "howto/method",
    "howto/certificate",
    "howto/cluster",
    "theory/lipsdp",
    "theory/local",
    "training",
    "graphs",
    "proven_sdp",
    "control",
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
EXTRAS = {"equinox", "flax", "jax", "keras", "onnx", "optax", "sklearn", "torch"}  # a page may need them
IMPORT = re.compile(r"^\s*(?:import|from) (\w+)", re.M)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def blocks(page):
    return FENCE.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))


def run_console(code):
    """Run each `$ lmikit ...` line in this process; returns what it wrote."""
    written = io.StringIO()
    for line in code.strip().splitlines():
        if not line.startswith("$ "):
            continue
        name, *arguments = shlex.split(line[2:])
        assert name == "lmikit", f"the page shows the command {name!r}, which this test cannot run"
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(io.StringIO()):
            assert command_line(arguments) == 0, line
    return written.getvalue()


def run_page(page, names):
    """Run a page's blocks in order; a text block is what the block before it must print."""
    checker, printed = doctest.OutputChecker(), ""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for language, code in blocks(page):
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code, f"docs/{page}.md", "exec"), names)
            printed = out.getvalue()
        elif language == "console":
            printed = run_console(code)
        elif language == "text":
            assert checker.check_output(code, printed, options), f"expected\n{code}\ngot\n{printed}"
        else:
            raise AssertionError(f"docs/{page}.md has a block in {language!r}, which this test cannot run")


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if "--plot" in (DOCS / f"{page}.md").read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib")
    code = "\n".join(text for language, text in blocks(page) if language == "python")
    assert code
    for module in sorted(EXTRAS & set(IMPORT.findall(code))):
        pytest.importorskip(module)
    run_page(page, {"__name__": "__page__"})


def test_the_torch_page_runs(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__page__"}
    run_page("howto/torch", names)
    saved = lmikit.Certificate.load(tmp_path / "model.certificate.json", names["network"])
    assert saved.bound == names["certificate"].bound


@pytest.mark.slow
def test_the_jax_page_runs():
    pytest.importorskip("optax")
    run_page("howto/jax", {"__name__": "__page__"})


def pages_with_links():
    return sorted([*DOCS.rglob("*.md"), ROOT / "README.md", *(ROOT / "benchmarks").glob("*.md")])


@pytest.mark.parametrize("path", pages_with_links(), ids=lambda p: str(p.relative_to(ROOT)))
def test_internal_links_lead_to_files(path):
    if "_build" in path.parts:
        pytest.skip("build output")
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text(encoding="utf-8")))
    targets = [t for t in LINK.findall(text) if "://" not in t and not t.startswith("#")]
    missing = [t for t in targets if not (path.parent / t.split("#")[0]).exists()]
    assert not missing, f"{path.name} links to {missing}"


def stable_names():
    """(module or class, name) of every row of the page's table."""
    text = (DOCS / "public_names.md").read_text(encoding="utf-8")
    for where, names in re.findall(r"^\| `(lmikit[\w.]*)` \| (.+) \|$", text, re.M):
        for name in re.findall(r"`(\w+)`", names):
            yield where, name


def resolve(where):
    """A module, or a class in a module."""
    if where == "lmikit.testing":
        pytest.importorskip("hypothesis")
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError:
        module, name = where.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)


def has(owner, name):
    """An attribute, or a field of a dataclass, which has no attribute without a default."""
    return hasattr(owner, name) or name in getattr(owner, "__dataclass_fields__", ())


def test_stable_names_exist():
    pairs = list(stable_names())
    assert len(pairs) > 100
    missing = [f"{where}.{name}" for where, name in pairs if not has(resolve(where), name)]
    assert not missing, missing


def test_stable_names_cover_what_lmikit_exports():
    import lmikit

    listed = {name for where, name in stable_names() if where == "lmikit"}
    exported = {n for n in dir(lmikit) if not isinstance(getattr(lmikit, n), types.ModuleType)}
    assert listed == exported


def test_the_page_of_the_command_line_names_every_command(capsys):
    with pytest.raises(SystemExit):
        command_line(["--help"])
    choices = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.M))
    page = (DOCS / "api" / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `lmikit (\w+)", page, re.M)) == choices


@pytest.mark.slow
def test_the_pages_build_without_warnings(tmp_path):
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed)
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").is_file()


def gallery(name):
    """The module docs/gallery/NAME.py, loaded without being installed."""
    spec = importlib.util.spec_from_file_location(f"gallery_{name}", DOCS / "gallery" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = sorted(path.stem for path in (DOCS / "gallery").glob("*.py"))
NEED_SKLEARN = ("digits", "mnist")


def test_every_example_has_its_page_and_picture():
    pages = {path.stem for path in (DOCS / "gallery").glob("*.md")} - {"index"}
    pictures = {path.stem for path in (DOCS / "gallery").glob("*.png")}
    assert pages == pictures == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name):
    if name in NEED_SKLEARN:
        pytest.importorskip("sklearn")
    value, reference = gallery(name).run()
    if name == "pattern":
        assert value == pytest.approx(reference, rel=1e-6)
    else:
        assert value >= reference > 0.0


def test_the_servo_example_runs_without_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LMIKIT_DATA", str(tmp_path))
    servo = gallery("servo")
    X, y = servo.servo()
    assert X.shape == (167, 4)
    assert y.std() == pytest.approx(1.0)
    value, reference = servo.run()
    assert value >= reference > 0.0


def test_the_mnist_example_takes_digits_where_there_is_no_data_folder(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("LMIKIT_DATA", str(tmp_path))
    X, y, Xt, yt = gallery("mnist").mnist()
    assert (X.shape, Xt.shape) == ((1400, 64), (397, 64))
    assert set(y) == set(yt) == set(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_draws_its_picture(name, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    if name in NEED_SKLEARN:
        pytest.importorskip("sklearn")
    plt.switch_backend("Agg")
    gallery(name).figure(tmp_path / f"{name}.png")
    plt.close("all")
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_the_page_of_lmikit_documents_what_it_exports():
    page = (DOCS / "api" / "lmikit.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.M)
    assert sorted(documented) == sorted({name for where, name in stable_names() if where == "lmikit"})
