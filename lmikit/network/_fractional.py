"""The linear fractional form that every architecture reduces to.

    v = N_vx x + N_vw w + b_v,   w = phi(v),   y = N_yx x + N_yw w + b_y

Biases do not enter differences, so they are left out. For a chain N_vx = [W_0; 0; ...], N_vw
has W_1 .. W_{L-1} on its first block subdiagonal, N_yx = 0 and N_yw = [0 .. 0 W_L]; without
hidden layers N_yx = W_0. Skip connections fill other blocks, equilibrium networks all of N_vw.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_float64
from .._errors import InputError
from ._network import Network

__all__ = ["LinearFractional", "linear_fractional"]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFractional:
    """v = N_vx x + N_vw w, w = phi(v), y = N_yx x + N_yw w, slopes of phi_i in [alpha_i, beta_i].

    N_vx (N, n_0), N_vw (N, N), N_yx (m, n_0), N_yw (m, N) are stored as CSR; dense arrays and
    scipy sparse matrices are accepted. alpha, beta (N,). `layer_sizes` groups the N neurons
    (default: one group). Raises InputError for shapes that do not fit, NaN, infinity and
    alpha > beta. Not checked: that w is unique for each x (well-posedness), which holds where
    N_vw is strictly block lower triangular.
    """

    N_vx: sp.csr_array
    N_vw: sp.csr_array
    N_yx: sp.csr_array
    N_yw: sp.csr_array
    alpha: np.ndarray
    beta: np.ndarray
    layer_sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for label in ("N_vx", "N_vw", "N_yx", "N_yw"):
            object.__setattr__(self, label, _as_csr(label, getattr(self, label)))
        neurons, inputs = self.N_vx.shape
        outputs = self.N_yx.shape[0]
        expected = {"N_vw": (neurons, neurons), "N_yx": (outputs, inputs), "N_yw": (outputs, neurons)}
        for label, shape in expected.items():
            if getattr(self, label).shape != shape:
                raise InputError(
                    f"{label} has shape {getattr(self, label).shape}; expected {shape}, since N_vx has "
                    f"shape {self.N_vx.shape} and N_yx {self.N_yx.shape}."
                )
        for label in ("alpha", "beta"):
            values, _ = as_float64(label, getattr(self, label))
            if values.shape != (neurons,):
                raise InputError(f"{label} has shape {values.shape}; expected ({neurons},), one per neuron.")
            object.__setattr__(self, label, values)
        if (self.alpha > self.beta).any():
            raise InputError("alpha > beta for some neuron; expected alpha <= beta.")
        sizes = (neurons,) if self.layer_sizes is None else tuple(int(n) for n in self.layer_sizes)
        if sum(sizes) != neurons or min(sizes, default=0) < 0:
            raise InputError(
                f"layer_sizes is {sizes}; expected sizes that sum to {neurons}, the rows of N_vx."
            )
        object.__setattr__(self, "layer_sizes", sizes)

    @property
    def neurons(self) -> int:
        """N."""
        return int(self.N_vx.shape[0])

    def jacobian(self, slopes: np.ndarray) -> np.ndarray:
        """N_yx + N_yw D (I - N_vw D)^-1 N_vx (m, n_0) with D = diag(slopes), slopes (N,)."""
        if slopes.shape != (self.neurons,):
            raise InputError(f"slopes has shape {slopes.shape}; expected ({self.neurons},).")
        if not self.neurons:
            return np.asarray(self.N_yx.toarray())
        system = np.eye(self.neurons) - self.N_vw.toarray() * slopes
        v = np.linalg.solve(system, self.N_vx.toarray())
        return np.asarray(self.N_yx.toarray() + self.N_yw @ (slopes[:, None] * v))

    def without_linear_neurons(self) -> "LinearFractional":
        """The same maps without the neurons that have alpha = beta, which are w_i = alpha_i v_i.

        With E the linear neurons and A = diag(alpha_E): v_E = (I - N_EE A)^-1 (N_Ex x + N_EK w_K),
        put into the other rows; this is the loop transformation with C_i = alpha_i, R_i = 0 for
        the eliminated channels. Exact but for rounding. Raises InputError where I - N_EE A is
        singular (the loop of linear neurons is not well posed).
        """
        linear = self.alpha == self.beta
        if not linear.any():
            return self
        kept, gone = np.flatnonzero(~linear), np.flatnonzero(linear)
        scale = sp.diags_array(self.alpha[gone])
        from_x, from_w = _solved(
            sp.eye_array(gone.size) - self.N_vw[gone][:, gone] @ scale,
            self.N_vx[gone],
            self.N_vw[gone][:, kept],
        )
        into_v, into_y = self.N_vw[kept][:, gone] @ scale, self.N_yw[:, gone] @ scale
        return LinearFractional(
            self.N_vx[kept] + into_v @ from_x,
            self.N_vw[kept][:, kept] + into_v @ from_w,
            self.N_yx + into_y @ from_x,
            self.N_yw[:, kept] + into_y @ from_w,
            self.alpha[kept],
            self.beta[kept],
            self._sizes_of(~linear),
        )

    def _sizes_of(self, kept: np.ndarray) -> tuple[int, ...]:
        assert self.layer_sizes is not None
        ends = np.cumsum(self.layer_sizes)
        return tuple(int(kept[end - n : end].sum()) for n, end in zip(self.layer_sizes, ends, strict=True))


def linear_fractional(network: Network) -> LinearFractional:
    """The linear fractional form of a chain, exact (no neuron is eliminated)."""
    sizes = network.dims[1:-1]
    maps = [layer.linear.to_sparse() for layer in network.layers]
    neurons, inputs, outputs = sum(sizes), network.input_dim, network.output_dim
    if not sizes:
        empty = sp.csr_array((0, 0))
        columns, rows = sp.csr_array((outputs, 0)), sp.csr_array((0, inputs))
        return LinearFractional(rows, empty, maps[0], columns, np.zeros(0), np.zeros(0), ())
    n_vx = sp.vstack([maps[0], sp.csr_array((neurons - sizes[0], inputs))], format="csr")
    blocks = [[None] * len(sizes) for _ in sizes]
    for k, size in enumerate(sizes):
        blocks[k][k] = sp.csr_array((size, size))
        if k:
            blocks[k][k - 1] = maps[k]
    n_yw = sp.hstack([sp.csr_array((outputs, neurons - sizes[-1])), maps[-1]], format="csr")
    slopes = network.slopes
    return LinearFractional(
        n_vx,
        sp.block_array(blocks, format="csr"),
        sp.csr_array((outputs, inputs)),
        n_yw,
        np.concatenate([alpha for alpha, _ in slopes]),
        np.concatenate([beta for _, beta in slopes]),
        sizes,
    )


def _as_csr(label: str, values: Any) -> sp.csr_array:
    entries = values if sp.issparse(values) else as_float64(label, values)[0]
    if len(entries.shape) != 2:
        raise InputError(f"{label} has shape {entries.shape}; expected a matrix.")
    matrix = sp.csr_array(entries)
    data, _ = as_float64(label, matrix.data)
    result = sp.csr_array((data.copy(), matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def _solved(system: sp.sparray, *right: sp.csr_array) -> list[sp.csr_array]:
    """system^-1 times each right-hand side."""
    from scipy.sparse.linalg import splu  # here, because it is slow to import and seldom needed

    try:
        factor = splu(sp.csc_array(system))
        found = [factor.solve(r.toarray()) if r.shape[1] else np.zeros(r.shape) for r in right]
    except RuntimeError as error:
        raise InputError("the loop of linear neurons is singular; expected a well-posed network.") from error
    return [sp.csr_array(x) for x in found]
