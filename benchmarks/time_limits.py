"""Whether every solver that is ready keeps its time limit: five problems made to break it.

    python benchmarks/time_limits.py [--limit SECONDS] [--output docs/results/time_limits.md]

A limit holds where the wall time is at most twice the limit plus one second.
"""

import argparse
import pathlib
import time

import numpy as np
import scipy.sparse as sp
from dense import full_problem

from lmikit import LmikitError
from lmikit.lmi import LMI, SDP
from lmikit.solvers import available
from lmikit.solvers._available import concrete_solvers


def diagonal_problem(n: int) -> SDP:
    """minimise the sum of a diagonal that makes a full matrix PSD."""
    F0 = np.random.default_rng(1).standard_normal((n, n))
    eye = sp.eye_array(n, format="csc")
    return SDP(np.ones(n), (LMI(sp.csc_array(F0 + F0.T), eye, eye, eye),))


def problems() -> dict[str, SDP]:
    """By name."""
    return {
        "order 60, 30 full": full_problem(60, 30),
        "order 120, 60 full": full_problem(120, 60),
        "order 200, 200 diagonal": diagonal_problem(200),
        "order 200, 200 full": full_problem(200, 200),
        "order 40, 600 full": full_problem(40, 600),
    }


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=2.0)
    parser.add_argument("--only", nargs="*", default=[], help="solvers, by name")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/results/time_limits.md"))
    arguments = parser.parse_args()
    ready = {info.name for info in available() if info.ready}
    lines = [
        "# Time limits",
        "",
        f"Written by `python benchmarks/time_limits.py` with a limit of {arguments.limit:g} s: wall seconds",
        "of one solve, on a machine shared with other work; the limit holds up to twice itself plus 1 s.",
        "",
        "| solver | problem | seconds | holds | answer |",
        "|---|---|---:|---|---|",
    ]
    for solver in concrete_solvers():
        if solver.__name__ not in ready or (arguments.only and solver.__name__ not in arguments.only):
            continue
        for name, sdp in problems().items():
            started = time.perf_counter()
            try:
                solution = solver().solve(sdp, time_limit=arguments.limit)
                answer = f"{solution.status.name}, {solution.native_status}"
            except LmikitError as error:
                answer = f"{type(error).__name__}: {error}"
            seconds = time.perf_counter() - started
            holds = "yes" if seconds <= 2 * arguments.limit + 1 else "no"
            lines.append(f"| {solver.__name__} | {name} | {seconds:.1f} | {holds} | {answer} |")
    arguments.output.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
