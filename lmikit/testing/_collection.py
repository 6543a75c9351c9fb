"""A collection of named SDPs of this field, for tests of solvers: files with proven optima."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from ..control._network_loops import _gain_terms
from ..formulations import JointLipSDP
from ..lmi import SDP, Problem, block, read_sdpa, write_sdpa
from ..network import Network
from ..proving import ProvenSDP, prove
from ..systems import NetworkLoop, System
from ._networks import demo_network

__all__ = ["NamedSDP", "named_sdps", "write_collection"]


@dataclasses.dataclass(frozen=True, eq=False)
class NamedSDP:
    """A problem with its name and what it is; `minimise c'x subject to sum x_i F_i - F_0 PSD` in its file."""

    name: str
    about: str
    sdp: SDP


def _network(widths: tuple[int, ...]) -> Network:
    rng = np.random.default_rng(0)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return Network.from_arrays([rng.standard_normal(s) / np.sqrt(s[1]) for s in shapes])


def _lipsdp(widths: tuple[int, ...]) -> SDP:
    return JointLipSDP(_network(widths)).sdp()


def _bounded_real(n: int) -> SDP:
    """The square of the H-infinity norm of 1/(s + 1)^n, which is 1."""
    A, B, C = -np.eye(n) + np.eye(n, k=1), np.eye(n)[:, [-1]], np.eye(n)[[0]]
    problem = Problem()
    P, square = problem.symmetric(n, "P"), problem.scalar("square")
    problem.add(block([[-(A.T @ P + P @ A) - C.T @ C, -(P @ B)], [-(B.T @ P), square]]) >> 0)
    problem.add(P >> 0)
    problem.minimise(square)
    return problem.compile()


def _lure(k: float) -> SDP:
    """The square of the gain of 1/(s + 1)^3 with a nonlinearity of the sector [0, k] in the loop."""
    A, B, C = -np.eye(3) + np.eye(3, k=1), np.eye(3)[:, [2]], np.eye(3)[[0]]
    problem = Problem()
    P, weight, square = problem.symmetric(3, "P"), problem.scalar("weight"), problem.scalar("square")
    corner = -(A.T @ P + P @ A) - C.T @ C
    cross = P @ B - k * weight * C.T
    problem.add(block([[corner, cross, -(P @ B)], [cross.T, 2.0 * weight, 0], [-(B.T @ P), 0, square]]) >> 0)
    problem.add(P >> 0)
    problem.add(weight >= 0)
    problem.minimise(square)
    return problem.compile()


def _loop() -> SDP:
    """The square of the incremental l2 gain of a linear system with two tanh units in the loop."""
    network = Network.from_arrays([[[0.5, 0.2], [-0.3, 0.4]], [[-0.4, -0.3]]], activation="tanh")
    A, B, C = ([[0.9, 0.2], [-0.1, 0.8]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0]])
    plant = System(np.array(A), np.array(B), np.array(C), dt=1.0)
    problem = Problem()
    square = problem.scalar("square")
    total, P, t = _gain_terms(problem, NetworkLoop(plant, network, (1,)), square)
    problem.add(total << 0)
    problem.add(P >> 0)
    problem.add(t >= 0)
    problem.minimise(square)
    return problem.compile()


def named_sdps(networks: Mapping[str, Network] | None = None) -> tuple[NamedSDP, ...]:
    """The problems of the collection, the smallest first; made again by the same formulas at every call.

    `networks`: LipSDP of these networks is added under their names, with the optimum -1/L^2: of public ones,
    whose weights are not part of this package, as they are read from their files.
    """
    makers: list[tuple[str, str, Callable[[], SDP]]] = [
        (
            "lipsdp-demo",
            "LipSDP of the 2-2-2-1 network of this package",
            lambda: JointLipSDP(demo_network()).sdp(),
        ),
        ("bounded-real-3", "H-infinity norm of 1/(s+1)^3, squared: 1", lambda: _bounded_real(3)),
        ("lure-3", "gain of 1/(s+1)^3 with a sector [0, 2] in the loop, squared", lambda: _lure(2.0)),
        ("network-loop", "l2 gain of a loop with a tanh network, squared", _loop),
        ("lipsdp-5-10-10-2", "LipSDP of a random ReLU network: -1/L^2", lambda: _lipsdp((5, 10, 10, 2))),
    ]
    own = [NamedSDP(name, about, make()) for name, about, make in makers]
    given = (networks or {}).items()
    return (
        *own,
        *(NamedSDP(f"lipsdp-{n}", f"LipSDP of {n}: -1/L^2", JointLipSDP(w).sdp()) for n, w in given),
    )


def write_collection(
    folder: str | os.PathLike[str], networks: Mapping[str, Network] | None = None
) -> dict[str, ProvenSDP]:
    """Write NAME.dat-s and NAME.json, a certificate of its optimum, for every problem of `named_sdps`.

    The certificate is for the numbers in the file, as `read_sdpa` reads them: `lmikit check NAME.json
    NAME.dat-s --exact` proves it again. Raises InputError for the folder, NotCertified.
    """
    place = pathlib.Path(folder)
    results = {}
    for problem in named_sdps(networks):
        path = place / f"{problem.name}.dat-s"
        write_sdpa(problem.sdp, path)
        results[problem.name] = proven = prove(read_sdpa(path))
        proven.save(place / f"{problem.name}.json")
    return results
