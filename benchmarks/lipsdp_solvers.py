"""LipSDP and ECLipsE on real networks, every ready solver, beside cvxpy's model of the same problem.

    python benchmarks/lipsdp_solvers.py [--data DIR] [--seconds 200] [--out docs/results/lipsdp_solvers.md]

Each figure is from a process of its own (peak memory is that process's). Build time is what
passes before the solver's own iterations: for lmikit the SDP and its cone form, for cvxpy the
expressions and the compilation. The cvxpy model gets the same reduced and scaled network.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time

import numpy as np

from lmikit import LmikitError, Network
from lmikit.certificates import verify
from lmikit.formulations import JointLipSDP, balancing_powers, norm_product_witness, scale_witness
from lmikit.methods import Eclipse, EclipseFast, LipSDP, SpectralProduct
from lmikit.network import reduce, with_scaled_layers

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFERENCES = {
    "lyr2n80test1": 0.737256982,
    "mnist_weights": 24.3663489,
    "fnn2_seed0": 7.8814958,
    "fnn3_seed0": 15.5813983,
}
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


def scaled_problem(network: Network) -> tuple[object, tuple[int, ...], JointLipSDP, np.ndarray]:
    """The reduction, its scaling, the formulation and a start for one network."""
    reduction = reduce(network)
    start = norm_product_witness(reduction.network)
    powers = balancing_powers(start, reduction.network)
    form = JointLipSDP(with_scaled_layers(reduction.network, powers))
    return reduction, powers, form, form.point(scale_witness(start, powers), 0.5)


def run_lmikit(network: Network, solver_name: str, seconds: float) -> dict[str, object]:
    """Build and solve apart, then the method as users call it, proven."""
    from lmikit.lmi._svec import SvecOrder
    from lmikit.solvers._conic import ConicForm

    solver = solvers()[solver_name]
    _, _, form, start = scaled_problem(network)
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


def run_cvxpy(network: Network, solver_name: str) -> dict[str, object]:
    """The same LMI as a cvxpy user writes it; its bound is a claim, nothing is proven."""
    import cvxpy as cp

    _, powers, form, _ = scaled_problem(network)
    net = form.network
    begun = time.perf_counter()
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
    problem = cp.Problem(cp.Maximize(F), [M >> 0])
    problem.solve(solver=solver_name.split(" + ")[1].upper())
    total = time.perf_counter() - begun
    solve = float(problem.solver_stats.solve_time)
    bound = np.ldexp(float(F.value) ** -0.5, sum(powers))
    return {"build": total - solve, "solve": solve, "total": total, "bound": bound, "proven": False}


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
    elif what not in METHODS:
        run_lmikit(small, what, seconds)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        if what in PEERS:
            result = run_cvxpy(network, what)
        elif what in METHODS:
            result = run_method(network, what, seconds)
        else:
            result = run_lmikit(network, what, seconds)
    except LmikitError as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    result["mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return result


def measured(data: pathlib.Path, name: str, what: str, seconds: float) -> dict[str, object]:
    command = [
        sys.executable,
        __file__,
        "--data",
        str(data),
        "--worker",
        name,
        what,
        "--seconds",
        str(seconds),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * seconds + 60)
    except subprocess.TimeoutExpired:
        return {"failed": f"killed after {3 * seconds + 60:.0f} s"}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"failed": f"exit status {done.returncode}: {last[0]}"}
    return json.loads(done.stdout.splitlines()[-1])


def solver_table(data: pathlib.Path, seconds: float) -> list[str]:
    lines = [
        "| network | solver | build s | solve s | all, proven s | memory MiB | bound | above reference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, reference in REFERENCES.items():
        for what in (*solvers(), *PEERS):
            row = measured(data, name, what, seconds)
            print(name, what, row, flush=True)
            if "failed" in row:
                lines.append(f"| {name} | {what} | | | | | {row['failed'][:90]} | |")
                continue
            claim = "" if row["proven"] else " (claimed)"
            lines.append(
                f"| {name} | {what} | {row['build']:.4f} | {row['solve']:.2f} | "
                f"{row['total']:.2f} | {row['mib']:.0f} | {row['bound']:.9g}{claim} | "
                f"{row['bound'] / reference - 1:+.1e} |"
            )
    return lines


def method_table(data: pathlib.Path, seconds: float) -> list[str]:
    lines = ["| network | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for name in fully_connected(data):
        cells = []
        for what in METHODS:
            row = measured(data, name, what, seconds)
            print(name, what, row, flush=True)
            cells.append(
                row["failed"][:60] if "failed" in row else f"{row['bound']:.8g} ({row['total']:.2f} s)"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def report(data: pathlib.Path, seconds: float, tables: str) -> str:
    text = [
        "# LipSDP and ECLipsE on real networks",
        "",
        f"Written by `python benchmarks/lipsdp_solvers.py`. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, shared with other work while it ran: times are upper estimates.",
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
            *solver_table(data, seconds),
            "",
        ]
    if "methods" in tables:
        text += [
            "## Methods, default solver, every fully connected network",
            "",
            "Proven bounds, seconds from weights to proof in brackets.",
            "",
            *method_table(data, seconds),
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
    parser.add_argument("--tables", default="solvers,methods")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "lipsdp_solvers.md")
    parser.add_argument("--worker", nargs=2, metavar=("NETWORK", "WHAT"))
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(options.data, *options.worker, options.seconds)))
        return
    text = report(options.data, options.seconds, options.tables)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
