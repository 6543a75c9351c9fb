"""The documentation: its code runs and prints what it says, its links lead somewhere, its names exist."""

import contextlib
import doctest
import importlib
import io
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from lmikit.cli import main as command_line

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("index", "tutorial", "howto/iqc", "howto/solver", "howto/method", "howto/certificate")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")


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
    assert any(language == "python" for language, _ in blocks(page))
    run_page(page, {"__name__": "__page__"})
