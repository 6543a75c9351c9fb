"""Every benchmark is a command: it says what its options mean, and begins with an empty results folder."""

import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"
COMMANDS = sorted(p.name for p in FOLDER.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))


def run(name, *arguments, timeout=300):
    command = [sys.executable, str(FOLDER / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help(name):
    done = run(name, "--help")
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}" in done.stdout


@pytest.mark.slow
def test_seeds_and_first_are_a_count_and_a_start(tmp_path):
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(FOLDER)!r})
import training_synthetic as t
t.OUT = pathlib.Path({str(tmp_path)!r}) / "new" / "training_synthetic.json"
sys.argv = ["training_synthetic.py", "--seeds", "1", "--first", "7", "--iterations", "2", "--sections", "rho"]
t.main()
print({{row["seed"] for row in t.recorded()}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{7}"
    assert (tmp_path / "new" / "training_synthetic.md").is_file()
