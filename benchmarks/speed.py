"""Seconds of small, wide and deep networks, batches, pairs of classes and a large map, beside a release.

    python benchmarks/speed.py --old PYTHON [--nets 30] [--order 4096] [--tasks small,batch,pairs,large,...]

writes docs/results/speed.md; without --old it prints the times of this release alone. PYTHON is the
interpreter of an environment in which the other release is installed; both run in turn, a process each per
task, twice, and the smaller time counts. CPU seconds, one BLAS thread, medians over the networks.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "speed.md"
AWAY = tempfile.gettempdir()  # `python -c` looks for modules where it runs: not among these sources
TASKS = (
    "small",
    "batch",
    "batch-wider",
    "batch-deeper",
    "pairs",
    "large",
    "2x400",
    "4x200",
    "20x40",
    "50x40",
    "100x40",
)
CODE = """
import json, sys, time
import numpy as np
import lmikit
task, nets, order = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
bounds = []

def network(seed, *sizes):
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:])
    weights = [rng.standard_normal((b, a)) / a**0.5 for a, b in pairs]
    return lmikit.Network.from_arrays(weights, activation="relu")

def seconds(call):
    began = time.process_time()
    call()
    return time.process_time() - began

lmikit.lipschitz(network(0, 3, 4, 2))  # imports
if task == "small":
    found = [seconds(lambda n=network(s, 10, 20, 20, 1): lmikit.lipschitz(n)) for s in range(nets)]
elif task.startswith("batch"):  # seconds a network
    wider, deeper = (64, 32, 32, 10), (10, 50, 50, 50, 1)
    sizes = {"batch": (10, 20, 20, 1), "batch-wider": wider, "batch-deeper": deeper}
    many = [network(s, *sizes[task]) for s in range(4 * nets)]
    found = [seconds(lambda: lmikit.certify_many(many)) / len(many)]
elif task == "pairs":  # one bound and all 45 of ten classes, as a multiple of the bound alone
    found = []
    for s in range(max(nets // 6, 1)):
        n = network(s, 10, 20, 20, 10)
        one = seconds(lambda: lmikit.lipschitz(n))
        found.append(seconds(lambda: lmikit.pairwise_bounds(n)) / one)
elif task == "large":
    w = np.random.default_rng(0).standard_normal((order, order))
    found = [seconds(lambda: lmikit.lipschitz(lmikit.Network.from_arrays([w])))]
else:  # hidden layers x width
    depth, width = map(int, task.split("x"))
    n = network(0, 10, *[width] * depth, 10)
    found = [seconds(lambda: bounds.append(lmikit.lipschitz(n).bound))]
print(json.dumps([found, bounds]))
"""


def measured(python: str, task: str, nets: int, order: int) -> tuple[float, float]:
    """(the median of a task in a process of its own, its bound where it is one network's)."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [python, "-c", CODE, task, str(nets), str(order)]
    done = subprocess.run(command, env=environment, cwd=AWAY, capture_output=True, text=True, check=True)
    found, bounds = json.loads(done.stdout)
    return statistics.median(found), bounds[0] if bounds else float("nan")


def row(task: str, words: str, old: str | None, nets: int, order: int) -> str:
    """Least of two rounds each, in turns; the bounds of one network must agree."""
    pythons = [sys.executable] + [old] * (old is not None)
    rounds = [[measured(python, task, nets, order) for python in pythons] for _ in range(2)]
    times = [min(r[i][0] for r in rounds) for i in range(len(pythons))]
    bounds = {f"{r[i][1]:.6g}" for r in rounds for i in range(len(pythons))} - {"nan"}
    cells = [words, *(f"{t:.3g}" for t in times), *([f"{times[0] / times[1]:.2f}"] if old else [])]
    return f"| {' | '.join([*cells, ' / '.join(sorted(bounds))])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", help="interpreter of an environment with the other release")
    parser.add_argument("--nets", type=int, default=30)
    parser.add_argument("--order", type=int, default=4096)
    parser.add_argument("--tasks", default=",".join(TASKS))
    options = parser.parse_args()
    words = {
        "small": "`lipschitz`, 10-20-20-1 (s)",
        "batch": f"`certify_many`, {4 * options.nets} of 10-20-20-1 (s each)",
        "batch-wider": f"`certify_many`, {4 * options.nets} of 64-32-32-10 (s each)",
        "batch-deeper": f"`certify_many`, {4 * options.nets} of 10-50-50-50-1 (s each)",
        "pairs": "`pairwise_bounds`, 10-20-20-10 (times one bound)",
        "large": f"`lipschitz`, one {options.order} x {options.order} map (s)",
    }
    heads = ["task", "here", *(["other release", "ratio"] if options.old else []), "bound"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    print("\n".join(lines), flush=True)
    for task in options.tasks.split(","):
        name = words.get(task, f"`lipschitz`, {task} hidden, 10 inputs and outputs (s)")
        lines.append(row(task, name, options.old, options.nets, options.order))
        print(lines[-1], flush=True)
    if options.old:
        say = [options.old, "-c", "import lmikit; print(lmikit.__version__)"]
        other = subprocess.run(say, cwd=AWAY, capture_output=True, text=True, check=True).stdout.strip()
        flags = f"--nets {options.nets} --order {options.order}"
        how = f"`python benchmarks/speed.py --old PYTHON {flags}`, its release {other}. CPU s, one thread."
        OUT.write_text(f"# Beside an earlier release\n\n{how}\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
