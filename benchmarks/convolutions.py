"""Convolutional networks on a torus, proven: python benchmarks/convolutions.py --data FOLDER.

FOLDER holds GLipSDP's networks (github.com/ppauli/GLipSDP: `cnn_C{n}_CH{c}.mat`, `2C2F.mat`,
`LeNet5ReLU.mat`, `C-R18.mat`) and networks of 8 x 8 digits (`cnn2_seed0.mat` and others). Of cnn_C{n}
convolutions 1 to n - 1 are bounded, c to c channels on 28 x 28 pixels, the last one linear, as in the
published table, whose values are of MOSEK on another machine and not proven; then convolutions 0 to n - 1,
from one channel on. CPU seconds are those of the process, proofs included.
Writes docs/results/convolutions.md.
"""

import argparse
import functools
import itertools
import os
import pathlib
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.io

import lmikit
from lmikit import Graph, GraphBuilder, Network, TorusCertificate
from lmikit.graph import chain_graph
from lmikit.maps import Convolution2d, average_pool2d, pooling_windows
from lmikit.methods._graph_factored import dual_gain
from lmikit.methods._proposal import Run
from lmikit.torus import torus_form

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "convolutions.md"
PUBLISHED = {  # Pauli et al., GLipSDP: two, four, eight and sixteen convolutions
    (3, 8): 7.648757, (3, 16): 8.026805, (5, 8): 28.48988, (5, 16): 36.09973,
    (9, 8): 274.0045, (9, 16): 177.6398, (17, 8): 11323.6, (17, 16): 8080.774,
}  # fmt: skip

PASSES = 80  # of the lower end for one multiplier per neuron
Pair = tuple[int, int]

_HEAD = """# Convolutional networks on a torus

Written by `python benchmarks/convolutions.py --limit {limit:g}`, lmikit {version}. Bounds are proven, the
product of the layers' norms as well; CPU seconds on one core include the proof. The lower end is the solver's
own bound on what multipliers per channel can show on this torus, not proven. One multiplier per neuron: what
`lipschitz(network)` proves by itself, with a lower end of that kind, or the lower end alone where the network
is too large for the proof (not proven; the optimum is rarely more than 0.1 % above it). GLipSDP's published
values are of another machine, with MOSEK, and not proven; they hold for the same stacks.

| network | cells | product | Fast | CPU s | best multipliers | lower end | CPU s | GLipSDP | one per neuron |
|---|---|---|---|---|---|---|---|---|---|
"""


def stack(data: pathlib.Path, size: int, channels: int, first: int = 1) -> Network:
    """The convolutions first to size - 1."""
    found = scipy.io.loadmat(data / f"cnn_C{size}_CH{channels}.mat")["params"][0, 0]
    kernels = [found[f"conv_{k}_weight"].astype(float) for k in range(first, size)]
    return Network.from_arrays([Convolution2d(K, (K.shape[1], 28, 28), padding=1) for K in kernels])


def two_convolutions(data: pathlib.Path) -> Network:
    """2C2F: 4 x 4 kernels, stride 2, padding 1, then two fully connected layers."""
    d = scipy.io.loadmat(data / "2C2F.mat")
    first = Convolution2d(d["features_0_conv_weight"].astype(float), (1, 28, 28), 2, 1)
    second = Convolution2d(d["features_2_conv_weight"].astype(float), first.output_shape, 2, 1)
    dense = [d[f"classifier_{k}_weight"].astype(float) for k in (1, 3)]
    return Network.from_arrays([first, second, *dense])


def lenet(data: pathlib.Path) -> Graph:
    """LeNet-5 with average pooling."""
    d = scipy.io.loadmat(data / "LeNet5ReLU.mat")
    weights = [d[f"net_{k}_weight"].astype(float) for k in (0, 3, 7, 9, 11)]
    g = GraphBuilder()
    value, shape = g.input(784), (1, 28, 28)
    for kernel, padding in zip(weights[:2], (2, 0), strict=True):
        conv = Convolution2d(kernel, shape, 1, padding)
        pool = average_pool2d(conv.output_shape, 2)
        value, shape = pool @ g.relu(conv @ value), pool.output_shape
    for weight in weights[2:4]:
        value = g.relu(weight @ value)
    return g.output(weights[4] @ value)


def residual(data: pathlib.Path) -> Graph:
    """C-R18: a convolution, max-pooling, eight residual blocks of two convolutions, average pooling."""
    d = scipy.io.loadmat(data / "C-R18.mat")
    g = GraphBuilder()
    stem = Convolution2d(d["stem_0_conv_weight"].astype(float), (1, 28, 28), padding=3)
    value = g.max_pool(g.relu(stem @ g.input(784)), pooling_windows(stem.output_shape, 2))
    shape = (16, 14, 14)
    for k in range(8):
        one, two = (
            Convolution2d(d[f"blocks_{k}_conv{i}_conv_weight"].astype(float), shape, padding=1)
            for i in (1, 2)
        )
        value = g.relu(value + two @ g.relu(one @ value))
    return g.output(d["classifier_weight"].astype(float) @ (average_pool2d(shape, 2) @ value))


