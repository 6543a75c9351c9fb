"""Torus bounds from an earlier result: python benchmarks/torus_warm_start.py --data FOLDER.

FOLDER holds GLipSDP's networks, as for convolutions.py. Each is solved without a start, then from its own
result, then with all weights moved by a share of each array's norm, without a start and from the result of
the network before. CPU seconds on one core, proofs included. Writes docs/results/torus_warm_start.md.
"""

import argparse
import dataclasses
import os
import pathlib
import runpy
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit.graph import Affine, Graph, chain_graph
from lmikit.maps import Convolution2d
from lmikit.network import AbstractLinearMap, DenseMap

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "docs" / "results" / "torus_warm_start.md"
_HEAD = """# Torus bounds from an earlier result

Written by `python benchmarks/torus_warm_start.py --data FOLDER`, lmikit {version}. CPU seconds on one core
include the proof. Moved: normal noise on every weight, that share of the norm of its array; the start is the
result of the network before. Bounds are proven; with and without a start they agree to the gap at which the
search stops.

| network | weights moved | bound without | CPU s | bound from the start | CPU s | ratio |
|---|---|---|---|---|---|---|
"""


def moved(graph: Graph, share: float) -> Graph:
    """Noise of that share of its norm on every convolution and matrix, average pooling apart."""
    rng = np.random.default_rng(0)

    def noisy(a: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal(a.shape)
        return np.asarray(a + share * np.linalg.norm(a) / np.linalg.norm(noise) * noise)

    def changed(linear: AbstractLinearMap) -> AbstractLinearMap:
        if isinstance(linear, Convolution2d) and np.unique(linear.kernel).size > 4:
            return dataclasses.replace(linear, kernel=noisy(linear.kernel))
        return DenseMap(noisy(linear.to_dense())) if isinstance(linear, DenseMap) else linear

    nodes = [
        dataclasses.replace(node, maps=tuple(map(changed, node.maps))) if isinstance(node, Affine) else node
        for node in graph.nodes
    ]
    return Graph(tuple(nodes))


def main() -> None:
    """All networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="GLipSDP's networks")
    parser.add_argument("--only", default="", help="the network whose name begins so; writes no page")
    options = parser.parse_args()
    nets = runpy.run_path(str(HERE / "convolutions.py"))
    makers = {
        "8 convolutions, 8 channels": lambda: nets["stack"](options.data, 9, 8),
        "2C2F": lambda: nets["two_convolutions"](options.data),
        "LeNet-5": lambda: nets["lenet"](options.data),
    }
    rows = []

    def solved(
        graph: Graph, start: lmikit.TorusCertificate | None = None
    ) -> tuple[lmikit.TorusCertificate, float]:
        begin = time.process_time()
        return lmikit.torus_lipschitz(graph, warm_start=start), time.process_time() - begin

    for name, make in makers.items():
        if not name.startswith(options.only):
            continue
        network = make()
        graph = network if isinstance(network, Graph) else chain_graph(network)
        first, seconds = solved(graph)
        for share in (0.0, 1e-3, 1e-2):
            other = moved(graph, share) if share else graph
            cold, cold_seconds = solved(other) if share else (first, seconds)
            warm, warm_seconds = solved(other, first)
            rows.append(
                f"| {name} | {share:g} | {cold.bound:.7g} | {cold_seconds:.1f} | {warm.bound:.7g} | "
                f"{warm_seconds:.1f} | {cold_seconds / warm_seconds:.1f} |"
            )
            print(rows[-1], flush=True)
    if not options.only:
        OUT.write_text(_HEAD.format(version=lmikit.__version__) + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
