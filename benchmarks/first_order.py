"""LipSDP in factored form beside LowRank, and beyond it: python benchmarks/first_order.py --full.

Random ReLU networks of `low_rank_problems`. Per network the proven bound, the dual's value, their gap, and
the seconds and CPU seconds of search and proof. `--full` adds 25 hidden layers of 2000, 50,000 neurons.
Writes docs/results/first_order.md.
"""

import argparse
import itertools
import pathlib
import resource
import time

import numpy as np
import scipy.sparse.linalg as spla
from low_rank_problems import stored_network

from lmikit import BurerMonteiro, LipSDP, Network
from lmikit.certificates import verify
from lmikit.methods import AbstractMethod
from lmikit.solvers import LowRank

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results"
DEPTHS = ("random_20x40", "random_50x40", "random_100x40", "random_200x40")
SMALL = (*DEPTHS, "random_19x80", "random_49x80", "random_4x400", "random_25x400", "random_2x2000")
LARGE = "random_25x2000"


def wide_network(hidden: int, width: int) -> Network:
    """As `low_rank_problems.random_network`, its spectral norms by Lanczos."""
    rng = np.random.default_rng(1000 * hidden + width)
    weights = []
    for inputs, outputs in itertools.pairwise([4, *[width] * hidden, 1]):
        W = rng.standard_normal((outputs, inputs))
        if min(W.shape) < 10:
            norm = np.linalg.norm(W, 2)
        else:
            norm = spla.svds(W, k=1, return_singular_vectors=False, random_state=0)[0]
        weights.append(W * (rng.uniform(0.4, 1.8) / norm))
    return Network.from_arrays(weights)


def row(name: str, network: Network, method: AbstractMethod, **options: object) -> tuple[str, float]:
    """One line of the table (memory is the process's peak so far), and the CPU seconds of the search."""
    wall, cpu = time.perf_counter(), time.process_time()
    witness = method.propose(network, **options)  # type: ignore[arg-type]
    searched = time.perf_counter(), time.process_time()
    bound = verify(network, witness).bound
    done = time.perf_counter(), time.process_time()
    lower = witness.optimum_at_least or float("nan")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = (
        f"| {name.removeprefix('random_')} | {network.hidden_neurons} | {witness.produced_by} | {bound:.9g} "
        f"| {lower:.9g} | {bound / lower - 1.0:.1e} | {searched[0] - wall:.1f} ({searched[1] - cpu:.1f}) "
        f"| {done[0] - searched[0]:.1f} ({done[1] - searched[1]:.1f}) | {memory:.1f} |"
    )
    return line, searched[1] - cpu


def growth(seconds: dict[str, float]) -> list[str]:
    """The exponent of the CPU seconds of `LipSDP()` against depth at width 40, where two or more were run."""
    depths = {
        int(name.removeprefix("random_").split("x")[0]): seconds[name] for name in DEPTHS if name in seconds
    }
    if len(depths) < 2:
        return []
    first, last = min(depths), max(depths)
    slope = np.log(depths[last] / depths[first]) / np.log(last / first)
    return [
        "",
        f"CPU seconds of the search of `LipSDP()` grow like depth^{slope:.2f} from {first} to {last} hidden "
        "layers of 40.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="add 25 hidden layers of 2000 (minutes)")
    parser.add_argument("--only", nargs="*", default=None, help="names such as random_25x400")
    parser.add_argument("--gap", type=float, default=1e-3, help="where BurerMonteiro stops")
    parser.add_argument("--without-peers", action="store_true", help="without LowRank")
    parser.add_argument("--out", default="first_order.md", help="the page in docs/results")
    options = parser.parse_args()
    names = [*SMALL, LARGE] if options.full else list(SMALL)
    names = names if options.only is None else options.only
    flags = " --full" if options.full else ""
    flags += " --without-peers" if options.without_peers else ""
    flags += " --only " + " ".join(options.only) if options.only else ""
    flags += f" --out {options.out}" if options.out != "first_order.md" else ""
    lines = [
        "# LipSDP in factored form",
        "",
        f"`python benchmarks/first_order.py{flags} --gap {options.gap:g}`",
        "",
        "One multiplier per neuron: `BurerMonteiro`, then `LipSDP()` alone (the method says who finished),",
        "then `LipSDP()` with `LowRank()` named. `bound` is proven; `lower end` is the method's own and not",
        "proven: the dual's value, or the solver's bound on the optimum. Seconds (CPU seconds in brackets);",
        "memory: the peak of the process up to that row, in GiB.",
        "",
        "| hidden layers | neurons | method | bound | lower end | gap | search | proof | memory |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    seconds: dict[str, float] = {}
    for name in names:
        hidden, width = (int(part) for part in name.removeprefix("random_").split("x"))
        network = stored_network(name) if hidden * width <= 10_000 else wide_network(hidden, width)
        methods: list[tuple[AbstractMethod, dict[str, object]]] = [(BurerMonteiro(gap=options.gap), {})]
        if hidden * width <= 10_000:
            methods.append((LipSDP(), {}))
            if not options.without_peers:
                methods.append((LipSDP(), {"solver": LowRank()}))
        for method, given in methods:
            line, cpu = row(name, network, method, **given)
            if isinstance(method, LipSDP) and not given:
                seconds[name] = cpu
            lines.append(line)
            print(line, flush=True)
    lines += growth(seconds)
    (RESULTS / options.out).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
