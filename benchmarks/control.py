"""The textbook table of linear systems and LMIs, proven: python benchmarks/control.py.

Every row has the value that is proven, a reference from elsewhere (a closed form, scipy, a sweep of
frequencies, sampling, cvxpy where it is installed), seconds and what the proof is. Writes
docs/results/control.md.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import platform
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.linalg
import scipy.signal

import lmikit
from lmikit import Network
from lmikit.claims import Box
from lmikit.control import (
    ControlResult,
    Delay,
    NetworkLoop,
    ReachResult,
    StateSet,
    System,
    UncertainLoop,
    absolute_stability,
    as_system,
    disc,
    h2_norm,
    h_infinity_norm,
    half_plane,
    loop_gain,
    lqr,
    lyapunov,
    passivity,
    poles,
    reach_sets,
    region_of_attraction,
    robust_gain,
    sector,
    sector_loop,
)
from lmikit.lmi import Problem, block, det_rootn, norm

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "control.md"
LAGS = System([[-1.0, 1, 0], [0, -1, 1], [0, 0, -1]], [[0.0], [0], [1]], [[1.0, 0, 0]])
SWITCHED = [np.array([[-1.0, 1.0], [-1.0, -1.0]]), np.array([[-1.0, 3.0], [-0.2, -1.0]])]
APART = [np.array([[-1.0, 10.0], [-0.1, -1.0]]), np.array([[-1.0, -0.1], [10.0, -1.0]])]
# the six plants of Carrasco, Heath, Zhang, Ahmad, Wang, IEEE Trans. Automat. Control 65 (2020), section VI
PLANTS = (
    ([0.1, 0.0], [1.0, -1.8, 0.81]),
    ([1.0, -1.95, 0.9, 0.05], [1.0, -2.8, 3.5, -2.412, 0.7209]),
    ([-1.0, 1.95, -0.9, -0.05], [1.0, -2.8, 3.5, -2.412, 0.7209]),
    ([1.0, -1.5, 0.5, -0.5, 0.5], [4.4, -8.957, 9.893, -5.671, 2.207, -0.5]),
    ([-0.5, 0.1], [1.0, -0.9, 0.79, 0.089]),
    ([2.0, 0.92], [1.0, -0.5, 0.0]),
)


@dataclasses.dataclass
class Row:
    """One line of the table."""

    value: str
    reference: str
    proof: str
    seconds: float | None = None  # None: of the whole row


def interval(result: ControlResult) -> str:
    return f"[{result.lower:.10g}, {result.upper:.10g}]"


def proof_of(result: ControlResult | ReachResult, subject: object) -> str:
    """How both modes of the independent checker answer."""
    if result.certificate is None:
        return "none"
    checks = [lmikit.check(result.certificate, subject, exact=mode).ok for mode in (False, True)]  # type: ignore[arg-type]
    return f"{result.verdict}; checked in floats and integers" if all(checks) else "REFUSED BY THE CHECKER"


def random_system(n: int, discrete: bool) -> System:
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n))
    values = np.linalg.eigvals(A)
    A = A * (0.95 / abs(values).max()) if discrete else A - (values.real.max() + 0.3) * np.eye(n)
    data = A, rng.standard_normal((n, 2)), rng.standard_normal((2, n)), rng.standard_normal((2, 2))
    return System(*data, dt=1.0 if discrete else None)


def sweep(system: System) -> float:
    """The largest gain on 20,000 frequencies, then on a fine grid about the best."""
    top = math.pi if system.discrete else 100.0
    grid = np.concatenate([np.linspace(0.0, top, 10000), np.geomspace(1e-4, top, 10000)])
    for _ in range(3):
        gains = [float(np.linalg.norm(system.response(w), 2)) for w in grid]
        best, step = grid[int(np.argmax(gains))], float(np.ptp(grid)) / 2000
        grid = np.linspace(max(best - step, 0.0), best + step, 2000)
    return max(gains)


def lyapunov_row() -> Row:
    A = np.array([[-1.0, 2.0], [0.0, -3.0]])
    result = lyapunov(A)
    return Row(result.verdict, f"eigenvalues {np.linalg.eigvals(A).tolist()}", proof_of(result, System(A)))


def unstable_row() -> Row:
    A = np.array([[0.1, 2.0], [-2.0, 0.1]])
    result = lyapunov(A)
    return Row(result.verdict, "eigenvalues 0.1 +- 2j", proof_of(result, System(A)))


def common_row(pair: list[np.ndarray], reference: str) -> Row:
    result = lyapunov(pair)
    return Row(result.verdict, reference, proof_of(result, tuple(System(A) for A in pair)))


def h_infinity_row(n: int, discrete: bool) -> Row:
    system = random_system(n, discrete)
    started = time.process_time()
    result = h_infinity_norm(system)
    proof = proof_of(result, system)
    seconds = time.process_time() - started
    return Row(interval(result), f"sweep {sweep(system):.10g}", proof, seconds)


def h2_row(n: int) -> Row:
    system = random_system(n, False)
    system = System(system.A, system.B, system.C)
    W = scipy.linalg.solve_continuous_lyapunov(system.A, -system.B @ system.B.T)
    result = h2_norm(system)
    reference = math.sqrt(float(np.trace(system.C @ W @ system.C.T)))
    return Row(interval(result), f"Gramian {reference:.10g}", proof_of(result, system))


def lqr_row() -> Row:
    plant = System([[0.0, 1.0], [2.0, -0.5]], [[0.0], [1.0]])
    design = lqr(plant, np.eye(2), np.eye(1))
    P = scipy.linalg.solve_continuous_are(plant.A, plant.B, np.eye(2), np.eye(1))
    reference = math.sqrt(float(np.trace(P)))
    value = f"{interval(design.proof)}, off scipy by {abs(design.bound - reference):.0e}"
    return Row(value, f"scipy {reference:.10g}", proof_of(design.proof, design.loop))


def circle_row(popov: bool) -> Row:
    result = absolute_stability(LAGS, popov)
    reference = "8 (Hurwitz)" if popov else "4"
    return Row(f"k = {result.lower:.8g}", reference, proof_of(result, sector_loop(LAGS, result.lower, popov)))


def passivity_row(system: System, reference: str) -> Row:
    result = passivity(system)
    return Row(f"{result.verdict}, index in {interval(result)}", reference, proof_of(result, system))


def poles_row() -> Row:
    A = np.array([[-2.0, 1.0], [-1.0, -2.0]])
    region = half_plane(1.5) & sector(0.6) & disc(0.0, 3.0)
    result = poles(A, region)
    return Row(result.verdict, "eigenvalues -2 +- j", proof_of(result, System(A)))


def proven_row(problem: Problem, reference: str) -> Row:
    result = lmikit.prove(problem)
    checked = result.certificate is not None and lmikit.check(result.certificate, problem, exact=True).ok
    value = f"[{result.lower:.10g}, {result.upper:.10g}]"
    return Row(value, reference, f"{result.status}; {'checked in integers' if checked else 'none'}")


def s_procedure_row() -> Row:
    """min x'Qx + 2q'x on |x| <= 1, Q indefinite: max g with [[Q + tI, q], [q', -t - g]] >= 0, t >= 0."""
    rng = np.random.default_rng(0)
    Q = rng.standard_normal((3, 3))
    Q, q = Q + Q.T, rng.standard_normal((3, 1))
    problem = Problem()
    t, g = problem.scalar("t"), problem.scalar("g")
    problem.add(block([[Q + t * np.eye(3), q], [q.T, -t - g]]) >> 0)
    problem.add(t >= 0)
    problem.maximise(g)
    x = rng.standard_normal((1_000_000, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    sampled = float(np.min(np.einsum("ij,jk,ik->i", x, Q, x) + 2.0 * x @ q[:, 0]))
    return proven_row(problem, f"sampling <= {sampled:.6g}")


def theta_row() -> Row:
    """Lovasz theta of the 5-cycle: min t with t I + (edge weights) - J >= 0."""
    problem = Problem()
    t, weights = problem.scalar("t"), problem.vector(5, "w")
    total = t * np.eye(5) - np.ones((5, 5))
    for i in range(5):
        E = np.zeros((5, 5))
        E[i, (i + 1) % 5] = E[(i + 1) % 5, i] = 1.0
        total = total + weights[i] * E
    problem.add(total >> 0)
    problem.minimise(t)
    return proven_row(problem, f"sqrt 5 = {math.sqrt(5):.10g}")


def ellipsoid_row() -> Row:
    """The largest ellipsoid {B u + d} with |B a_i| + a_i'd <= b_i for all i: max det(B)^(1/2)."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((8, 2)), rng.uniform(0.5, 1.5, 8)
    problem = Problem()
    B, d = problem.symmetric(2, "B"), problem.vector(2, "d")
    for row, bound in zip(a, b, strict=True):
        problem.add(norm(B @ row[:, None]) <= float(bound) - row[None, :] @ d)
    problem.maximise(det_rootn(B))
    try:
        import cvxpy as cp
    except ImportError:
        return proven_row(problem, "cvxpy is not installed")
    Bc, dc = cp.Variable((2, 2), PSD=True), cp.Variable(2)
    constraints = [cp.norm(Bc @ row) + row @ dc <= bound for row, bound in zip(a, b, strict=True)]
    value = cp.Problem(cp.Maximize(cp.log_det(Bc)), constraints).solve(solver=cp.CLARABEL)
    return proven_row(problem, f"cvxpy {math.exp(float(value) / 2):.10g}")


def gain_row() -> Row:
    network = Network.from_arrays([[[0.5, 0.2], [-0.3, 0.4]], [[-0.4, -0.3]]], activation="tanh")
    plant = System([[0.9, 0.2], [-0.1, 0.8]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0]], dt=1.0)
    loop = NetworkLoop(plant, network, (1,))
    result = loop_gain(loop)
    return Row(f"<= {result.upper:.8g}", "6.34646", proof_of(result, loop))


def attraction_row(delta: float | None, reference: str) -> Row:
    network = Network.from_arrays([[[1.0, 0.5], [0.5, 1.0]], [[-3.0, -3.0]]], activation="tanh")
    loop = NetworkLoop(System([[1.0, 0.1], [0.2, 1.0]], [[0.0], [0.1]], dt=1.0), network, (0,))
    result = region_of_attraction(loop, delta)
    if result.certificate is None:
        return Row("no ellipsoid", reference, "; ".join(result.reasons))
    checks = [lmikit.check(result.certificate, loop, exact=mode).ok for mode in (False, True)]
    value = f"area {result.volume:.6g} at delta = {result.delta:.4g}"
    return Row(value, reference, "proven; checked in floats and integers" if all(checks) else "REFUSED")


def zames_falb_row(plant: tuple[list[float], list[float]]) -> Row:
    """Slopes [0, k], odd functions, three steps of memory; the reference is the least k that is unstable."""
    top, bottom = (np.array(c) for c in plant)
    system = as_system(scipy.signal.TransferFunction(top, bottom, dt=1.0))
    gains = np.arange(1, 40_001) / 1000.0
    radii = (np.abs(np.roots(np.polyadd(bottom, k * top))).max() for k in gains)
    nyquist = next((k for k, radius in zip(gains, radii, strict=True) if radius >= 1.0), math.inf)
    circle = absolute_stability(system).lower
    result = absolute_stability(system, taps=3, odd=True)
    proof = proof_of(result, sector_loop(system, result.lower, taps=3, odd=True))
    return Row(f"k = {result.lower:.5g}; circle {circle:.4f}", f"Nyquist value {nyquist:.3f}", proof)


def delay_row() -> Row:
    """x' = A x + B x(t - tau): the largest bound proven by bisection."""
    A, B = np.array([[-2.0, 0.0], [0.0, -0.9]]), np.array([[-1.0, 0.0], [-1.0, -1.0]])
    low, high = 1.0, 8.0
    for _ in range(16):
        middle = 0.5 * (low + high)
        proven = robust_gain(UncertainLoop(System(A, B, np.eye(2)), (Delay(middle, 2),)))
        low, high = (middle, high) if proven else (low, middle)
    loop = UncertainLoop(System(A, B, np.eye(2)), (Delay(low, 2),))
    return Row(
        f"tau <= {low:.5g}", "2 sqrt 5 = 4.4721 (Jensen), 6.1726 (true)", proof_of(robust_gain(loop), loop)
    )


def image_row() -> Row:
    network = Network.from_arrays(
        [[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, -1.0]]],
        [[0.1, -0.2], [0.0, -0.3], None],
        activation="relu",
    )
    result = reach_sets(network, Box([-0.5, -0.5], [0.5, 0.5]))
    value = f"[{result.sets[1].lower[0]:.6g}, {result.sets[1].upper[0]:.6g}]"
    return Row(value, "range [-1.8, 0.15]; DeepSDP, coupled [-1.87122, 0.2]", proof_of(result, network))


def reach_row() -> Row:
    network = Network.from_arrays([[[-0.5, -0.8], [0.5, 0.8]], [[1.0, -1.0]]], activation="relu")
    loop = NetworkLoop(System([[1.0, 1.0], [0.0, 1.0]], [[0.5], [1.0]], dt=1.0), network, (0,))
    result = reach_sets(loop, StateSet([1.0, -0.2], [1.5, 0.2]))
    (a, c), (b, d) = result.sets[1].lower, result.sets[1].upper
    return Row(
        f"[{a:.7g}, {b:.7g}] x [{c:.7g}, {d:.7g}]", "[.63, 1.245] x [-.79, -.46]", proof_of(result, loop)
    )


ROWS: list[tuple[str, Callable[[], Row]]] = [
    ("Lyapunov, [[-1, 2], [0, -3]]", lyapunov_row),
    ("Lyapunov, unstable", unstable_row),
    ("common Lyapunov function", lambda: common_row(SWITCHED, "exists")),
    ("common Lyapunov function", lambda: common_row(APART, "none: their product is unstable")),
    *[
        (f"H-infinity, n = {n}, {'discrete' if d else 'continuous'}", lambda n=n, d=d: h_infinity_row(n, d))
        for n in (1, 2, 4, 8, 12)
        for d in (False, True)
    ],
    *[(f"H2, n = {n}", lambda n=n: h2_row(n)) for n in (2, 12)],
    ("LQR, root of the trace of the cost", lqr_row),
    ("circle criterion, 1/(s+1)^3", lambda: circle_row(False)),
    ("Popov criterion, 1/(s+1)^3", lambda: circle_row(True)),
    *[
        (f"Zames-Falb, odd, discrete, plant {i + 1}", lambda plant=plant: zames_falb_row(plant))
        for i, plant in enumerate(PLANTS)
    ],
    ("a delay between 0 and tau", delay_row),
    ("passivity, 1/(s+1)", lambda: passivity_row(System([[-1.0]], [[1.0]], [[1.0]]), "passive, index 0")),
    ("passivity, 1/(s+1)^3", lambda: passivity_row(LAGS, "not passive, index -1/4")),
    ("poles: Re z < -1.5, damping, |z| < 3", poles_row),
    ("S-procedure, indefinite form on a ball", s_procedure_row),
    ("theta of the 5-cycle", theta_row),
    ("ellipsoid of largest area in a polytope", ellipsoid_row),
    ("network in a loop: l2 gain", gain_row),
    ("network in a loop: region, delta = 1", lambda: attraction_row(1.0, "area 3.628")),
    ("network in a loop: region, delta = 2.1", lambda: attraction_row(2.1, "area 15.997")),
    ("network in a loop: region, delta = 2.2", lambda: attraction_row(2.2, "infeasible")),
    ("network in a loop: region, searched", lambda: attraction_row(None, "-")),
    ("image of a box under a network", image_row),
    ("network in a loop: one step from a box", reach_row),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    lines = [
        "# Linear systems: the textbook table, proven",
        "",
        f"Written by `python benchmarks/control.py` on {platform.machine()}. Seconds are CPU seconds, "
        "both checks included. Intervals are proven: the value lies in them for the exact float data.",
        "",
        "| problem | proven | reference | seconds | proof |",
        "|---|---|---|---|---|",
    ]
    for name, make in ROWS:
        started = time.process_time()
        row = make()
        seconds = time.process_time() - started if row.seconds is None else row.seconds
        lines.append(
            f"| {name} | {row.value} | {row.reference} | {seconds:.1f} | {row.proof} |".replace(
                "|z|", "abs z"
            )
        )
        print(lines[-1], flush=True)
    arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
