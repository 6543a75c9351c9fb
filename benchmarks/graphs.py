"""Residual and deep networks, proven exactly: python benchmarks/graphs.py --data FOLDER.

FOLDER holds GLipSDP's networks (github.com/ppauli/GLipSDP: `FC-R18.mat`, `mlp_L17_W64.mat`,
`mlp_L33_W64.mat`); without it only the random networks run. Published seconds are of MOSEK on other
machines. Writes docs/results/graphs.md and its picture; CPU seconds are those of the process, proof included.
"""

import argparse
import os
import pathlib
import time
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit import Graph, GraphBuilder, SpectralProduct
from lmikit.formulations.graph import GraphGain
from lmikit.solvers import LowRank

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "graphs.md"
PICTURE = OUT.with_name("graphs_growth.png")
W = np.array([[1.0, 0.5], [-1.0, 1.0], [0.0, 1.0]])
G = np.array([[0.5, 0.0, 1.0], [0.0, 0.7, -0.4]])


def residual_net(blocks: int, width: int, *, after: bool) -> Graph:
    """s + G relu(W s) with norms 1/2 and 1, a ReLU after each addition where `after`; 10 outputs; seed 0."""
    rng = np.random.default_rng(0)
    g = GraphBuilder()
    x = g.input(width)
    s = g.relu(x) if after else x
    for _ in range(blocks):
        first, second = (rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(2))
        first /= np.linalg.norm(first, 2)
        second *= 0.5 / np.linalg.norm(second, 2)
        s = s + second @ g.relu(first @ s)
        s = g.relu(s) if after else s
    out = rng.standard_normal((10, width))
    return g.output((out / np.linalg.norm(out, 2)) @ s)


def stack(copies: int, *, after: bool) -> Graph:
    """Copies of the residual block with W and G above."""
    g = GraphBuilder()
    s = g.input(2)
    for _ in range(copies):
        s = s + G @ g.relu(W @ s)
        s = g.relu(s) if after else s
    return g.output(s)


def fc_r18(data: pathlib.Path, *, outer: bool) -> Graph:
    """FC-R18; with `outer` as it was trained, with a ReLU after every addition."""
    import scipy.io

    found = scipy.io.loadmat(data / "FC-R18.mat")

    def weight(name: str) -> np.ndarray:
        return np.asarray(found[f"{name}_weight"], dtype=np.float64)

    g = GraphBuilder()
    s = g.relu(weight("input_layer") @ g.input(784))
    for k in range(8):
        s = s + weight(f"blocks_{k}_fc2") @ g.relu(weight(f"blocks_{k}_fc1") @ s)
        s = g.relu(s) if outer else s
    return g.output(weight("output_layer") @ s)


def mlp(data: pathlib.Path, name: str) -> lmikit.Network:
    """A fully connected network of GLipSDP."""
    import scipy.io

    params = scipy.io.loadmat(data / f"{name}.mat")["params"][0, 0]
    count = sum(1 for field in params.dtype.names if field.endswith("_weight"))
    weights = [np.asarray(params[f"linear_{k}_weight"], dtype=np.float64) for k in range(count)]
    return lmikit.Network.from_arrays(weights)


def row(name: str, network: Any, note: str = "") -> str:
    """A line of the table."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = lmikit.lipschitz(network)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    lowest = found.witness.optimum_at_least
    shown = "" if lowest is None else f"{lowest:.9g}"
    product = lmikit.lipschitz(network, SpectralProduct()).bound
    line = f"| {name} | {found.bound:.9g} | {shown} | {product:.6g} | {cpu:.1f} | {wall:.1f} | {note} |"
    print(line, flush=True)
    return line


def growth(depths: tuple[int, ...]) -> list[str]:
    """Seconds against depth, as a table and a picture."""
    lines = [
        "| blocks of width 32 | neurons | bound, ReLU after | CPU s | neurons | bound, without | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for depth in depths:
        cells = []
        for after in (True, False):
            graph = residual_net(depth, 32, after=after)
            cpu = time.process_time()
            bound = lmikit.lipschitz(graph).bound
            seconds[after].append(time.process_time() - cpu)
            cells += [str(graph.hidden_neurons), f"{bound:.8g}", f"{seconds[after][-1]:.1f}"]
        lines.append(f"| {depth} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    _plot(depths, seconds)
    return [*lines, "", f"![CPU seconds against depth]({PICTURE.name})"]


def _plot(depths: tuple[int, ...], seconds: dict[bool, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.6))
    for after, label in ((True, "ReLU after the addition"), (False, "linear skips")):
        axes.loglog(depths, seconds[after], "o-", label=label)
    axes.loglog(depths, [seconds[True][0] * d / depths[0] for d in depths], "k:", label="linear growth")
    axes.set_xlabel("residual blocks of width 32")
    axes.set_ylabel("CPU seconds, proof included")
    axes.set_xticks(depths, [str(d) for d in depths])
    axes.minorticks_off()
    axes.legend()
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="folder with GLipSDP's .mat files")
    parser.add_argument(
        "--quick", action="store_true", help="without the nets of 18 blocks and the deep ones"
    )
    args = parser.parse_args()
    head = [
        "| network | proven bound | optimum of the LMI at least (solver, not proven) | norms along paths "
        "| CPU s | wall s | |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = []
    for copies in (1, 2, 3):
        for after in (False, True):
            kind = "with" if after else "without"
            lines.append(row(f"small block x {copies}, {kind} outer ReLU", stack(copies, after=after)))
    for blocks, width in ((4, 32), (10, 64), *(() if args.quick else ((18, 64),))):
        lines.append(row(f"post-activation {blocks} x {width}", residual_net(blocks, width, after=True)))
        lines.append(row(f"pre-activation {blocks} x {width}", residual_net(blocks, width, after=False)))
    notes = []
    if args.data:
        lines.append(row("FC-R18", fc_r18(args.data, outer=True), "GLipSDP's 20.956 (70.3 s): see below"))
        problem = GraphGain(fc_r18(args.data, outer=False))
        found = problem.witness(LowRank(tol=1e-6).solve(problem.sdp()))
        value = float(found.parts[0].d_in[0]) ** 0.5
        notes = [
            "",
            "GLipSDP's published 20.956 for FC-R18 rests on an LMI that leaves out the ReLU after each "
            f"addition, which the network has. The optimum of that LMI is {value:.6f} (estimated, not "
            "proven); it bounds another network, and says nothing about this one.",
        ]
        for name, published in () if args.quick else (("mlp_L17_W64", "14.1 s"), ("mlp_L33_W64", "29.4 s")):
            lines.append(row(name, mlp(args.data, name), f"GLipSDP: {published} (MOSEK)"))
    text = [
        "# Graphs",
        "",
        "`python benchmarks/graphs.py --data FOLDER`, one BLAS thread.",
        "",
        *head,
        *lines,
    ]
    text += [*notes, "", *growth((2, 4, 8, 16, 32) if not args.quick else (2, 4))]
    OUT.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
