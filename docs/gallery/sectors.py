"""Nonlinearities of a sector in a loop: circle, Popov and Zames-Falb criteria, proven, on Nyquist's plane."""

import pathlib

import numpy as np

from lmikit.control import System, absolute_stability, as_system

HERE = pathlib.Path(__file__).resolve()
LAGS = System([[-1.0, 1, 0], [0, -1, 1], [0, 0, -1]], [[0.0], [0], [1]], [[1.0, 0, 0]])  # 1/(s + 1)^3
# plant 1 of Carrasco, Heath, Zhang, Ahmad, Wang, IEEE Trans. Automat. Control 65 (2020), section VI
PLANT = ([0.1, 0.0], [1.0, -1.8, 0.81])


def run() -> tuple[float, float]:
    """4, which the circle criterion's condition Re G >= -1/k gives exactly, and the k that is proven."""
    return 4.0, absolute_stability(LAGS).lower


def figure(path: pathlib.Path) -> None:
    """The curve with the lines Re z = -1/k of two proven k, and k against the memory of the multiplier."""
    import matplotlib.pyplot as plt
    import scipy.signal

    fig, (plane, margins) = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
    w = np.geomspace(1e-3, 1e2, 2000)
    curve = 1.0 / (1j * w + 1.0) ** 3
    plane.plot(curve.real, curve.imag, "k-", lw=1.5, label="$1/(i\\omega + 1)^3$")
    for popov, color, name in ((False, "C0", "circle"), (True, "C1", "Popov")):
        k = absolute_stability(LAGS, popov).lower
        plane.axvline(-1.0 / k, color=color, ls="--", label=f"{name}: $k$ = {k:.7f} proven")
    plane.plot([-1.0 / 8.0], [0.0], "C3o", label="linear gain 8: unstable from here")
    plane.set(xlim=(-0.5, 1.1), ylim=(-0.85, 0.65), xlabel="Re", ylabel="Im")
    plane.legend(frameon=False, fontsize=8, loc="upper right")
    system = as_system(scipy.signal.TransferFunction(*PLANT, dt=1.0))
    taps = np.arange(4)
    proven = [absolute_stability(system, taps=int(t), odd=True).lower for t in taps]
    margins.plot(taps, proven, "C2o-", label="proven, slopes in $[0, k]$, odd")
    margins.axhline(absolute_stability(system).lower, color="C0", ls="--", label="circle")
    margins.set(xlabel="steps of memory", ylabel="$k$", xticks=taps, yscale="log")
    margins.legend(frameon=False, fontsize=8)
    for axes in (plane, margins):
        axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(HERE.with_suffix(".png"))
