"""Growth of the torus LMI's solver: python benchmarks/convolutions_growth.py [--quick].

Stacks of 3 x 3 convolutions, c to c channels, ReLU between them, normal weights of variance 1 / (9 c), seed
0; gap 1e-5 of L^2. CPU seconds of one core for the multipliers alone; values and lower ends
are the solver's, not proven. Writes
docs/results/convolutions_growth.md and .png.
"""

import argparse
import dataclasses
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit import Network
from lmikit.formulations.torus import exchanged
from lmikit.graph import chain_graph
from lmikit.maps import Convolution2d
from lmikit.torus import torus_form

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "convolutions_growth.md"
SERIES = {  # (channels, convolutions, pixels) along one of them
    "channels": [(c, 6, 28) for c in (2, 4, 8, 16, 32)],
    "convolutions": [(8, d, 28) for d in (2, 4, 8, 16)],
    "pixels on a side": [(8, 6, n) for n in (7, 14, 28, 56, 112)],
}
_HEAD = """# Growth of the solver on a torus

Written by `python benchmarks/convolutions_growth.py`, lmikit {version}. {text}

| channels | convolutions | pixels | Fast | value | lower end | steps | CPU s |
|---|---|---|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """One network solved."""

    fast: float
    value: float
    least: float | None
    steps: int
    seconds: float


def stack(channels: int, depth: int, pixels: int) -> Network:
    """The random convolutions."""
    rng = np.random.default_rng(0)
    shape, scale = (channels, pixels, pixels), 3.0 * channels**0.5
    kernels = [rng.standard_normal((channels, channels, 3, 3)) / scale for _ in range(depth)]
    return Network.from_arrays([Convolution2d(K, shape, padding=1) for K in kernels])


def solved(channels: int, depth: int, pixels: int) -> Run:
    """The multipliers on the least admissible torus."""
    form, values = torus_form(chain_graph(stack(channels, depth, pixels))), []
    begin = time.process_time()
    fast = lmikit.formulations.torus.fast_torus(form)
    witness = exchanged(form, gap=1e-5, progress=values.append)
    seconds = time.process_time() - begin
    return Run(fast.d_out**0.5, witness.d_out**0.5, witness.optimum_at_least, len(values), seconds)


def plot(runs: dict[tuple[int, int, int], Run]) -> None:
    """Seconds against each of the three, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10.5, 3.3), sharey=True)
    for index, (axis, (name, cases)) in enumerate(zip(axes, SERIES.items(), strict=True)):
        cases = [case for case in cases if case in runs]
        x, y = [case[index] for case in cases], [runs[case].seconds for case in cases]
        slope = np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0]
        axis.loglog(x, y, "o-", label=f"last three: power {slope:.1f}")
        axis.set_xlabel(name)
        axis.set_xticks(x, [str(v) for v in x])
        axis.minorticks_off()
        axis.legend()
    axes[0].set_ylabel("CPU seconds")
    figure.tight_layout()
    figure.savefig(OUT.with_suffix(".png"), dpi=110)


def main() -> None:
    """All sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the largest of each series")
    options = parser.parse_args()
    series = [cases[:-1] if options.quick else cases for cases in SERIES.values()]
    runs: dict[tuple[int, int, int], Run] = {}
    rows = []
    for case in sorted({case for cases in series for case in cases}):
        run = runs[case] = solved(*case)
        end = "-" if run.least is None else f"{run.least:.6g}"
        cells = [*case, f"{run.fast:.6g}", f"{run.value:.6g}", end, run.steps, f"{run.seconds:.2f}"]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        print(rows[-1], flush=True)
    plot(runs)
    text = "\n".join(__doc__.split("\n")[2:]).split(" Writes")[0].strip()
    picture = "\n\n![CPU seconds against channels, convolutions, pixels](convolutions_growth.png)\n"
    OUT.write_text(_HEAD.format(version=lmikit.__version__, text=text) + "\n".join(rows) + picture)


if __name__ == "__main__":
    main()
