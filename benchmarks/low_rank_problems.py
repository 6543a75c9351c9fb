"""The problems of benchmarks/low_rank.py and one runner per solver."""

import itertools
import os
import pathlib

import numpy as np
import scipy.sparse as sp

from lmikit import Network
from lmikit.formulations import JointLipSDP, norm_product_witness
from lmikit.lmi import SDP, read_sdpa
from lmikit.reductions import reduce
from lmikit.solvers import CVXPY, SCS, AbstractSolver, Clarabel, LowRank

TABLE = {  # the exact bound where it is known
    "lyr2n80test1": 0.73725698,
    "mnist_weights": 24.366349,
    "fnn3_seed0": 15.581398,
    "random_4x80": 0.0779153871,
    "random_9x80": 0.0138361627,
    "random_19x80": 1.4198513e-4,
    "random_1x400": 0.394490642,
    "random_4x400": 0.233049858,
    "random_49x80": 1.8824989e-9,
    "random_25x400": None,
}
MAX_CUT = {"mcp100": 226.1574, "mcp124-1": 141.9905, "maxG11": 629.1648}


def data_folder() -> pathlib.Path:
    root = pathlib.Path(__file__).resolve().parent.parent
    return pathlib.Path(os.environ.get("LMIKIT_DATA", root.parent / "shared" / "data"))


def random_network(hidden: int, width: int) -> Network:
    """Input 4, output 1, Gaussian weights scaled to a spectral norm drawn from U(0.4, 1.8); fixed seed."""
    rng = np.random.default_rng(1000 * hidden + width)
    weights = []
    for inputs, outputs in itertools.pairwise([4, *[width] * hidden, 1]):
        W = rng.standard_normal((outputs, inputs))
        weights.append(W * rng.uniform(0.4, 1.8) / np.linalg.norm(W, 2))
    return Network.from_arrays(weights)


def stored_network(name: str) -> Network:
    """From the data folder; a random one of the same shape where that is absent."""
    hidden, width = 0, 0
    if name.startswith("random_"):
        hidden, width = (int(part) for part in name.removeprefix("random_").split("x"))
        name = f"eclipse_rand_L{hidden + 1}_n{width}"
    path = data_folder() / "networks" / f"{name}.npz"
    if not path.exists() and hidden:
        return random_network(hidden, width)
    with np.load(path) as data:
        count = sum(key.startswith("W") for key in data.files)
        return Network.from_arrays([data[f"W{k}"] for k in range(count)])


def build(kind: str, name: str) -> SDP:
    if kind == "sdplib":
        return read_sdpa(data_folder() / "sdplib" / f"{name}.dat-s")
    if kind == "random":
        hidden, width = (int(part) for part in name.split("x"))
        network = random_network(hidden, width)
    else:
        network = stored_network(name)
    prepared = reduce(network)
    powers = prepared.undo(norm_product_witness(prepared.network)).layer_pow2
    first, *others = [layer.linear for layer in prepared.network.layers]
    phis = [layer.activation for layer in prepared.network.layers[:-1]]
    restored = Network.from_arrays([first.scaled(sum(powers)), *others], activation=phis)
    return JointLipSDP(restored).sdp()


def least_eigenvalue(sdp: SDP, y: np.ndarray) -> float:
    """Of F(y) scaled to a unit diagonal; 0 where the matrix is too large to look."""
    lmi = sdp.lmis[0]
    if lmi.size > 5000:
        return 0.0
    Z = lmi.evaluate(y).toarray()
    d = 1.0 / np.sqrt(np.maximum(Z.diagonal(), 1e-300))
    return float(np.linalg.eigvalsh(Z * d * d[:, None])[0])


def value_of(objective: float, sdp: SDP) -> float:
    """L = F^(-1/2) for LipSDP, the optimum itself for max-cut."""
    lipsdp = int(np.count_nonzero(sdp.c)) == 1
    return (-objective) ** -0.5 if lipsdp and objective < 0 else abs(objective)


def _own(sdp: SDP, **options: object) -> dict:
    solution = LowRank(**options).solve(sdp)
    return {
        "value": value_of(solution.objective, sdp),
        "gap": (solution.objective - solution.bound_on_optimum) / abs(solution.objective),
        "iterations": solution.iterations,
        "status": solution.status.name,
        "y": list(solution.y),
    }


def _through_cvxpy(name: str, sdp: SDP) -> dict:
    solution = CVXPY(solver=name).solve(sdp)
    return {
        "value": value_of(solution.objective, sdp),
        "status": solution.status.name,
        "y": list(solution.y),
    }


def _cvxopt(sdp: SDP) -> dict:
    """CVXOPT's conelp on the LMI in its own form, -F(y) + s = 0."""
    import cvxopt

    lmi, m = sdp.lmis[0], sdp.variables
    n = lmi.size
    columns = []
    for j in range(m):
        terms = lmi.E[:, [j]].toarray().ravel()
        used = np.flatnonzero(terms)
        half = (lmi.P[:, used] * terms[used][None, :]) @ lmi.Q[:, used].T
        columns.append(sp.csc_array((-(half + half.T) / 2).reshape((n * n, 1))))
    G = sp.hstack(columns, format="coo")
    Gs = cvxopt.spmatrix(G.data, G.row.astype(int), G.col.astype(int), (n * n, m))
    cvxopt.solvers.options["show_progress"] = False
    found = cvxopt.solvers.conelp(
        cvxopt.matrix(sdp.c), Gs, cvxopt.matrix(lmi.F0.toarray().ravel()), {"l": 0, "q": [], "s": [n]}
    )
    y = np.array(found["x"]).ravel()
    return {"value": value_of(float(sdp.c @ y), sdp), "status": found["status"], "y": list(y)}


def _native(solver: AbstractSolver, sdp: SDP) -> dict:
    solution = solver.solve(sdp)
    return {
        "value": value_of(solution.objective, sdp),
        "status": solution.status.name,
        "y": None if solution.y is None else list(solution.y),
    }


RUNNERS = {
    "Clarabel": lambda sdp: _native(Clarabel(), sdp),
    "SCS": lambda sdp: _native(SCS(), sdp),
    "LowRank": _own,
    "LowRank-matrix-free": lambda sdp: _own(sdp, memory_limit=1),
    "CVXPY-Clarabel": lambda sdp: _through_cvxpy("CLARABEL", sdp),
    "CVXPY-SCS": lambda sdp: _through_cvxpy("SCS", sdp),
    "CVXOPT": _cvxopt,
}
