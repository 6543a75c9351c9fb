"""Bound against time: every method of lmikit and every peer on the same networks, one process each.

    python benchmarks/bounds_against_time.py [--seconds 60] [--again] [--only NET ...]

Writes docs/results/bounds_against_time.md, .png and .json; rows in the JSON file are not measured
again without --again. Networks: the data folder ($LMIKIT_DATA, or ../shared/data beside the
repository), or random ones of the same sizes without it. Needs the extra `bench`.
"""

import argparse
import contextlib
import importlib.util
import io
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import lmikit
from lmikit._api import default_methods

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results" / "bounds_against_time"
NETS = {
    "lyr2n80test1": (4, 80, 1),
    "mnist_weights": (784, 50, 10),
    "fnn3_seed0": (64, 32, 32, 10),
    "eclipse_rand_L5_n80": (4, 80, 80, 80, 80, 1),
    "eclipse_rand_L10_n80": (4, *[80] * 9, 1),
    "eclipse_rand_L20_n80": (4, *[80] * 19, 1),
}
SMALL = 100  # hidden neurons up to which peers that solve SDPs are tried
OURS = {method.label: method for method in default_methods()}
LOWER = "sampled lower bound"
SMALL_PEERS = ("eclipse-nn ECLipsE", "cvxpy + Clarabel", "cvxpy + SCS")
PEERS = ("eclipse-nn Fast", *SMALL_PEERS)
TEXT = """# Bound against time

Written by `python benchmarks/bounds_against_time.py`. Python {python}, NumPy {numpy}, {cores} cores, shared
with other work: times are upper estimates. Each figure is from a process of its own, the shortest of up to
{runs} runs, from weights to the number; for lmikit that includes the proof. Limit {limit} s. Peers that solve
SDPs were tried up to {small} hidden neurons.

![Bound against seconds on six networks](bounds_against_time.png)

Filled marks are proven bounds, hollow marks are claims without a proof. The dashed line is a lower bound
found by sampling: the true constant is above it.
"""
RUNS = 3  # at most, within a tenth of the limit; the shortest counts


def load(name: str) -> lmikit.Network:
    folder = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "networks"
    if folder.is_dir():
        return lmikit.Network.from_file(folder / f"{name}.npz")
    rng = np.random.default_rng(len(name))
    weights = []
    for n, m in itertools.pairwise(NETS[name]):
        w = rng.standard_normal((m, n))
        weights.append(w * (rng.uniform(0.4, 1.8) / np.linalg.norm(w, 2)))
    return lmikit.Network.from_arrays(weights)


def eclipse_nn(weights: list[np.ndarray], method: str) -> float:
    import torch
    from eclipse_nn.LipConstEstimator import LipConstEstimator

    estimator = LipConstEstimator(weights=[torch.tensor(w) for w in weights])
    with contextlib.redirect_stdout(io.StringIO()):
        return float(estimator.estimate(method))


def through_cvxpy(network: lmikit.Network, solver: str) -> float:
    from lipsdp_solvers import cvxpy_model

    problem, F = cvxpy_model(network)
    problem.solve(solver=solver)
    return float(1.0 / np.sqrt(F.value))


def runner(who: str, network: lmikit.Network) -> Callable[[], float]:
    """What one measurement calls: from weights to a number."""
    if who in OURS:
        return lambda: lmikit.lipschitz(network, OURS[who]).bound
    if who == LOWER:
        return lambda: lmikit.lower_bound(network, time_limit=20.0).value
    if who.startswith("cvxpy"):
        return lambda: through_cvxpy(network, who.split()[-1].upper())
    weights = list(network.weights)
    return lambda: eclipse_nn(weights, "ECLipsE_Fast" if who.endswith("Fast") else "ECLipsE")


def one(name: str, who: str, limit: float) -> None:
    """Measure in this process and print one JSON object."""
    network = load(name)
    tiny = lmikit.Network.from_arrays([np.eye(2) + 0.1, np.ones((1, 2))])
    runner(who, tiny)()  # imports and first calls are not what is compared
    call, seconds = runner(who, network), []
    while len(seconds) < RUNS and sum(seconds) < limit / 10:
        start = time.perf_counter()
        value = call()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"value": value, "seconds": min(seconds)}))