def digits(data: pathlib.Path, name: str) -> Network:
    """3 x 3 convolutions of 8 x 8 images, then one fully connected layer of ten outputs."""
    d = scipy.io.loadmat(data / f"{name}.mat")
    layers: list[Convolution2d | np.ndarray] = []
    shape = (1, 8, 8)
    for k in itertools.count(1):
        if f"conv{k}_weight" not in d:
            break
        kernel = np.asarray(d[f"conv{k}_weight"], dtype=float).transpose(3, 2, 0, 1)
        layer = Convolution2d(kernel, shape, padding=1)
        layers.append(layer)
        shape = layer.output_shape
    return Network.from_arrays([*layers, np.asarray(d["fc1_weight"], dtype=float).T])


def least_per_neuron(network: Network | Graph, limit: float) -> str:
    """The lower end of what one multiplier per neuron shows, of a network that is too large for its proof."""
    begin = time.process_time()
    graph = torus_form(chain_graph(network) if isinstance(network, Network) else network).graph
    least = dual_gain(graph, Run("lower end", limit, None), PASSES)
    return "-" if least is None else f"at least {least:.7g} in {time.process_time() - begin:.1f} s"


def per_neuron(network: Network | Graph, limit: float) -> str:
    """What `lipschitz` does by itself where that is one multiplier per neuron; else its lower end."""
    if network.output_dim > 10:
        return least_per_neuron(network, limit)
    begin = time.process_time()
    found = lmikit.lipschitz(network, time_limit=limit)
    seconds = time.process_time() - begin
    if isinstance(found, TorusCertificate):
        return least_per_neuron(network, limit)
    least = found.witness.optimum_at_least
    end = "" if least is None else f" (at least {least:.7g})"
    return f"{found.bound:.7g}{end} in {seconds:.1f} s"


def timed(
    network: Network | Graph, cells: tuple[int, int] | None, limit: float
) -> tuple[TorusCertificate, float]:
    """The certificate and the CPU seconds."""
    begin = time.process_time()
    certificate = lmikit.torus_lipschitz(network, cells=cells, time_limit=limit)
    return certificate, time.process_time() - begin


def row(
    name: str,
    network: Network | Graph,
    cells: tuple[int, int] | None,
    limit: float,
    other: str,
    neuron: str,
) -> str:
    """Fast, then the best multipliers within the limit."""
    product = lmikit.lipschitz(network, lmikit.SpectralProduct()).bound
    fast, fast_seconds = timed(network, cells, 0.0)
    best, seconds = timed(network, cells, limit)
    least = best.witness.optimum_at_least
    end = "-" if least is None else f"{least:.7g}"
    m = "x".join(map(str, best.witness.cells))
    text = f"| {name} | {m} | {product:.7g} | {fast.bound:.7g} | {fast_seconds:.1f} | {best.bound:.7g} "
    text += f"| {end} | {seconds:.1f} | {other} | {neuron} |"
    print(text, flush=True)
    return text


def main() -> None:
    """All networks that the folder holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="GLipSDP's networks")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each network's multipliers")
    parser.add_argument("--only", default="", help="networks whose name begins so; writes no page")
    options = parser.parse_args()
    rows: list[str] = []

    def add(
        name: str, make: Callable[[], Network | Graph], cells: tuple[int, int] | None, other: str
    ) -> None:
        if not name.startswith(options.only):
            return
        network = make()
        neuron = per_neuron(network, options.limit)
        rows.append(row(name, network, cells, options.limit, other, neuron))

    for (size, channels), value in PUBLISHED.items():
        if (options.data / f"cnn_C{size}_CH{channels}.mat").exists():
            make = functools.partial(stack, options.data, size, channels)
            add(f"{size - 1} convolutions, {channels} channels", make, (32, 32), f"{value:.7g}")
    for size, channels in PUBLISHED:
        if (options.data / f"cnn_C{size}_CH{channels}.mat").exists():
            make = functools.partial(stack, options.data, size, channels, 0)
            add(f"1 + {size - 1} convolutions, {channels} channels", make, (32, 32), "-")
    add("2C2F", functools.partial(two_convolutions, options.data), None, "-")
    add("LeNet-5", functools.partial(lenet, options.data), None, "-")
    add("C-R18", functools.partial(residual, options.data), None, "-")
    for name in ("cnn2_seed0", "cnn2_seed5", "cnn3_seed5"):
        if (options.data / f"{name}.mat").exists():
            add(name, functools.partial(digits, options.data, name), None, "-")
    if not options.only:
        OUT.write_text(_HEAD.format(limit=options.limit, version=lmikit.__version__) + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
