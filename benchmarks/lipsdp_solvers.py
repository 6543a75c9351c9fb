"""LipSDP and ECLipsE on real networks, every ready solver, beside cvxpy's model of the same problem.

    python benchmarks/lipsdp_solvers.py [--data DIR] [--seconds 200] [--out docs/results/lipsdp_solvers.md]

Each figure is from a process of its own (peak memory is that process's). Build time is what
passes before the solver's own iterations: for lmikit the SDP and its cone form, for cvxpy the
expressions and the compilation. The cvxpy model gets the same reduced and scaled network.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from lmikit import LmikitError, Network
from lmikit.certificates import verify
from lmikit.formulations import JointLipSDP, norm_product_witness
from lmikit.methods import Eclipse, EclipseFast, LipSDP, SpectralProduct
from lmikit.reductions import LayerPowers, reduce, scale_witness

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFERENCES = {
    "lyr2n80test1": 0.737256982,
    "mnist_weights": 24.3663489,
    "fnn2_seed0": 7.8814958,
    "fnn3_seed0": 15.5813983,
}
BUILDS = (
    *REFERENCES,
    "eclipse_rand_L2_n80",
    "eclipse_rand_L5_n80",
    "eclipse_rand_L10_n80",
)
PEERS = ("cvxpy + Clarabel", "cvxpy + SCS")
METHODS = ("product", "EclipseFast", "Eclipse", "Eclipse lookahead", "LipSDP layer", "LipSDP neuron")


def load(data: pathlib.Path, name: str) -> Network:
    with np.load(data / "networks" / f"{name}.npz") as file:
        count = sum(key.startswith("W") for key in file.files)
        return Network.from_arrays([file[f"W{k}"] for k in range(count)])


def fully_connected(data: pathlib.Path) -> list[str]:
    names = []
    for path in sorted((data / "networks").glob("*.npz")):
        with np.load(path) as file:
            if not any(key.startswith("K") for key in file.files):
                names.append(path.stem)
    return names


def solvers() -> dict[str, object]:
    """Ready solvers by their row's name; a CVXPY bridge adds nothing here."""
    import lmikit.solvers as room

    found = {
        i.name: getattr(room, i.name)()
        for i in room.available()
        if i.ready and i.name not in ("CVXPY", "MOSEK")
    }
    if "SCS" in found:
        found["SCS (its default tolerance)"] = room.SCS(tol=None)
    return found


def scaled_problem(network: Network) -> tuple[int, JointLipSDP, np.ndarray]:
    """p, the formulation of the prepared network, whose L is 2**-p times the network's, and a start."""
    prepared = reduce(network)
    start = norm_product_witness(prepared.network)
    levels = LayerPowers.to_levels(prepared.network, start)
    scaled, form = scale_witness(start, levels.powers), JointLipSDP(levels.network)
    return sum(prepared.undo(levels.undo(scaled)).layer_pow2), form, form.point(scaled, 0.5)


def run_lmikit(network: Network, solver_name: str, seconds: float) -> dict[str, object]:
    """Build and solve apart, then the method as users call it, proven."""
    from lmikit.lmi._svec import SvecOrder
    from lmikit.solvers._conic import ConicForm

    solver = solvers()[solver_name]
    _, form, start = scaled_problem(network)
    begun = time.perf_counter()
    sdp = form.sdp()
    build = time.perf_counter() - begun
    if solver_name != "LowRank":
        begun = time.perf_counter()
        ConicForm.of(sdp, SvecOrder.UPPER)
        cone = time.perf_counter() - begun
    else:
        cone = 0.0
    begun = time.perf_counter()
    solver.solve(sdp, warm_start=start, time_limit=seconds)  # type: ignore[attr-defined]
    solve = time.perf_counter() - begun - cone
    begun = time.perf_counter()
    witness = LipSDP().propose(network, solver=solver, time_limit=seconds)  # type: ignore[arg-type]
    bound = verify(network, witness).bound
    total = time.perf_counter() - begun
    return {"build": build + cone, "solve": solve, "total": total, "bound": bound, "proven": True}


