"""Overlapping max-pooling, trees of ReLU beside the quadratic constraint: python benchmarks/torus_pooling.py.

A convolution, ReLU, 3 x 3 windows with stride 2, a second convolution, random weights. The quadratic
constraint, |y|^2 <= sum of |u|^2 over each window with one multiplier per channel, and the tree are solved on
the same torus by the same solver (Clarabel, all frequencies); then the tree by `torus_lipschitz`, proof
included. CPU seconds on one core. Writes docs/results/torus_pooling.md.
"""

import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit.formulations.torus._model import torus_model
from lmikit.graph import Graph, GraphBuilder
from lmikit.lmi import Problem
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.solvers import Clarabel
from lmikit.torus import TorusForm, torus_form
from lmikit.torus._symbols import symbol_of

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "torus_pooling.md"
SIZE = 7
_HEAD = """# Overlapping max-pooling: trees and the quadratic constraint

Written by `python benchmarks/torus_pooling.py`, lmikit {version}. A 3 x 3 convolution of 7 x 7 pixels, ReLU,
max-pooling of 3 x 3 windows with stride 2, a second convolution; random weights. L of both on one torus by
one solver (Clarabel), its CPU seconds on one core, not proven; then what `torus_lipschitz` proves with the
tree.

| channels, seed | constraint | CPU s | tree | CPU s | `torus_lipschitz` | CPU s |
|---|---|---|---|---|---|---|
"""


def network(channels: int, seed: int) -> tuple[Graph, Convolution2d, Convolution2d]:
    """The graph and its convolutions."""
    rng, g = np.random.default_rng(seed), GraphBuilder()
    first = Convolution2d(rng.standard_normal((channels, 1, 3, 3)) / 3, (1, SIZE, SIZE), padding=1)
    value = g.relu(first @ g.input(SIZE * SIZE))
    value = g.max_pool(value, pooling_windows(first.output_shape, 3, stride=2), tree=False)
    kernel = rng.standard_normal((channels, channels, 3, 3)) / (3 * np.sqrt(channels))
    second = Convolution2d(kernel, (channels, SIZE // 2, SIZE // 2), padding=1)
    return g.output(second @ value), first, second


def adjoint(a: np.ndarray) -> np.ndarray:
    """The conjugate transpose of each."""
    return np.asarray(np.conj(a.swapaxes(-1, -2)))


def unit_rows(count: int, first: int, rows: int, n: int) -> np.ndarray:
    """(count, rows, n): the identity from a column on."""
    result = np.zeros((count, rows, n), dtype=complex)
    result[:, np.arange(rows), first + np.arange(rows)] = 1.0
    return result


def slope_term(e: np.ndarray, v: np.ndarray) -> np.ndarray:
    """e'(e - v) + (e - v)'e: ReLU."""
    half = adjoint(e) @ (e - v)
    return np.asarray(half + adjoint(half))


def tree_terms(form: TorusForm) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """(E_0'E_0, a matrix per multiplier, Y'Y)."""
    model = torus_model(form)
    sizes = [form.size(s) for s in model.sources]
    places, n = dict(zip(model.sources, np.cumsum([0, *sizes[:-1]]), strict=True)), sum(sizes)
    count = len(model.frequencies)

    def placed(rows: dict[int, np.ndarray], keep: slice = slice(None)) -> np.ndarray:
        height = next(iter(rows.values()))[:, keep].shape[1]
        result = np.zeros((count, height, n), dtype=complex)
        for s, a in rows.items():
            result[:, :, places[s] : places[s] + form.size(s)] = a[:, keep]
        return result

    terms = []
    for k in form.nodes:
        each = form.repeats(k)
        for c in range(form.images.shapes[k][0]):
            own = slice(c * each, (c + 1) * each)
            e = unit_rows(count, places[k] + c * each, each, n)
            terms.append(slope_term(e, placed(model.V[k], own)))
    y, x = placed(model.Y), unit_rows(count, 0, form.size(0), n)
    return adjoint(x) @ x, terms, adjoint(y) @ y


def constraint_terms(
    form: TorusForm, first: Convolution2d, second: Convolution2d
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The same with the pooled image for the tree: |y|^2 - sum over windows of |u|^2 per channel."""
    points, _ = form.grid
    count, channels = len(points), first.kernel.shape[0]
    n = 4 + 4 * channels + channels
    u, y = 4, 4 + 4 * channels
    V = symbol_of(first, (2, 2), points, form.cells).value
    shared = np.array([4.0, 2.0, 2.0, 1.0])  # windows of a pixel by its phase: 0 and 2, 1
    terms = []
    for c in range(channels):
        v = np.zeros((count, 4, n), dtype=complex)
        v[:, :, :4] = V[:, 4 * c : 4 * c + 4]
        terms.append(slope_term(unit_rows(count, u + 4 * c, 4, n), v))
    for c in range(channels):
        pooled = np.zeros((count, n, n), dtype=complex)
        pooled[:, y + c, y + c] = 1.0
        index = u + 4 * c + np.arange(4)
        pooled[:, index, index] = -shared
        terms.append(pooled)
    output = np.zeros((count, channels, n), dtype=complex)
    output[:, :, y:] = symbol_of(second, (1, 1), points, form.cells).value
    x = unit_rows(count, 0, 4, n)
    return adjoint(x) @ x, terms, adjoint(output) @ output


def optimum(constant: np.ndarray, terms: list[np.ndarray], gram: np.ndarray, scale: float) -> float:
    """L by Clarabel: maximise F over all frequencies; `scale` near L^2."""
    problem = Problem()
    T, F = problem.vector(len(terms), "T"), problem.scalar("F")
    problem.add(np.zeros((len(terms), 1)) <= T)
    for j in range(len(constant)):
        Z = constant[j] - F * (gram[j] / scale)
        for a, term in enumerate(terms):
            Z = Z + T[a] * term[j]
        problem.add(Z >> np.zeros(Z.shape))
    problem.maximise(F)
    return float(np.sqrt(scale / problem.solve(Clarabel()).objective))


def main() -> None:
    """All networks."""
    rows = []
    for channels, seed in ((1, 0), (1, 1), (2, 0)):
        graph, first, second = network(channels, seed)
        begin = time.process_time()
        proven = lmikit.torus_lipschitz(graph)
        texts = [f"{proven.bound:.6g} | {time.process_time() - begin:.1f}"]
        form = torus_form(graph)
        for terms in (tree_terms(form), constraint_terms(form, first, second)):
            begin = time.process_time()
            value = optimum(*terms, proven.bound**2)
            texts.insert(0, f"{value:.6g} | {time.process_time() - begin:.1f}")
        rows.append(f"| {channels}, {seed} | " + " | ".join(texts) + " |")
        print(rows[-1], flush=True)
    OUT.write_text(_HEAD.format(version=lmikit.__version__) + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
