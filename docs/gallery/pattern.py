"""What a LipSDP matrix looks like: its pattern, and the cliques that a decomposition finds."""

import pathlib

import numpy as np

import lmikit
from lmikit.formulations import JointLipSDP
from lmikit.lmi import decompose, spy


def problem() -> lmikit.lmi.SDP:
    """The SDP of a network with hidden layers of 12, 8 and 10 neurons."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s) / np.sqrt(s[1]) for s in ((12, 6), (8, 12), (10, 8), (3, 10))]
    return JointLipSDP(lmikit.Network.from_arrays(weights)).sdp()


def run() -> tuple[float, float]:
    """The optimum of the joint problem and of its decomposition: the same to the solver's tolerance."""
    sdp = problem()
    split = decompose(sdp)
    whole, parts = lmikit.solve(sdp), lmikit.solve(split.sdp)
    return whole.objective, parts.objective


def figure(path: pathlib.Path) -> None:
    """The pattern of F(y)."""
    axes = spy(problem())
    axes.figure.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"))