def cvxpy_model(net: Network) -> tuple[object, object]:
    """The same LMI as a cvxpy user writes it: (problem, F)."""
    import cvxpy as cp

    n0, hidden = net.input_dim, net.dims[1:-1]
    N = sum(hidden)
    lam, F = cp.Variable(N, nonneg=True), cp.Variable()
    A, at_row, at_col = np.zeros((N, n0 + N)), 0, 0
    for W in net.weights[:-1]:
        A[at_row : at_row + W.shape[0], at_col : at_col + W.shape[1]] = W
        at_row, at_col = at_row + W.shape[0], at_col + W.shape[1]
    B = np.hstack([np.zeros((N, n0)), np.eye(N)])
    Y = np.hstack([np.zeros((net.output_dim, n0 + N - hidden[-1])), net.weights[-1]])
    half = B.T @ cp.diag(lam) @ A
    corner = np.diag(np.concatenate([np.ones(n0), np.zeros(N)]))
    M = corner + B.T @ cp.diag(lam) @ B - (half + half.T) / 2 - F * (Y.T @ Y)
    return cp.Problem(cp.Maximize(F), [M >> 0]), F


def run_cvxpy(network: Network, solver_name: str) -> dict[str, object]:
    """Built, compiled and solved by cvxpy; its bound is a claim, nothing is proven."""
    pow2, form, _ = scaled_problem(network)
    begun = time.perf_counter()
    problem, F = cvxpy_model(form.network)
    problem.solve(solver=solver_name.split(" + ")[1].upper())  # type: ignore[attr-defined]
    total = time.perf_counter() - begun
    solve = float(problem.solver_stats.solve_time)  # type: ignore[attr-defined]
    bound = np.ldexp(float(F.value) ** -0.5, pow2)  # type: ignore[attr-defined]
    return {"build": total - solve, "solve": solve, "total": total, "bound": bound, "proven": False}


def run_build(network: Network) -> dict[str, object]:
    """CPU seconds (best of three) to the data that a cone solver gets."""
    import cvxpy as cp

    from lmikit.lmi._svec import SvecOrder
    from lmikit.solvers._conic import ConicForm

    def best(build: Callable[[], object]) -> float:
        seconds = []
        for _ in range(3):
            begun = time.process_time()
            build()
            seconds.append(time.process_time() - begun)
        return min(seconds)

    def ours_whole() -> object:
        return ConicForm.of(scaled_problem(network)[1].sdp(), SvecOrder.UPPER)

    def ours(form: JointLipSDP) -> object:
        return ConicForm.of(form.sdp(), SvecOrder.UPPER)

    form = scaled_problem(network)[1]
    return {
        "dims": "-".join(map(str, network.dims)),
        "reduced": "-".join(map(str, form.network.dims)),
        "ours": best(lambda: ours(form)),
        "ours_whole": best(ours_whole),
        "cvxpy_reduced": best(lambda: cvxpy_model(form.network)[0].get_problem_data(cp.CLARABEL)),  # type: ignore[attr-defined]
        "cvxpy": best(lambda: cvxpy_model(network)[0].get_problem_data(cp.CLARABEL)),  # type: ignore[attr-defined]
    }


def run_method(network: Network, method_name: str, seconds: float) -> dict[str, object]:
    method = {
        "product": SpectralProduct(),
        "EclipseFast": EclipseFast(),
        "Eclipse": Eclipse(),
        "Eclipse lookahead": Eclipse(criterion="lookahead"),
        "LipSDP layer": LipSDP(multipliers="layer"),
        "LipSDP neuron": LipSDP(),
    }[method_name]
    begun = time.perf_counter()
    limit = seconds if method.uses_solver else None
    bound = verify(network, method.propose(network, time_limit=limit)).bound
    return {"total": time.perf_counter() - begun, "bound": bound, "proven": True}


