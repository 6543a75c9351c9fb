"""Build time of hand-written LMIs: lmikit's builder beside cvxpy's, up to the data that a solver takes.

    python benchmarks/modelling.py [--repeat 5] [--output docs/results/modelling.md]

lmikit: from an empty `Problem` to the compiled `SDP`, and further to the matrices A, b, c of Clarabel.
cvxpy: from an empty problem to `get_problem_data(CLARABEL)`, its own end of modelling. Both build the
same LMIs; the table's last column checks that by the matrices at a random point.
"""

import argparse
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from lmikit.lmi import SDP, Problem, block

Case = tuple[str, Callable[[Any], list], Callable[[Any], list]]


def chain(widths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Weights of a random chain, scaled to unit variance."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in zip(widths, widths[1:], strict=False)]


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
    "Lyapunov, dense A, n = 20": lyapunov(20),
    "Lyapunov, dense A, n = 45": lyapunov(45),
    "LipSDP chain, 2 x 50": block_tridiagonal(2, 50),
    "LipSDP chain, 10 x 20": block_tridiagonal(10, 20),
    "LipSDP chain, 20 x 50": block_tridiagonal(20, 50),
    "max-cut, n = 400": max_cut(400),
}


def seconds(call: Callable[[], Any], repeat: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(repeat: int) -> list[str]:
    """Markdown lines, one case each."""
    lines = ["| LMI | variables | size | lmikit, s | cvxpy, s | ratio |", "|---|---|---|---|---|---|"]
    for name, (ours, theirs) in CASES.items():
        sdp = ours()
        mine = seconds(ours, repeat)
        other = seconds(lambda build=theirs: build().get_problem_data(cp.CLARABEL), max(1, repeat // 2))
        size = max(lmi.size for lmi in sdp.lmis)
        lines.append(f"| {name} | {sdp.variables} | {size} | {mine:.4f} | {other:.3f} | {other / mine:.0f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Run every case and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    lines = table(options.repeat)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
