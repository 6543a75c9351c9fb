"""What `import lmikit` costs, beside the import of what it stands on; each figure from new processes.

    python benchmarks/import_time.py [--runs 5] [--out docs/results/import_time.md]

The statements take turns, so that other work on the machine meets all of them alike; medians count.
"""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = "import numpy, scipy.linalg"
STATEMENTS = {
    BASE: "what lmikit stands on",
    "import lmikit": "the import alone: names are looked up when they are used",
    "import lmikit; lmikit.lmi": "one submodule",
    "import lmikit; lmikit.lipschitz": "the first use of a name of `lmikit` itself",
    "import lmikit; lmikit.lipschitz; lmikit.training": "training as well",
}
ALLOWED = 0.05  # seconds above the base


def seconds_of(statement: str) -> float:
    code = f"import time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{statement} failed:\n{done.stderr}")
    return float(done.stdout)


def measure(runs: int) -> dict[str, list[float]]:
    for statement in STATEMENTS:
        seconds_of(statement)  # byte code and disk cache
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(runs):
        for statement in STATEMENTS:
            times[statement].append(seconds_of(statement))
    return times


def page(times: dict[str, list[float]], runs: int) -> str:
    medians = {statement: statistics.median(values) for statement, values in times.items()}
    base, ours = medians[BASE], medians["import lmikit"]
    verdict = "kept" if ours <= base + ALLOWED else "NOT kept"
    lines = [
        "# Import time",
        "",
        f"Written by `python benchmarks/import_time.py`. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, shared with other work; "
        f"median of {runs} new processes each, taken in turn, and the range.",
        "",
        "| statement | seconds | from | to | |",
        "|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| `{s}` | {medians[s]:.3f} | {min(times[s]):.3f} | {max(times[s]):.3f} | {STATEMENTS[s]} |"
        for s in STATEMENTS
    ]
    lines += ["", f"`import lmikit` at or below the first line plus {ALLOWED} s: {verdict}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="processes per statement (default 5)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "import_time.md")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    text = page(measure(arguments.runs), arguments.runs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
