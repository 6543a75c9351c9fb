"""Dense beside Clarabel and CVXOPT on SDPLIB, and its growth in the order and the number of variables.

    python benchmarks/dense.py --data FOLDER [--cap SECONDS] [--only NAMES] [--output docs/results/dense.md]

Seconds are CPU seconds of one solve on one BLAS thread, data in memory, the best of three where it is short
(of Dense and CVXOPT in turns). Errors are DIMACS errors: |r| of
stationarity over 1 + |c|, least eigenvalue below 0 over 1 + the largest entry of the constants, gap over
1 + |objective| + |bound|. CVXOPT is called directly, with its default options, and only where it is
installed; it is no dependency.
"""

import argparse
import importlib.util
import pathlib
import platform
import time
from typing import Any

import numpy as np
import scipy.sparse as sp

from lmikit import LmikitError
from lmikit._arrays import blas_threads
from lmikit.lmi import LMI, SDP, Solution, read_sdpa
from lmikit.lmi._svec import SvecOrder, smat, to_svec
from lmikit.solvers import Clarabel, Dense

NAMES = (
    *("arch0", "control1", "control2", "control3", "gpp100", "hinf1", "hinf2", "hinf12", "infd1", "infp1"),
    *("maxG11", "mcp100", "mcp124-1", "qap5", "theta1", "truss1", "truss2", "truss3", "truss4"),
)


def errors(sdp: SDP, solution: Solution) -> tuple[float, float, float]:
    """Primal, dual and gap error in the sense of DIMACS; nan without a point."""
    if solution.y is None or solution.dual is None or not np.isfinite(solution.objective):
        return np.nan, np.nan, np.nan
    there, back = sdp.residuals(solution.y), sdp.dual_residuals(solution.y, solution.dual)
    constant = max([0.0, *(float(np.abs(lmi.F0.data).max(initial=0.0)) for lmi in sdp.lmis)])
    size = 1.0 + abs(there.objective) + abs(back.objective)
    return (
        there.violation / (1.0 + constant),
        back.violation / (1.0 + float(np.linalg.norm(sdp.c))),
        abs(back.gap) / size,
    )


def cvxopt_problem(sdp: SDP) -> tuple[Any, ...]:
    """The arguments of cvxopt.solvers.sdp: Gs x + slack = hs with Gs = -F, hs = F0."""
    from cvxopt import matrix, spmatrix

    def sparse(M: sp.sparray) -> Any:
        coo = sp.coo_array(M)
        return spmatrix(coo.data.tolist(), coo.row.tolist(), coo.col.tolist(), coo.shape)

    Gs, hs = [], []
    for lmi in sdp.lmis:
        n, (_, F) = lmi.size, to_svec(lmi, SvecOrder.TRIPLETS)
        index = smat(np.arange(F.shape[0], dtype=float), SvecOrder.TRIPLETS).astype(int).T.ravel()
        Gs.append(sparse(-sp.csr_array(F)[index]))
        hs.append(matrix(lmi.F0.toarray()))
        assert n * n == index.size
    return matrix(sdp.c.copy()), sparse(sdp.G), matrix(sdp.h.copy()), Gs, hs


def cvxopt_once(arguments: tuple[Any, ...]) -> tuple[float, str]:
    """Seconds and status, or why not."""
    from cvxopt import solvers

    started = time.process_time()
    try:
        status = str(solvers.sdp(*arguments, options={"show_progress": False})["status"])
    except (ArithmeticError, ValueError) as error:
        status = type(error).__name__
    return time.process_time() - started, status


def clarabel_row(sdp: SDP, cap: float) -> str:
    """Wall seconds (it may work in a process of its own) and status under the cap."""
    started = time.perf_counter()
    try:
        solution = Clarabel().solve(sdp, time_limit=cap)
    except LmikitError as error:
        return type(error).__name__
    return f"{time.perf_counter() - started:.2f} {solution.status.name}"


def row(name: str, sdp: SDP, cap: float) -> tuple[str, float]:
    """One line of the table, and the ratio to CVXOPT's seconds."""
    peer = importlib.util.find_spec("cvxopt") is not None and name != "maxG11"
    arguments = cvxopt_problem(sdp) if peer else ()
    best, other, status = np.inf, np.nan, "not run"
    for _ in range(3):
        started = time.process_time()
        solution = Dense().solve(sdp)
        best = min(best, time.process_time() - started)
        if peer:
            spent, status = cvxopt_once(arguments)
            other = float(np.fmin(other, spent))
        if best > 1.0:
            break
    found = "".join(f" {error:.1e} |" for error in errors(sdp, solution))
    ratio = best / other
    size = f"{sdp.variables}, {max((lmi.size for lmi in sdp.lmis), default=0)}"
    answer = f"{solution.status.name} | {solution.objective:.9g} |{found}"
    peers = f"{clarabel_row(sdp, cap)} | {other:.3f} {status} | {ratio:.1f}"
    return f"| {name} | {size} | {answer} {best:.3f} | {peers} |".replace("nan", "-"), ratio


