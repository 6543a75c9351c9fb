"""The gain of an implicit (equilibrium) network w = tanh(N_vw w + N_vx x), y = N_yw w, as feedback grows."""

import pathlib

import numpy as np

import lmikit
from lmikit.formulations.iqc import Dissipation, SlopeRestricted
from lmikit.network import LinearFractional

RNG = np.random.default_rng(3)
FEEDBACK = RNG.standard_normal((5, 5))
FEEDBACK /= np.linalg.norm(FEEDBACK, 2)
N_VX, N_YW = RNG.standard_normal((5, 2)), RNG.standard_normal((2, 5))


def gain(strength: float) -> float:
    """The solver's estimate of the Lipschitz constant of x -> y with N_vw = strength * FEEDBACK."""
    form = LinearFractional(N_VX, strength * FEEDBACK, np.zeros((2, 2)), N_YW, np.zeros(5), np.ones(5))
    problem = Dissipation(form, [SlopeRestricted(form.alpha, form.beta)])
    return problem.estimate(lmikit.solve(problem.sdp()))


def sampled(strength: float, pairs: int = 2000) -> float:
    """The largest quotient of outputs over inputs among random pairs, by fixed-point iteration."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, pairs)) * 0.5
    y = x + 1e-4 * rng.standard_normal(x.shape)

    def output(u: np.ndarray) -> np.ndarray:
        w = np.zeros((5, u.shape[1]))
        for _ in range(400):
            w = np.tanh(strength * FEEDBACK @ w + N_VX @ u)
        return N_YW @ w

    return float((np.linalg.norm(output(x) - output(y), axis=0) / np.linalg.norm(x - y, axis=0)).max())


def run() -> tuple[float, float]:
    """(the estimate, the largest sampled quotient) at strength 0.9: the first is at least the second."""
    return gain(0.9), sampled(0.9)


def figure(path: pathlib.Path) -> None:
    """Both against the strength of the feedback."""
    import matplotlib.pyplot as plt

    strengths = np.linspace(0.0, 0.95, 12)
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(strengths, [gain(s) for s in strengths], "C0o-", ms=4, label="LMI, estimate")
    axes.plot(strengths, [sampled(s) for s in strengths], "k--", label="sampled from below")
    axes.set_xlabel("norm of the feedback")
    axes.set_ylabel("gain from x to y")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"))
