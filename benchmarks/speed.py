"""Seconds of small networks, of pairs of classes and of one large map, beside another release.

    python benchmarks/speed.py [--old PYTHON] [--nets 30] [--order 4096]

prints a table. PYTHON is the interpreter of an environment in which the other release is installed; both run
in turn, a process each per task, twice. CPU seconds, one BLAS thread, medians over the networks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

TASKS = ("small", "pairs", "large")
CODE = """
import json, sys, time
import numpy as np
import lmikit
task, nets, order = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

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
elif task == "pairs":  # one bound and all 45 of ten classes, as a multiple of the bound alone
    found = []
    for s in range(max(nets // 6, 1)):
        n = network(s, 10, 20, 20, 10)
        one = seconds(lambda: lmikit.lipschitz(n))
        found.append(seconds(lambda: lmikit.pairwise_bounds(n)) / one)
else:
    w = np.random.default_rng(0).standard_normal((order, order))
    found = [seconds(lambda: lmikit.lipschitz(lmikit.Network.from_arrays([w])))]
print(json.dumps(found))
"""


def measured(python: str, task: str, nets: int, order: int) -> float:
    """The median of a task in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-c", CODE, task, str(nets), str(order)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return statistics.median(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", help="interpreter of an environment with the other release")
    parser.add_argument("--nets", type=int, default=30)
    parser.add_argument("--order", type=int, default=4096)
    parser.add_argument("--tasks", default=",".join(TASKS))
    options = parser.parse_args()
    words = {
        "small": "`lipschitz`, 10-20-20-1 (s)",
        "pairs": "`pairwise_bounds`, 10-20-20-10 (times one bound)",
        "large": f"`lipschitz`, one {options.order} x {options.order} map (s)",
    }
    print("| task | here | other release | ratio |\n|---|---|---|---|")
    for task in options.tasks.split(","):
        rounds: list[tuple[float, float]] = []
        for _ in range(2):
            here = measured(sys.executable, task, options.nets, options.order)
            old = measured(options.old, task, options.nets, options.order) if options.old else float("nan")
            rounds.append((here, old))
        here, old = (min(r[i] for r in rounds) for i in (0, 1))
        print(f"| {words[task]} | {here:.3g} | {old:.3g} | {here / old:.2f} |", flush=True)


if __name__ == "__main__":
    main()
