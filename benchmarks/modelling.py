"""Build time of hand-written LMIs: lmikit's builder beside cvxpy's, up to the data that a solver takes.

    python benchmarks/modelling.py [--repeat 5] [--output docs/results/modelling.md]

lmikit: from an empty `Problem` to the compiled `SDP`, and on to the conic matrices of Clarabel.
cvxpy: from an empty problem to `get_problem_data(CLARABEL)`, the same matrices. The times are the
least of the repetitions. Both problems are solved once at the smaller sizes, and must agree.

The second table adds the solve, by the same solver: from an empty problem to the optimum, in CPU seconds.
"""

import argparse
import itertools
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

import lmikit
from lmikit.lmi import SDP, Problem, block
from lmikit.lmi._svec import SvecOrder
from lmikit.solvers import SCS, Clarabel
from lmikit.solvers._conic import ConicForm

_SOLVED = 100  # variables up to which both problems are solved to compare them


def chain(widths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Weights of a random chain, scaled to unit variance."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(widths)]


def lyapunov(n: int) -> tuple[Callable[[], SDP], Callable[[], Any]]:
    """A'P + P A + I <= 0, P >= I for a stable dense A: n(n+1)/2 variables."""
    A = np.random.default_rng(0).standard_normal((n, n)) / np.sqrt(n) - 2 * np.eye(n)

    def ours() -> SDP:
        problem = Problem()
        P = problem.symmetric(n, "P")
        problem.add(P >> np.eye(n))
        problem.add(A.T @ P + P @ A << -np.eye(n))
        problem.minimise(P.trace())
        return problem.compile()

    def theirs() -> Any:
        P = cp.Variable((n, n), symmetric=True)
        F = A.T @ P + P @ A
        return cp.Problem(cp.Minimize(cp.trace(P)), [P >> np.eye(n), F << -np.eye(n)])

    return ours, theirs


def block_tridiagonal(layers: int, width: int) -> tuple[Callable[[], SDP], Callable[[], Any]]:
    """LipSDP's matrix of a ReLU chain: one multiplier per neuron, block tridiagonal."""
    weights = chain([width] * (layers + 2))
    n = layers

    def rows(T: list[Any], rho: Any, eye: Any) -> list[list[Any]]:
        grid: list[list[Any]] = [[None] * (n + 1) for _ in range(n + 1)]
        for k in range(n):
            coupling = weights[k].T @ T[k]
            grid[k][k + 1], grid[k + 1][k] = -coupling, -coupling.T
            grid[k + 1][k + 1] = 2 * T[k]
        grid[0][0] = rho * eye
        grid[n][n] = grid[n][n] - weights[n].T @ weights[n]
        return grid

    def ours() -> SDP:
        problem = Problem()
        T = [problem.diagonal(width, f"T{k}") for k in range(n)]
        rho = problem.scalar("rho")
        problem.add(block(rows(T, rho, sp.eye_array(width))) >> 0)
        for multiplier in T:
            problem.add(multiplier >> 0)
        problem.minimise(rho)
        return problem.compile()

    def theirs() -> Any:
        lam = [cp.Variable(width, nonneg=True) for _ in range(n)]
        rho = cp.Variable()
        grid = rows([cp.diag(x) for x in lam], rho, np.eye(width))
        zero = np.zeros((width, width))
        F = cp.bmat([[zero if b is None else b for b in row] for row in grid])
        return cp.Problem(cp.Minimize(rho), [F >> 0])

    return ours, theirs


def max_cut(n: int) -> tuple[Callable[[], SDP], Callable[[], Any]]:
    """The dual of max-cut: diag(x) - L PSD for the Laplacian of a sparse random graph."""
    graph = sp.random_array((n, n), density=4 / n, rng=np.random.default_rng(0))
    graph = sp.csc_array(graph + graph.T)
    laplacian = sp.csc_array(sp.diags_array(graph.sum(axis=0)) - graph)

    def ours() -> SDP:
        problem = Problem()
        x = problem.diagonal(n, "x")
        problem.add(x >> laplacian)
        problem.minimise(x.trace())
        return problem.compile()

    def theirs() -> Any:
        x = cp.Variable(n)
        return cp.Problem(cp.Minimize(cp.sum(x)), [cp.diag(x) - laplacian >> 0])

    return ours, theirs


CASES = {
    "Lyapunov, dense A, n = 10": lyapunov(10),
    "Lyapunov, dense A, n = 45": lyapunov(45),
    "Lyapunov, dense A, n = 100": lyapunov(100),
    "LipSDP chain, 2 x 20": block_tridiagonal(2, 20),
    "LipSDP chain, 2 x 50": block_tridiagonal(2, 50),
    "LipSDP chain, 10 x 20": block_tridiagonal(10, 20),
    "LipSDP chain, 20 x 50": block_tridiagonal(20, 50),
    "LipSDP chain, 4 x 300": block_tridiagonal(4, 300),
    "max-cut, n = 400": max_cut(400),
    "max-cut, n = 2000": max_cut(2000),
}


def bounded_real(n: int) -> tuple[Callable[[], Problem], Callable[[], Any]]:
    """The least g with [A'P + PA, PB, C'; B'P, -g I, 0; C, 0, -g I] <= 0, P >= 0: the H-infinity norm."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((n, n)) / np.sqrt(n) - 2 * np.eye(n)
    B, C = rng.standard_normal((n, 2)), rng.standard_normal((2, n))

    def rows(P: Any, g: Any, zero: Any) -> list[list[Any]]:
        eye = np.eye(2)
        return [[A.T @ P + P @ A, P @ B, C.T], [B.T @ P, -g * eye, zero], [C, zero, -g * eye]]

    def ours() -> Problem:
        problem = Problem()
        P, g = problem.symmetric(n, "P"), problem.scalar("g")
        problem.add(P >> 0)
        problem.add(block(rows(P, g, 0)) << 0)
        problem.minimise(g)
        return problem

    def theirs() -> Any:
        P, g = cp.Variable((n, n), symmetric=True), cp.Variable()
        return cp.Problem(cp.Minimize(g), [P >> 0, cp.bmat(rows(P, g, np.zeros((2, 2)))) << 0])

    return ours, theirs


_SOLVES = {
    "bounded-real": bounded_real,
    "Lyapunov": lyapunov,
    "LipSDP, layers of 10": lambda n: block_tridiagonal(n // 10, 10),
}
_ITERATIONS = 100  # of SCS, where an interior point takes minutes


def cpu_seconds(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Least CPU time, and the last result."""
    times, result = [], None
    for _ in range(repeat):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return min(times), result


def solve_table(repeat: int) -> list[str]:
    """Markdown lines: build and solve, the same solver on both sides."""
    head = "| LMI | n | solver | lmikit, CPU s | cvxpy, CPU s | ratio | optima differ by |"
    lines = [head, "|---" * 7 + "|"]
    for name, case in _SOLVES.items():
        for n in (10, 20, 50, 100):
            heavy = n == 100 and not name.startswith("LipSDP")
            ours, theirs = case(n)
            solver = SCS(tol=1e-12, max_iterations=_ITERATIONS) if heavy else Clarabel()
            limits = (
                {"solver": cp.SCS, "max_iters": _ITERATIONS, "eps": 1e-12}
                if heavy
                else {"solver": cp.CLARABEL}
            )
            runs = max(1, min(repeat, 100 // n))
            mine, solution = cpu_seconds(lambda b=ours, s=solver: lmikit.solve(b(), s), runs)
            other, value = cpu_seconds(lambda b=theirs, o=limits: b().solve(**o), runs)
            gap = "-" if heavy else f"{abs(solution.objective - value) / max(1.0, abs(value)):.0e}"
            label = f"SCS, {_ITERATIONS} steps" if heavy else "Clarabel"
            lines.append(
                f"| {name} | {n} | {label} | {mine:.3f} | {other:.3f} | {other / mine:.2f} | {gap} |"
            )
            print(lines[-1], flush=True)
    return lines


def seconds(call: Callable[[], Any], repeat: int) -> float:
    """Least wall time."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def table(repeat: int) -> list[str]:
    """Markdown lines, one case each."""
    head = "| LMI | variables | order | SDP, s | conic, s | cvxpy, s | ratio | optima differ by |"
    lines = [head, "|---" * 8 + "|"]
    for name, (ours, theirs) in CASES.items():
        sdp = ours()
        mine = seconds(ours, repeat)
        conic = seconds(lambda build=ours: ConicForm.of(build(), SvecOrder.UPPER), repeat)
        other = seconds(lambda build=theirs: build().get_problem_data(cp.CLARABEL), max(1, repeat // 2))
        size = max(lmi.size for lmi in sdp.lmis)
        agreed = difference(sdp, theirs()) if sdp.variables <= _SOLVED else "-"
        numbers = f"{mine:.4f} | {conic:.4f} | {other:.3f} | {other / conic:.1f}"
        lines.append(f"| {name} | {sdp.variables} | {size} | {numbers} | {agreed} |")
        print(lines[-1], flush=True)
    return lines


def difference(sdp: SDP, problem: Any) -> str:
    """Relative difference of the two optima."""
    ours, theirs = Clarabel().solve(sdp).objective, problem.solve(solver=cp.CLARABEL)
    return f"{abs(ours - theirs) / max(1.0, abs(theirs)):.0e}"


def preamble() -> list[str]:
    """What the table shows and where it was made."""
    return [
        "# Build time of hand-written LMIs",
        "",
        "Made by `python benchmarks/modelling.py --output docs/results/modelling.md`. SDP: from an",
        "empty `Problem` to the compiled `SDP`; conic: the same and on to the matrices that Clarabel takes;",
        "cvxpy: from an empty problem to `get_problem_data`, the same matrices; ratio: cvxpy over conic.",
        "Least of several runs, on a machine shared with other work.",
        "",
        f"Python {platform.python_version()}, numpy {np.__version__}, cvxpy {cp.__version__}.",
        "",
    ]


def solved_preamble() -> list[str]:
    """What the second table shows."""
    return [
        "Build and solve, from an empty problem to the optimum, with the same solver; CPU seconds, least of",
        f"several runs; ratio: cvxpy over lmikit. At n = 100 dense blocks go to SCS for {_ITERATIONS} steps",
        "on both sides, as Clarabel's rows for them would not fit.",
        "",
    ]


def main() -> None:
    """Run every case and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    lines = [*table(options.repeat), "", *solved_preamble(), *solve_table(options.repeat)]
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join([*preamble(), *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