def full_problem(n: int, m: int) -> SDP:
    """Full F_i, with an interior on both sides."""
    rng = np.random.default_rng(0)
    i, j = np.triu_indices(n)
    eye, weight = sp.eye_array(n, format="csc"), np.where(i == j, 1.0, 2.0)
    B = rng.standard_normal((m, i.size))
    B[0] = i == j
    F0, X = rng.standard_normal((2, n, n))
    X = X @ X.T / n + np.eye(n)
    E = sp.csc_array((B * weight).T)
    lmi = LMI(sp.csc_array(F0 + F0.T), eye[:, i], eye[:, j], E)
    return SDP((B * weight) @ X[i, j], (lmi,))


def growth(picture: pathlib.Path) -> list[str]:
    """Seconds against n at m = 40 and against m at n = 40, as lines of a table and a picture."""
    lines, curves = ["| n | m | iterations | seconds |", "|---:|---:|---:|---:|"], []
    for label, sizes in (
        ("order n, m = 40", [(n, 40) for n in (20, 40, 80, 160)]),
        ("variables m, n = 40", [(40, m) for m in (20, 80, 320, 640)]),
    ):
        points = []
        for n, m in sizes:
            sdp = full_problem(n, m)
            started = time.process_time()
            solution = Dense().solve(sdp)
            points.append((n if "order" in label else m, time.process_time() - started))
            lines.append(
                f"| {n} | {m} | {solution.iterations} ({solution.status.name}) | {points[-1][1]:.2f} |"
            )
        curves.append((label, points))
    if importlib.util.find_spec("matplotlib") is not None:
        import matplotlib
        import matplotlib.ticker

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(5, 3.5))
        for label, points in curves:
            axes.loglog(*zip(*points, strict=True), "o-", label=label)
        axes.set(xlabel="n or m", ylabel="seconds")
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        axes.legend()
        figure.tight_layout()
        figure.savefig(picture, dpi=120)
    return lines


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--cap", type=float, default=30.0)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/results/dense.md"))
    arguments = parser.parse_args()
    head = [
        "# Dense on SDPLIB",
        "",
        f"Written by `python benchmarks/dense.py`, {platform.machine()}, one BLAS thread, on a machine",
        f"shared with other work; Clarabel is ended after {arguments.cap:g} s. Seconds are CPU seconds (the",
        "best of three in turns with CVXOPT; of Clarabel wall seconds of one solve), m the number of",
        "variables, n the largest order. Errors are DIMACS errors.",
        *([] if arguments.only == ",".join(NAMES) else [f"Run with --only {arguments.only}."]),
        "",
        "| problem | m, n | status | objective | primal | dual | gap | Dense s | Clarabel s | CVXOPT s "
        "| Dense / CVXOPT |",
        "|---|---|---|---:|---:|---:|---:|---:|---|---|---:|",
    ]
    rows, ratios = [], {}
    with blas_threads(1):
        for name in arguments.only.split(","):
            line, ratios[name] = row(name, read_sdpa(arguments.data / f"{name}.dat-s"), arguments.cap)
            rows.append(line)
            print(line, flush=True)
        table = growth(arguments.output.with_suffix(".png"))
    known = np.array([ratio for ratio in ratios.values() if np.isfinite(ratio)])
    if known.size:
        rows += [
            "",
            f"At most 2 times CVXOPT's seconds on {int((known <= 2.0).sum())} of {known.size} problems.",
        ]
    tail = [
        "",
        "CVXOPT's default options end at a relative gap of 1e-6 and a feasibility of 1e-7, Dense's at 1e-8",
        "for both and after its own checks of the answer. Above 2 are problems of a few milliseconds: an",
        "iteration of ours is several hundred calls of NumPy, whatever the size.",
        "",
        "hinf12 has no optimum that is attained: y grows without end, and the iterates with it.",
        "",
    ]
    tail += ["## Growth with full matrices", "", *table, "", f"![growth]({arguments.output.stem}.png)", ""]
    arguments.output.write_text("\n".join([*head, *rows, *tail]))


if __name__ == "__main__":
    main()
