"""Example calls of eclipse-nn and LipSDP_python beside lmikit's: what is typed, what comes back, seconds.

    python benchmarks/peers.py [--lipsdp DIR] [--seconds 300]

DIR is a checkout of github.com/HeinrichAD/LipSDP_python (needs cvxpy and cvxopt); without it its
sections are left out, and the page says so. Each snippet runs in a process of its own. Writes
docs/results/peers.md.
"""

import argparse
import dataclasses
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "peers.md"
PEERS = {
    "eclipse-nn": "eclipse-nn 0.1.7 is the package of ECLipsE's authors (pypi.org/project/eclipse-nn).",
    "LipSDP_python": "LipSDP_python is a port of the authors' LipSDP to cvxpy with CVXOPT as default solver\n"
    "(github.com/HeinrichAD/LipSDP_python, commit e3f07dd).",
}

MODEL = """import torch

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(5, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 2),
).double()
"""
SILU = """import torch

model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.SiLU(), torch.nn.Linear(1, 1)).double()
with torch.no_grad():
    for p in model.parameters():
        p.fill_(1.0)
"""
TWO = """import numpy as np

weights = [np.array([[1.0], [1.0]]), np.array([[1.0, -1.0]])]
"""
ECLIPSE = """from eclipse_nn.LipConstEstimator import LipConstEstimator

estimator = LipConstEstimator(model=model)
print(float(estimator.estimate("ECLipsE_Fast")))
"""
ECLIPSE_BOTH = ECLIPSE + 'print(float(estimator.estimate("ECLipsE")))\n'
FROM_TORCH = """import lmikit

network = lmikit.adapters.from_torch(model)
print(lmikit.lipschitz(network, lmikit.EclipseFast()).bound)
"""
FROM_TORCH_ALL = (
    FROM_TORCH
    + """print(lmikit.lipschitz(network, lmikit.Eclipse()).bound)
print(lmikit.lipschitz(network).bound)  # exact LipSDP
"""
)
COUPLED = """from lipsdp import LipSDP

network = LipSDP.NetworkOptions(weights, [1, 2, 1])
print(LipSDP(network, LipSDP.LipParams(formulation="network")).solve())
"""
FROM_ARRAYS = """import lmikit

network = lmikit.Network.from_arrays(weights)
print(lmikit.lipschitz(network).bound)
"""
RANDOM, MNIST = (f"examples/saved_weights/{name}_weights.mat" for name in ("random", "mnist"))


@dataclasses.dataclass(frozen=True)
class Case:
    """One example: set-up shared by both (not timed), theirs, ours; the true constant where it is known."""

    peer: str
    title: str
    setup: str
    theirs: str
    ours: str
    remark: str = ""
    truth: float = 0.0


CASES = (
    Case("eclipse-nn", "The quick start of eclipse-nn", MODEL, ECLIPSE_BOTH, FROM_TORCH_ALL),
    Case(
        "eclipse-nn",
        "A SiLU network",
        SILU,
        ECLIPSE,
        FROM_TORCH,
        "All weights and biases are 1. The slope of SiLU reaches 1.0998, and that is the Lipschitz constant.",
        1.0998,
    ),
    Case(
        "LipSDP_python",
        "The simple example of LipSDP_python",
        "",
        f"$ python solve_sdp.py --form neuron --weight-path {RANDOM}\n",
        f"$ lmikit bound {RANDOM}\n",
    ),
    Case(
        "LipSDP_python",
        "LipSDP-Layer on its MNIST network",
        "",
        f"$ python solve_sdp.py --form layer --weight-path {MNIST}\n",
        f"$ lmikit bound {MNIST} --method lipsdp-layer\n",
    ),
    Case(
        "LipSDP_python",
        "LipSDP-Neuron on its MNIST network",
        "",
        f"$ python solve_sdp.py --form neuron --weight-path {MNIST}\n",
        f"$ lmikit bound {MNIST}\n",
    ),
    Case(
        "LipSDP_python",
        "LipSDP-Network, with coupled multipliers",
        TWO,
        COUPLED,
        FROM_ARRAYS,
        "With biases 0 and -1 in the first layer this is f(x) = relu(x) - relu(x - 1), whose constant is 1.\n"
        "Coupled multipliers are not valid for increments (Pauli et al., IEEE L-CSS 2022); lmikit has no\n"
        "such option.",
        1.0,
    ),
)


