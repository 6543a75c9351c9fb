"""Proven bounds on SDPLIB and on random SDPs in integers whose optimum is exactly known.

    python benchmarks/proven_sdp.py [--only NAME ...] [--random N] [--limit SECONDS]

Each problem runs in a process of its own; with --only, the other rows come from the JSON beside the
output. `check` is lmikit.check in floats and in integers. The command fails where a proven bound is wrong.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import numpy as np

import lmikit
from lmikit import solvers
from lmikit.lmi import read_sdpa

# Borchers, SDPLIB 1.2, in SDPA's sign convention, with the digits that are published; hinf* are uncertain
OPTIMA = {
    "arch0": 5.66517e-01, "control1": 1.778463e01, "control2": 8.300000e00, "control3": 1.363327e01,
    "gpp100": -4.49435e01, "hinf1": 2.0326e00, "hinf12": 2e-1, "hinf2": 1.0967e01, "infd1": "unbounded",
    "infp1": "infeasible", "maxG11": 6.291648e02, "mcp100": 2.261574e02, "mcp124-1": 1.419905e02,
    "qap5": -4.360e02, "theta1": 2.300000e01, "truss1": -8.999996e00, "truss2": -1.233804e02,
    "truss3": -9.109996e00, "truss4": -9.009996e00,
}  # fmt: skip
NO_INTERIOR = ("gpp100", "hinf1", "hinf2", "hinf12", "qap5")
FEW_TERMS = ("maxG11", "mcp100", "mcp124-1", "theta1")
# rates of VSDP (MATLAB, INTLAB) on SDPLIB as its authors publish them
PUBLISHED = (
    "VSDP on all 92 of SDPLIB, as published: a lower bound for 78, an upper one for 56, both for 52 (57 %), "
    "median relative width 6.5e-7, worst 1.7e-2; no two sides for gpp100 and qap5."
)


def solver_for(name: str) -> solvers.AbstractSolver | None:
    """The one that suits the structure; `Dense` where it is there."""
    if name in FEW_TERMS:
        return solvers.LowRank()
    dense = getattr(solvers, "Dense", None)
    return solvers.Clarabel(chordal=False) if dense is None else dense()


def child(path: str, name: str, limit: float) -> None:
    """Prove one problem and check its certificate; JSON on stdout."""
    sdp = read_sdpa(path)
    start = time.process_time()
    result = lmikit.prove(sdp, solver_for(name), limit)
    row = {
        "status": result.status, "lower": result.lower, "upper": result.upper, "width": result.width,
        "solver": result.solver, "solving": result.seconds_solving, "proving": result.seconds_proving,
        "cpu": time.process_time() - start, "reasons": list(result.reasons), "checks": [],
    }  # fmt: skip
    if result:
        row["faces"] = bool(result.certificate.witness.dual) and any(
            face is not None for face in result.certificate.witness.dual.faces
        )
        for exact in (False, True):
            start = time.perf_counter()
            verdict = lmikit.check(result.certificate, sdp, exact=exact)
            row["checks"].append([verdict.ok, time.perf_counter() - start])
    json.dump(row, sys.stdout)


def measure(path: pathlib.Path, name: str, limit: float) -> dict:
    """One problem in another process."""
    command = [sys.executable, __file__, "--child", str(path), name, "--limit", str(limit)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * limit + 600, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(name, getattr(error, "stderr", ""), file=sys.stderr)
        return {"status": "no answer", "reasons": [type(error).__name__], "checks": [], "solver": ""}
    return json.loads(done.stdout.splitlines()[-1])


def random_problems(count: int) -> dict:
    """Statuses by kind, unsound ones, widths of the two-sided."""
    from lmikit.testing import random_exact

    kinds = ("interior", "degenerate", "infeasible", "unbounded")
    counts: collections.Counter = collections.Counter()
    unsound, refused, widths = 0, 0, []
    for seed in range(count):
        kind = kinds[seed % 4]
        known = random_exact(np.random.default_rng(seed), kind, quadratic=bool(seed // 4 % 2))
        result = lmikit.prove(known.sdp)
        if result.status in ("infeasible", "unbounded"):
            right = known.optimum == (math.inf if result.status == "infeasible" else -math.inf)
        else:
            right = result.lower <= known.optimum <= result.upper
        unsound += not right
        counts[f"{kind}: {result.status}"] += 1
        if result:
            refused += not lmikit.check(result.certificate, known.sdp, exact=seed % 10 == 0)
        if math.isfinite(result.width):
            widths.append(result.width)
    return {
        "count": count, "unsound": unsound, "refused": refused, "counts": dict(sorted(counts.items())),
        "median": statistics.median(widths) if widths else math.nan, "worst": max(widths, default=math.nan),
    }  # fmt: skip


def contradicts(name: str, row: dict) -> bool:
    """Whether a proven bound excludes the published optimum beyond its last digit (hinf* are uncertain)."""
    optimum = OPTIMA[name]
    if isinstance(optimum, str):
        return (
            row["status"] in ("infeasible", "unbounded", "optimum", "feasible") and row["status"] != optimum
        )
    if name.startswith("hinf") or "lower" not in row:
        return False
    slack = 1e-5 * max(1.0, abs(optimum))
    return not row["lower"] - slack <= optimum <= row["upper"] + slack


def table(rows: dict[str, dict], random: dict | None) -> str:
    """The report in Markdown."""
    lines = [
        "# Proven SDPs",
        "",
        f"Written by `python benchmarks/proven_sdp.py` on {platform.machine()}, {os.cpu_count()} cores "
        "(shared: read seconds as orders of magnitude). Width is (upper - lower) / max(1, |bounds|); "
        "solving holds all solves, also those for interior points; checks are of the certificate, in "
        "floats and in integers.",
        "",
        "| problem | published | proven | width | solver | solving, s | proving, s | checks, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        low, high = row.get("lower", -math.inf), row.get("upper", math.inf)
        proven = row["status"] if math.isinf(low) else f"[{low:.10g}, {high:.10g}]"
        proven = (
            f"<= {high:.10g}"
            if math.isinf(low) and math.isfinite(high) and row["status"] == "feasible"
            else proven
        )
        width = f"{row['width']:.1e}" if math.isfinite(row.get("width", math.inf)) else "-"
        face = " (on a face)" if row.get("faces") else ""
        checks = ", ".join(f"{'accepted' if ok else 'REFUSED'} {s:.1f}" for ok, s in row["checks"]) or "-"
        optimum = OPTIMA[name] if isinstance(OPTIMA[name], str) else f"{OPTIMA[name]:.7g}"
        lines.append(
            f"| {name} | {optimum} | {proven}{face} | {width} "
            f"| {row['solver']} | {row.get('solving', math.nan):.1f} | {row.get('proving', math.nan):.1f} "
            f"| {checks} |"
        )
    inner = [row for name, row in rows.items() if name not in (*NO_INTERIOR, "infd1", "infp1")]
    narrow = sum(row.get("width", math.inf) <= 1e-6 for row in inner)
    both = [row["width"] for row in rows.values() if math.isfinite(row.get("width", math.inf))]
    lines += [
        "",
        f"Two sides within 1e-6: {narrow} of the {len(inner)} measured whose two sides have interiors"
        + (f"; of all, {len(both)} two-sided, median width {statistics.median(both):.1e}." if both else "."),
        "",
        PUBLISHED,
        "",
        "hinf12's published optimum 2e-1 is refuted by a feasible point with 2.6e-5 (proven above).",
    ]
    if random:
        lines += [
            "",
            "## Random problems in integers, optimum exactly known",
            "",
            f"{random['count']} problems (equalities and second-order cones in the optimal ones, half of "
            f"them with quadratic objectives): {random['unsound']} unsound, {random['refused']} certificates "
            f"refused by the checker; two-sided width median {random['median']:.1e}, "
            f"worst {random['worst']:.1e}.",
            "",
            "| kind: proven | count |",
            "|---|---|",
            *(f"| {kind} | {count} |" for kind, count in random["counts"].items()),
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    data = pathlib.Path(os.environ.get("LMIKIT_DATA", root.parent / "shared" / "data"))
    parser.add_argument("--data", type=pathlib.Path, default=data / "sdplib")
    parser.add_argument("--only", nargs="*", default=list(OPTIMA), choices=list(OPTIMA))
    parser.add_argument(
        "--random", type=int, default=100, help="how many random problems (default: %(default)s)"
    )
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for all solves of one problem")
    parser.add_argument("--output", type=pathlib.Path, default=root / "docs" / "results" / "proven_sdp.md")
    parser.add_argument("--child", nargs=2, metavar=("PATH", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.limit)
        return 0
    raw = arguments.output.with_suffix(".json")
    stored = json.loads(raw.read_text()) if raw.exists() else {"rows": {}, "random": None}
    for name in arguments.only:
        path = arguments.data / f"{name}.dat-s"
        if path.exists():
            stored["rows"][name] = measure(path, name, arguments.limit)
            print(name, stored["rows"][name], flush=True)
    if arguments.random:
        stored["random"] = random_problems(arguments.random)
        print(stored["random"], flush=True)
    rows = {name: stored["rows"][name] for name in OPTIMA if name in stored["rows"]}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(table(rows, stored["random"]))
    raw.write_text(json.dumps(stored, indent=1) + "\n")
    wrong = [name for name, row in rows.items() if contradicts(name, row)]
    unsound = stored["random"]["unsound"] if stored["random"] else 0
    if wrong or unsound:
        print(f"UNSOUND: {wrong}, {unsound} random", file=sys.stderr)
    return 1 if wrong or unsound else 0


if __name__ == "__main__":
    sys.exit(main())