def measured(name: str, who: str, limit: float) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", name, who, "--seconds", str(limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit + 15, env=environment)
    except subprocess.TimeoutExpired:
        return {"value": None, "seconds": limit, "reason": f"no answer in {limit:.0f} s"}
    if done.returncode != 0:
        return {"value": None, "seconds": 0.0, "reason": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def contenders(name: str) -> list[str]:
    hidden = sum(NETS[name][1:-1])
    peers = [p for p in PEERS if hidden <= SMALL or p not in SMALL_PEERS]
    needed = {"eclipse-nn": "eclipse_nn", "cvxpy": "cvxpy"}
    return [*OURS, *(p for p in peers if importlib.util.find_spec(needed[p.split()[0]])), LOWER]


def cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    if row["value"] is None:
        return str(row["reason"])
    return f"{row['value']:.6g} ({row['seconds']:.2g} s)"


def write(rows: dict[str, dict[str, dict[str, object]]], limit: float) -> None:
    names = [n for n in NETS if n in rows]
    lines = [
        TEXT.format(
            python=platform.python_version(),
            numpy=np.__version__,
            cores=os.cpu_count(),
            runs=RUNS,
            limit=f"{limit:.0f}",
            small=SMALL,
        ),
        "| | proven | " + " | ".join(f"{n}<br>{'-'.join(map(str, shape(n)))}" for n in names) + " |",
        "|---|---|" + "---:|" * len(names),
    ]
    for who in (*sorted(OURS, key=lambda who: looseness(rows, who)), *PEERS, LOWER):
        if any(who in rows[n] for n in names):
            proven = "yes" if who in OURS else "" if who == LOWER else "no"
            lines.append(f"| {who} | {proven} | " + " | ".join(cell(rows[n].get(who)) for n in names) + " |")
    OUT.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def looseness(rows: dict[str, dict[str, dict[str, object]]], who: str) -> float:
    """The median of log(bound / tightest bound) over the networks; no answer counts as 0."""
    ratios = []
    for row in rows.values():
        values = {w: row[w]["value"] for w in OURS if w in row and row[w]["value"]}
        ratios.append(float(np.log(values[who] / min(values.values()))) if who in values else 0.0)
    return float(np.median(ratios))


def shape(name: str) -> list[str]:
    """The sizes, runs shortened."""
    runs = [(n, len(list(group))) for n, group in itertools.groupby(NETS[name])]
    return [
        str(n) if count < 3 else f"{n}x{count}" for n, count in runs for _ in range(1 if count > 2 else count)
    ]


def draw(rows: dict[str, dict[str, dict[str, object]]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = [n for n in NETS if n in rows]
    fig, axes = plt.subplots(2, -(-len(names) // 2), figsize=(12, 7.6), layout="constrained", squeeze=False)
    marks = dict(zip((*OURS, *PEERS), itertools.cycle("osD^vP*Xhp<>d"), strict=False))
    colours = {who: f"C{k % 10}" for k, who in enumerate((*OURS, *PEERS))}
    for ax, name in itertools.zip_longest(axes.flat, names):
        if name is None:
            ax.axis("off")
            continue
        for who, row in rows[name].items():
            value = row["value"]
            if who == LOWER and value:
                ax.axhline(value, color="0.3", ls="--", lw=1, label=LOWER)
            elif value:
                fill = colours[who] if who in OURS else "none"
                ax.plot(
                    max(row["seconds"], 1e-4), value, marks[who], ms=8, label=who, mfc=fill, mec=colours[who]
                )
        values = [row["value"] for row in rows[name].values() if row["value"]]
        scale = "log" if max(values) > 3 * min(values) else "linear"
        ax.set(xscale="log", yscale=scale, title=f"{name} ({'-'.join(shape(name))})", xlabel="seconds")
        ax.grid(visible=True, which="both", alpha=0.2)
    axes[0, 0].set_ylabel("Lipschitz bound")
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    fig.savefig(OUT.with_suffix(".png"), dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of one measurement")
    parser.add_argument("--again", action="store_true", help="measure rows that the JSON file has already")
    parser.add_argument("--only", nargs="*", default=list(NETS), choices=list(NETS), metavar="NET")
    parser.add_argument("--one", nargs=2, metavar=("NET", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one, options.seconds)
        return
    store = OUT.with_suffix(".json")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(store.read_text()) if store.exists() and not options.again else {}
    for name in options.only:
        for who in contenders(name):
            if who not in rows.setdefault(name, {}):
                rows[name][who] = measured(name, who, options.seconds)
                print(name, who, cell(rows[name][who]), sep=" | ", flush=True)
                store.write_text(json.dumps(rows, indent=1) + "\n")
    write(rows, options.seconds)
    draw(rows)


if __name__ == "__main__":
    main()