PROGRAM = """
import ast, time
source = open({path!r}).read()
tree = ast.parse(source)
names = {{}}
first = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
rest = [n for n in tree.body if n not in first]
exec(compile(ast.Module(first, []), "snippet", "exec"), names)
exec({setup!r}, names)
start = time.perf_counter()
exec(compile(ast.Module(rest, []), "snippet", "exec"), names)
print("SECONDS", time.perf_counter() - start)
"""


def run(code: str, setup: str, folder: pathlib.Path, limit: float) -> tuple[str, str]:
    """(what came back, seconds): a console line as a whole process, Python without its imports."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2"}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        if code.startswith("$ "):
            words = code[2:].split()
            command = [
                sys.executable,
                *(["-m"] if words[0] == "lmikit" else []),
                *words[words[0] == "python" :],
            ]
        else:
            snippet = pathlib.Path(scratch) / "snippet.py"
            snippet.write_text(code)
            program = pathlib.Path(scratch) / "program.py"
            program.write_text(PROGRAM.format(path=str(snippet), setup=setup))
            command = [sys.executable, str(program)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return "(nothing within the limit)", f"> {limit:.0f}"
    seconds = time.perf_counter() - start
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()[-1:]
    if lines and lines[-1].startswith("SECONDS "):
        seconds = float(lines.pop().split()[1])
    return "\n".join(lines), f"{seconds:.3g}"


def verdict(case: Case, who: str, output: str) -> str:
    """Whether the answer is proven, and whether it is below the known constant."""
    if who == "lmikit":
        return "yes"
    numbers = [float(word) for word in output.split() if re.fullmatch(r"[\d.]+(e-?\d+)?", word)]
    return "no; below the constant" if numbers and numbers[0] < case.truth * (1 - 1e-6) else "no"


def section(case: Case, folder: pathlib.Path, limit: float) -> str:
    parts = [f"## {case.title}", ""]
    if case.setup:
        parts += ["Both start from", "", "```python", case.setup.strip(), "```", ""]
    rows = ["| | seconds | proven |", "|---|---:|---|"]
    for who, code in ((case.peer, case.theirs), ("lmikit", case.ours)):
        output, seconds = run(code, case.setup, folder, limit)
        print(case.title, who, seconds, output, sep=" | ", flush=True)
        language = "console" if code.startswith("$ ") else "python"
        parts += [f"**{who}**", "", f"```{language}", code.strip(), "```", "", "```text", output, "```", ""]
        rows.append(f"| {who} | {seconds} | {verdict(case, who, output)} |")
    return "\n".join([*parts, *rows, "", *([case.remark, ""] if case.remark else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lipsdp", type=pathlib.Path, help="a checkout of LipSDP_python")
    parser.add_argument("--seconds", type=float, default=300.0, help="limit of one snippet")
    options = parser.parse_args()
    command = "python benchmarks/peers.py" + (" --lipsdp DIR" if options.lipsdp else "")
    lines = [
        "# Coming from eclipse-nn or LipSDP_python",
        "",
        f"Written by `{command}`. Python {platform.python_version()}, {os.cpu_count()} cores.",
        "The machine was shared with other work: times are upper estimates. Python snippets are timed",
        "without their imports, commands as whole processes, start and all. The boxes hold what came back.",
        "Proven: the answer comes with a proof that holds in spite of rounding.",
        "",
        *PEERS.values(),
        "",
    ]
    for case in CASES:
        if case.peer == "LipSDP_python" and options.lipsdp is None:
            lines += [f"## {case.title}", "", "Left out: no checkout of LipSDP_python was given.", ""]
            continue
        folder = ROOT if options.lipsdp is None else options.lipsdp.resolve() / "src"
        lines.append(section(case, folder, options.seconds))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
