"""Exact constants on regions, and properties of boxes: python benchmarks/local.py --data FOLDER.

FOLDER holds the collision avoidance network of the Marabou repository as `.onnx`; without it only the
example and the random networks run. CPU seconds are those of the process, proof included. Writes
docs/results/local.md.
"""

import argparse
import os
import pathlib
import tempfile
import time
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import itertools

import numpy as np

import lmikit
from lmikit import Network
from lmikit.claims import Ball, Box

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "local.md"
ACAS = "NeuralNetworkVerification__Marabou__ACASXU_experimental_v2a_1_1.onnx"
# Katz et al., "Reluplex", CAV 2017: properties 3 and 4, in the network's normalised inputs.
LOWER = {3: [-0.303531156, -0.009549297, 0.493380324, 0.3, 0.3]}
UPPER = {3: [-0.298552812, 0.009549297, 0.5, 0.5, 0.5]}
LOWER[4] = [-0.303531156, -0.009549297, 0.0, 0.318181818, 0.083333333]
UPPER[4] = [-0.298552812, 0.009549297, 0.0, 0.5, 0.166666667]


def example() -> tuple[Network, Box]:
    """The 2-4-4-2 network of the page on local constants."""
    weights = [
        [[-1.7, -1.3], [-1.4, -0.4], [-2.3, -0.2], [-1.0, 0.9]],
        [[0.8, 1.1, 0.6, 0.0], [0.7, 1.2, -0.5, 0.5], [0.0, 1.2, -0.7, -0.2], [0.3, 0.2, -1.3, 0.3]],
        [[-0.1, -0.2, -0.2, 0.2], [-1.8, 1.6, -0.9, -2.2]],
    ]
    biases = [[0.0, 0.4, -0.2, 0.5], [0.5, -0.3, -0.7, -0.4], [0.0, 0.0]]
    return Network.from_arrays(weights, biases), Box([0.15, -0.85], [0.85, -0.15])


def random_net(sizes: tuple[int, ...], seed: int) -> Network:
    """Gaussian weights over the root of the fan-in, biases of spread 0.3."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]
    return Network.from_arrays(weights, [0.3 * rng.standard_normal(n) for n in sizes[1:]])


def row(name: str, network: Network, region: Any, limit: float) -> str:
    """A line of the table of constants."""
    start = time.process_time()
    local = lmikit.local_lipschitz(network, region)
    middle = time.process_time()
    found = lmikit.exact_lipschitz(network, region, time_limit=limit)
    end = time.process_time()
    accepted = lmikit.check(found.certificate, network, exact=True).ok
    checked = time.process_time() - end
    cells = [
        name,
        str(sum(local.undecided)),
        f"{local.bound:.6g}",
        f"{middle - start:.2f}",
        f"{found.lower:.6g}",
        f"{found.upper:.6g}",
        "yes" if found.exact else "no",
        str(found.cells),
        f"{end - middle:.2f}",
        f"{checked:.2f} {'accepted' if accepted else 'REFUSED'}",
    ]
    print(line := f"| {' | '.join(cells)} |", flush=True)
    return line


def hundred(count: int) -> str:
    """How often exact <= LipSDP, and by how much, on random networks 3-6-5-2 and unit balls."""
    ratios, exact, below = [], 0, 0
    for seed in range(count):
        network = random_net((3, 6, 5, 2), seed)
        region = Ball(np.random.default_rng(seed).standard_normal(3), 0.7)
        found = lmikit.exact_lipschitz(network, region)
        exact += found.exact
        local = lmikit.local_lipschitz(network, region).bound
        below += found.upper <= local * (1.0 + 1e-8)
        if found.upper > 0.0:  # some networks are constant on their ball
            ratios.append(local / found.upper)
    return (
        f"{count} random networks 3-6-5-2, balls of radius 0.7: {exact} exact, {below} with exact <= LipSDP, "
        f"LipSDP / exact {np.mean(ratios):.3f} on average, {max(ratios):.3f} at most."
    )


def property_row(network: Network, number: int) -> str:
    """A line of the table of properties: the search, and its answer proven again."""
    inputs, outputs = network.input_dim, network.output_dim
    text = "".join(f"(declare-const X_{i} Real)" for i in range(inputs))
    text += "".join(f"(declare-const Y_{j} Real)" for j in range(outputs))
    for i, (low, high) in enumerate(zip(LOWER[number], UPPER[number], strict=True)):
        text += f"(assert (>= X_{i} {low}))(assert (<= X_{i} {high}))"
    text += "".join(f"(assert (<= Y_0 Y_{j}))" for j in range(1, outputs))
    with tempfile.TemporaryDirectory() as folder:
        spec = pathlib.Path(folder) / "property.vnnlib"
        spec.write_text(text)
        start = time.process_time()
        result = lmikit.verify_vnnlib(network, spec, 600.0, folder=folder, enclosures=True)
        middle = time.process_time()
        checked = lmikit.check_vnnlib(folder, network, spec)
        end = time.process_time()
        size = (pathlib.Path(folder) / "cover.json").stat().st_size
    print(
        line
        := f"| {number} | {result.verdict} | {result.boxes} | {middle - start:.1f} | {checked.verdict} | "
        f"{end - middle:.1f} | {size / 1000:.0f} kB |",
        flush=True,
    )
    return line


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help=f"folder with {ACAS}")
    parser.add_argument("--count", type=int, default=100, help="random networks (default: %(default)s)")
    args = parser.parse_args()
    head = (
        "| network, region | undecided | LipSDP | CPU s | lower | upper | exact | cells | CPU s | check, s |"
    )
    lines = ["# Constants on regions, properties of boxes", "", head, "|" + "---|" * 10]
    network, region = example()
    lines.append(row("example 2-4-4-2, box", network, region, 60.0))
    for sizes in ((2, 10, 10, 2), (5, 20, 2), (3, 12, 12, 3)):
        box = Box(-np.ones(sizes[0]), np.ones(sizes[0]))
        lines.append(row(f"random {'-'.join(map(str, sizes))}, unit box", random_net(sizes, 0), box, 120.0))
    collision = None if args.data is None else lmikit.load_network(args.data / ACAS)
    if collision is not None:
        center = (np.array(LOWER[3]) + np.array(UPPER[3])) / 2
        for radius in (0.001, 0.005, 0.02):
            name = f"collision avoidance 5-6x50-5, ball {radius}"
            lines.append(row(name, collision, Ball(center, radius), 60.0))
    lines += ["", hundred(args.count), ""]
    print(lines[-2], flush=True)
    if collision is not None:
        lines += ["| property | answer | boxes | CPU s | checked | CPU s | file |", "|" + "---|" * 7]
        lines += [property_row(collision, number) for number in (4, 3)]
    lines += [
        "",
        "`python benchmarks/local.py --data FOLDER`; one thread, CPU seconds with the machine shared.",
    ]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