def worker(data: pathlib.Path, name: str, what: str, seconds: float) -> dict[str, object]:
    network = load(data, name)
    small = Network.from_arrays([np.eye(2) / 2, np.ones((2, 2)) / 3, np.ones((1, 2))])
    if what in PEERS:  # imports and first calls are nobody's build time or memory
        run_cvxpy(small, what)
    elif what not in METHODS and what != "build":
        run_lmikit(small, what, seconds)
    try:
        if what == "build":
            result = run_build(network)
        elif what in PEERS:
            result = run_cvxpy(network, what)
        elif what in METHODS:
            result = run_method(network, what, seconds)
        else:
            result = run_lmikit(network, what, seconds)
    except LmikitError as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    result["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


@dataclasses.dataclass
class Bench:
    """Measures in processes of their own; finished rows are kept in `cache` for the next run."""

    data: pathlib.Path
    seconds: float
    cache: pathlib.Path | None
    only_cached: bool = False

    def measured(self, name: str, what: str) -> dict[str, object]:
        known = json.loads(self.cache.read_text()) if self.cache and self.cache.exists() else {}
        key = f"{name}: {what}"
        if key in known:
            return known[key]
        if self.only_cached:
            return {"failed": "not run"}
        row = self._run(name, what)
        print(key, row, flush=True)
        if self.cache:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            self.cache.write_text(json.dumps({**known, key: row}, indent=1))
        return row

    def _run(self, name: str, what: str) -> dict[str, object]:
        limit = 3 * self.seconds + 60
        command = [sys.executable, __file__, "--data", str(self.data), "--worker", name, what]
        command += ["--seconds", str(self.seconds)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"failed": f"killed after {limit:.0f} s"}
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            return {"failed": f"exit status {done.returncode}: {last[0]}"}
        return json.loads(done.stdout.splitlines()[-1])


def build_table(bench: Bench) -> list[str]:
    lines = [
        "| network | as reduced | lmikit ms | with reduction ms | cvxpy, reduced ms | cvxpy, as given ms |",
        "|---|---|---|---|---|---|",
    ]
    for name in BUILDS:
        row = bench.measured(name, "build")
        if "failed" in row:
            lines.append(f"| {name} | {row['failed']} | | | | |")
            continue
        times = " | ".join(
            f"{1e3 * float(row[key]):.1f}" for key in ("ours", "ours_whole", "cvxpy_reduced", "cvxpy")
        )
        lines.append(f"| {name} ({row['dims']}) | {row['reduced']} | {times} |")
    return lines


def solver_table(bench: Bench) -> list[str]:
    lines = [
        "| network | solver | solve s | all s | peak memory MiB | bound | above reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, reference in REFERENCES.items():
        for what in (*solvers(), *PEERS):
            row = bench.measured(name, what)
            if "failed" in row:
                lines.append(f"| {name} | {what} | | | | {row['failed'][:90]} | |")
                continue
            claim = "" if row["proven"] else " (claimed)"
            lines.append(
                f"| {name} | {what} | {row['solve']:.2f} | "
                f"{row['total']:.2f} | {row['mib']:.0f} | {row['bound']:.9g}{claim} | "
                f"{row['bound'] / reference - 1:+.1e} |"
            )
    return lines


def method_table(bench: Bench) -> list[str]:
    lines = ["| network | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for name in fully_connected(bench.data):
        cells = []
        for what in METHODS:
            row = bench.measured(name, what)
            cells.append(
                row["failed"][:60] if "failed" in row else f"{row['bound']:.8g} ({row['total']:.2f} s)"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def report(bench: Bench, tables: str) -> str:
    text = [
        "# LipSDP and ECLipsE on real networks",
        "",
        f"Written by `python benchmarks/lipsdp_solvers.py`. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, shared with other work while it ran: times are upper estimates. "
        f"Time limit of one solve: {bench.seconds:.0f} s; a bound reached at the limit is proven as well.",
        "",
    ]
    if "build" in tables:
        text += [
            "## Build time",
            "",
            "CPU milliseconds to the data of a cone solver, best of three. The cvxpy model of the reduced "
            "network is the same problem; that of the network as given is what a user of cvxpy writes.",
            "",
            *build_table(bench),
            "",
        ]
    if "solvers" in tables:
        text += [
            "## LipSDP, one multiplier per neuron: solvers",
            "",
            "Every bound without a mark is proven (`certificates.verify`). Solve is one call of the solver; "
            "'all, proven' is reduction, start, build, solve, repair and proof. A bound marked as claimed "
            "is the solver's own number.",
            "",
            *solver_table(bench),
            "",
        ]
    if "methods" in tables:
        text += [
            "## Methods, default solver, every fully connected network",
            "",
            "Proven bounds, seconds from weights to proof in brackets.",
            "",
            *method_table(bench),
            "",
        ]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(default))
    parser.add_argument("--seconds", type=float, default=200.0, help="time limit of one solve")
    parser.add_argument("--tables", default="build,solvers,methods")
    parser.add_argument("--cache", type=pathlib.Path, help="JSON file of finished rows, read and extended")
    parser.add_argument("--only-cached", action="store_true", help="write the report from the cache alone")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "lipsdp_solvers.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(options.data, *options.worker, options.seconds)))
        return
    bench = Bench(options.data, options.seconds, options.cache, options.only_cached)
    text = report(bench, options.tables)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
