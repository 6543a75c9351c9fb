"""Every method on one random network of four hidden layers: proven bound against seconds."""

import itertools
import pathlib

import numpy as np

import lmikit
from lmikit import plots


def network() -> lmikit.Network:
    """Input 4, four hidden layers of 40, output 1; spectral norms drawn from U(0.4, 1.8)."""
    rng = np.random.default_rng(0)
    weights = []
    for n, m in itertools.pairwise([4, 40, 40, 40, 40, 1]):
        w = rng.standard_normal((m, n))
        weights.append(w * rng.uniform(0.4, 1.8) / np.linalg.norm(w, 2))
    return lmikit.Network.from_arrays(weights)


def run() -> tuple[float, float]:
    """(the tightest proven bound, the sampled lower bound)."""
    net = network()
    return lmikit.lipschitz(net).bound, lmikit.lower_bound(net).value


def figure(path: pathlib.Path) -> None:
    """The picture that `lmikit compare NET --plot FILE` saves."""
    plots.bound_against_time(lmikit.compare(network()), path)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"))
