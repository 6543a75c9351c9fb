"""The proven l2 radius of every input: one by one where the network takes it, else by global bounds."""

import dataclasses
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError
from .._pairwise import pairwise_bounds
from .._points_table import PointTable, certify_points
from .._progress import ProgressCallback
from .._radius import certified_accuracy
from ..certificates import AbstractLipschitzCertificate
from ..graph import Graph, chain_graph, enclosed_outputs
from ..methods import AbstractMethod
from ..network import Network
from ..solvers import AbstractSolver

__all__ = ["ProvenRadii", "labelled", "proven_radii"]

_SECONDS = 60.0  # for a solve per pair of classes where no limit is given


@dataclasses.dataclass(frozen=True, eq=False)
class ProvenRadii:
    """Radii (n,), 0 where the label is not the prediction or nothing is proven, and how they are proven.

    `table` has the verdicts of inputs that were certified one by one, None where global bounds gave them.
    """

    radii: np.ndarray
    clean_accuracy: float
    how: str
    table: PointTable | None = None

    def certified_at(self, radii: Any) -> np.ndarray:
        """The fraction that is right with a proven radius of at least each of `radii`, which are positive."""
        at = np.atleast_1d(np.asarray(radii, dtype=np.float64))
        return np.asarray((self.radii[None, :] >= at[:, None]).mean(axis=1))


def labelled(network: Network | Graph, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, n_0) and labels (n,); raises InputError where they do not fit."""
    data, labels = floats("X", X), np.asarray(y)
    data = data.reshape(len(data), -1) if data.ndim >= 2 and len(data) else np.zeros((0, 0))
    if data.shape[1:] != (network.input_dim,):
        raise InputError(f"X has shape {np.shape(X)}; expected (n, {network.input_dim}), n >= 1.")
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"y has shape {labels.shape}, dtype {labels.dtype}; expected ({len(data)},) integers."
        )
    if network.output_dim < 2 or labels.min() < 0 or labels.max() >= network.output_dim:
        raise InputError(
            f"y has labels {labels.min()} to {labels.max()} for {network.output_dim} outputs; expected two "
            "outputs or more, and a label below their number."
        )
    return data, labels.astype(int)


def proven_radii(
    network: Network | Graph,
    data: np.ndarray,
    labels: np.ndarray,
    proven: tuple[AbstractMethod | None, AbstractLipschitzCertificate, float] | None,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> ProvenRadii:
    """`proven`: the method of the tightest bound, its certificate and its seconds, where there is one."""
    try:
        table = certify_points(network, data, labels, time_limit=time_limit, progress=progress)
    except InputError as error:
        return _by_bounds(network, data, labels, proven, solver, time_limit, str(error))
    radii = np.where(table.right, np.nan_to_num(table.radius, nan=0.0, posinf=np.inf), 0.0)
    return ProvenRadii(radii, table.clean_accuracy, "input by input.", table)


def _by_bounds(
    network: Network | Graph,
    data: np.ndarray,
    labels: np.ndarray,
    proven: tuple[AbstractMethod | None, AbstractLipschitzCertificate, float] | None,
    solver: AbstractSolver | None,
    time_limit: float | None,
    reason: str,
) -> ProvenRadii:
    """(f_i - f_j)(x) / L_ij, with L_ij the global bound of each difference of outputs."""
    accuracy = float((network(data).argmax(axis=1) == labels).mean())
    nothing = np.zeros(len(data))
    one_by_one = f"Inputs are not certified one by one: {reason}"
    if proven is None:
        return ProvenRadii(nothing, accuracy, f"not at all: no method proved a global bound. {one_by_one}")
    method, certificate, seconds = proven
    graph = network if isinstance(network, Graph) else chain_graph(network)
    pairs = network.output_dim * (network.output_dim - 1) // 2
    each = isinstance(network, Graph) and seconds * pairs <= (time_limit or _SECONDS)
    try:
        lower, upper = enclosed_outputs(graph, data)
        bounds = pairwise_bounds(
            network, method if each else None, certificate=certificate, solver=solver, each_pair=each
        )
    except InputError as error:
        return ProvenRadii(nothing, accuracy, f"not at all: {error} {one_by_one}")
    middle = lower + 0.5 * (upper - lower)
    wide = float(np.nextafter(np.maximum(upper - middle, middle - lower).max(), np.inf))
    found = certified_accuracy(bounds, middle, labels, logit_error=wide)
    kind = "each difference of two outputs" if each else "all outputs, times sqrt 2"
    how = f"by the proven global bound of {kind}. {one_by_one}"
    return ProvenRadii(found.radii, accuracy, how)
