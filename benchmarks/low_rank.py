"""LowRank against its peers: known networks, max-cut, growth, profile; tables and plots in docs/results.

    python benchmarks/low_rank.py table  --only lyr2n80test1,random_4x80 --peers CVXPY-SCS,CVXOPT
    python benchmarks/low_rank.py maxcut --only mcp100,maxG11
    python benchmarks/low_rank.py growth --only width,depth
    python benchmarks/low_rank.py profile
    python benchmarks/low_rank.py report

Every measurement runs in its own process (`one`), with a time cap, and is kept in
docs/results/low_rank.json: a command takes up where it stopped; --again measures anew.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

import low_rank_problems as problems
import numpy as np
from low_rank_profile import profile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
STORE = RESULTS / "low_rank.json"
PEERS = ("Clarabel", "SCS", "CVXPY-Clarabel", "CVXPY-SCS", "CVXOPT")
GROWING = ("LowRank", "LowRank-matrix-free")
WIDTHS = (50, 100, 200, 400, 800, 1200, 2000)
PROFILED = ("random_2x400", "random_4x200", "random_19x80")  # two runs each
DEPTHS = (2, 5, 10, 20, 50, 100, 200)
GROWTH = {"width": [f"2x{w}" for w in WIDTHS], "depth": [f"{d}x40" for d in DEPTHS]}
METHOD = 1  # raise it when LowRank changes so that older measurements no longer tell its seconds
GROWN = "{seconds:.3g} s, {gigabytes:.2f} GB, {iterations} iterations, gap {gap:.1e}"


def solve_here(kind: str, name: str, solver: str) -> dict:
    """One measurement in this process: a warming-up call on a tiny problem, then the real one."""
    sdp = problems.build(kind, name)
    run = problems.RUNNERS[solver]
    run(problems.build("random", "1x3"))
    started = time.perf_counter()
    result = run(sdp)
    result["seconds"] = time.perf_counter() - started
    result["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result["load"] = os.getloadavg()[0]
    result["method"] = METHOD
    if result.get("y") is not None:
        result["least_eigenvalue"] = problems.least_eigenvalue(sdp, np.asarray(result.pop("y")))
    return result


def measure(store: dict, kind: str, name: str, solver: str, cap: float, again: bool) -> dict:
    """The stored measurement, or a new one in a subprocess."""
    key = f"{kind}/{name}/{solver}"
    if key in store and not again:
        return store[key]
    command = [sys.executable, __file__, "one", "--kind", kind, "--name", name, "--solver", solver]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=cap, check=False)
        lines = done.stdout.strip().splitlines()
        error = done.stderr[-300:] or f"ended by signal {-done.returncode} (out of memory?)"
        found = json.loads(lines[-1]) if done.returncode == 0 and lines else {"error": error}
    except subprocess.TimeoutExpired:
        found = {"error": f"more than {cap:.0f} s"}
    store[key] = found
    RESULTS.mkdir(parents=True, exist_ok=True)
    STORE.write_text(json.dumps(store, indent=1, sort_keys=True))
    print(key, found, flush=True)
    return found


def load() -> dict:
    return json.loads(STORE.read_text()) if STORE.exists() else {}


def chosen(everything: tuple, only: str | None) -> list:
    wanted = None if only is None else only.split(",")
    return [item for item in everything if wanted is None or str(item) in wanted]


def cell(found: dict) -> str:
    if not found:
        return "not run"
    if "error" in found:
        return found["error"].strip().splitlines()[-1][:60] if found["error"].strip() else "failed"
    valid = found.get("least_eigenvalue", 0.0) >= -1e-9
    return f"{found['value']:.9g} in {found['seconds']:.2f} s" + ("" if valid else ", not feasible")


def report(store: dict) -> None:
    """docs/results/low_rank.md from what has been measured."""
    lines = ["# The low-rank interior-point method, measured", ""]
    lines += ["Command: `python benchmarks/low_rank.py table|maxcut|growth|profile`, then `report`.", ""]
    lines += [
        "Each peer ran in the same environment, one process each. `load` is the machine's load average",
        "",
    ]
    lines[-1:] = ["when LowRank ended: above the number of cores the seconds are too long."]
    lines += [*older(store), ""]
    head = "| problem | exact | LowRank | relative gap | iterations | GB | load |"
    for kind, names in (("network", problems.TABLE), ("sdplib", problems.MAX_CUT)):
        lines += ["", head + "".join(f" {peer} |" for peer in PEERS), "|" + "---|" * (7 + len(PEERS))]
        for name, exact in names.items():
            own = store.get(f"{kind}/{name}/LowRank", {})
            row = [name, f"{exact:.9g}" if exact else "", cell(own), f"{own.get('gap', float('nan')):.1e}"]
            row += [str(own.get("iterations", "")), f"{own.get('gigabytes', float('nan')):.2f}"]
            row += [f"{own.get('load', float('nan')):.1f}"]
            row += [cell(store.get(f"{kind}/{name}/{peer}", {})) for peer in PEERS]
            lines.append("| " + " | ".join(row) + " |")
    for axis, names in GROWTH.items():
        if any(key.startswith("random/") for key in store):
            lines += ["", f"![seconds and memory against {axis}](low_rank_{axis}.png)", ""]
            lines += growth_lines(store, names)
    lines += profile_lines([store[f"profile/{name}"] for name in PROFILED if f"profile/{name}" in store])
    (RESULTS / "low_rank.md").write_text("\n".join(lines) + "\n")


def older(store: dict) -> list[str]:
    """Which of the measurements shown were made before LowRank last changed."""
    shown = {f"network/{name}/LowRank": name for name in problems.TABLE}
    shown |= {f"sdplib/{name}/LowRank": name for name in problems.MAX_CUT}
    sizes = [name for names in GROWTH.values() for name in names]
    shown |= {f"random/{name}/LowRank": name for name in sizes}
    shown |= {f"random/{name}/LowRank-matrix-free": f"{name} matrix-free" for name in sizes}
    shown |= {f"profile/{name}": f"the profile of {name}" for name in PROFILED}
    made = {label: store[key].get("method", 0) for key, label in shown.items() if key in store}
    old = [label for label, method in made.items() if method < METHOD]
    if old and len(old) == len(made):
        return ["All rows are older than the last changes of [the method](../theory_low_rank.md)."]
    begin = "Measured before [the method](../theory_low_rank.md) last changed, and not again since: "
    return [begin + ", ".join(old) + "."] if old else []


def growth_lines(store: dict, names: list[str]) -> list[str]:
    """One line per size: seconds, memory, iterations and gap of both modes."""
    lines = ["| hidden layers x width | " + " | ".join(GROWING) + " |", "|---|" + "---|" * len(GROWING)]
    for name in names:
        row = [name]
        for solver in GROWING:
            found = store.get(f"random/{name}/{solver}", {})
            row.append(GROWN.format(**found) if "seconds" in found else cell(found))
        lines.append("| " + " | ".join(row) + " |")
    return lines


def profile_lines(found: list[dict]) -> list[str]:
    if not found:
        return []
    lines = ["", "## Where the time goes", "", "| part | " + " | ".join(f["name"] for f in found) + " |"]
    lines.append("|---|" + "---|" * len(found))
    lines.append("| seconds, with the profiler | " + " | ".join(f"{f['seconds']:.1f}" for f in found) + " |")
    for part in found[0]["shares"]:
        lines.append(f"| {part} | " + " | ".join(f"{100 * f['shares'][part]:.0f} %" for f in found) + " |")
    lines += [
        "",
        "Matrix products, factorisations and triangular solves, timed one by one in another run:",
        "",
    ]
    lines += ["| | " + " | ".join(f["name"] for f in found) + " |", "|---|" + "---|" * len(found)]
    rows = {
        "seconds": lambda f: f"{f['watched_seconds']:.1f}",
        "share of the run": lambda f: f"{100 * f['kernel_share']:.0f} %",
        "their rate, 1e9 operations a second": lambda f: f"{f['kernel_rate'] / 1e9:.0f}",
        "rate of the whole run": lambda f: f"{f['rate'] / 1e9:.0f}",
        "a product of order 1,500, one thread / all": lambda f: (
            f"{f['product_rate_one'] / 1e9:.0f} / {f['product_rate_all'] / 1e9:.0f}"
        ),
        "load average": lambda f: f"{f['load']:.1f}",
    }
    lines += [f"| {row} | " + " | ".join(show(f) for f in found) + " |" for row, show in rows.items()]
    return lines + operation_lines([f for f in found if "operations" in f])


def operation_lines(found: list[dict]) -> list[str]:
    """Operations of one iteration by kernel, in cubes of the number of variables."""
    if not found:
        return []
    kernels = sorted({kernel for f in found for kernel in f["operations"]})
    lines = [
        "",
        "Operations of an iteration (the start included) in units of N^3, N the number of variables;",
        "",
    ]
    lines[-1:] = ["those in single precision count as half, as they take half the time:", ""]
    lines += ["| kernel | " + " | ".join(f["name"] for f in found) + " |", "|---|" + "---|" * len(found)]
    for kernel in kernels:
        cells = (f"{f['operations'].get(kernel, 0.0):.2f}" for f in found)
        lines.append(f"| {kernel} | " + " | ".join(cells) + " |")
    totals = (f"{sum(f['operations'].values()):.1f}" for f in found)
    lines.append("| all | " + " | ".join(totals) + " |")
    return [*lines, "| iterations | " + " | ".join(str(f["iterations"]) for f in found) + " |"]


def plot(store: dict) -> None:
    """Log-log plots of seconds and memory, with the slope of the last half."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = {"width": [(w, f"2x{w}") for w in WIDTHS], "depth": [(d, f"{d}x40") for d in DEPTHS]}
    for axis, points in axes.items():
        figure, panels = plt.subplots(1, 2, figsize=(9, 4))
        for solver in GROWING:
            found = [(x, store.get(f"random/{name}/{solver}", {})) for x, name in points]
            found = [(x, f) for x, f in found if "seconds" in f]
            for panel, field in zip(panels, ("seconds", "gigabytes"), strict=True):
                if len(found) > 1:
                    x, y = np.array([(x, f[field]) for x, f in found]).T
                    half = len(x) // 2
                    slope = (
                        np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0] if len(x) - half > 1 else np.nan
                    )
                    panel.loglog(x, y, "o-", label=f"{solver}, slope {slope:.1f}")
                    panel.set(xlabel=axis, ylabel=field)
                    panel.legend()
        figure.tight_layout()
        figure.savefig(RESULTS / f"low_rank_{axis}.png", dpi=110)
        plt.close(figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["table", "maxcut", "growth", "profile", "report", "one"])
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--peers", default="", help="comma-separated peers to run as well, or 'all'")
    parser.add_argument("--cap", type=float, default=250.0, help="seconds per measurement")
    parser.add_argument("--again", action="store_true")
    for name in ("--kind", "--name", "--solver"):
        parser.add_argument(name)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.what == "one":
        print(json.dumps(solve_here(args.kind, args.name, args.solver)))
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    store = load()
    peers = PEERS if args.peers == "all" else tuple(p for p in args.peers.split(",") if p)
    if args.what in ("table", "maxcut"):
        kind, names = ("network", problems.TABLE) if args.what == "table" else ("sdplib", problems.MAX_CUT)
        for name in chosen(tuple(names), args.only):
            for solver in ("LowRank", *peers):
                measure(store, kind, name, solver, args.cap, args.again)
    if args.what == "growth":
        axes = [axis for axis in GROWTH if args.only in (None, axis)]
        for name in [n for axis in axes for n in GROWTH[axis]] or args.only.split(","):
            for solver in GROWING if args.solver is None else (args.solver,):
                measure(store, "random", name, solver, args.cap, args.again)
    if args.what == "profile":
        for name in chosen(PROFILED, args.only):
            store[f"profile/{name}"] = profile(problems.build("network", name), name) | {"method": METHOD}
            STORE.write_text(json.dumps(store, indent=1, sort_keys=True))
    plot(store)
    report(store)


if __name__ == "__main__":
    main()
