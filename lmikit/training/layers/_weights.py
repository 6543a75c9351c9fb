"""Weights of norm at most 1 as functions of free parameters: NumPy arrays, torch tensors or JAX arrays.

Each is differentiated by the framework on its device. Rounding is not accounted for: what is proven is proven
of the weights that come out.
"""

from typing import Any

from ..._errors import InputError
from .._namespace import eye_like, namespace

__all__ = ["aol_kernel", "aol_weight", "cayley_weight", "half_abs", "max_min", "sll_scales"]

_LEAST = 1e-18  # in place of a column of zeros; its square is no zero in float32


def aol_weight(V: Any) -> Any:
    """V D with D_jj = (sum_i |V'V|_ij)^(-1/2), of norm at most 1, for any V (out, in).

    Almost orthogonal: training makes V'V nearly diagonal. Prach and Lampert, ECCV 2022, theorem 1.
    """
    xp = namespace(V)
    return V * _inverse(xp, abs(V.T @ V).sum(axis=0)) ** 0.5


def cayley_weight(V: Any) -> Any:
    """A matrix of V's shape (out, in) with orthonormal rows or columns, whichever are fewer, for any V.

    V = [U; Z], U square (V' where V is wide), A = U - U' + Z'Z: [(I - A)(I + A)^-1; -2 Z (I + A)^-1].
    Trockman and Kolter, ICLR 2021.
    """
    if V.shape[0] < V.shape[1]:
        return cayley_weight(V.T).T
    xp, n = namespace(V), V.shape[1]
    U, Z = V[:n], V[n:]
    A = U - U.T + Z.T @ Z
    eye = eye_like(xp, A)
    inverse = xp.linalg.solve(eye + A, eye)
    return xp.concatenate(((eye - A) @ inverse, -2.0 * (Z @ inverse)), 0)


def sll_scales(W: Any, q: Any) -> Any:
    """t > 0 (out,) with t_i = 2 / (sum_j |W W'|_ij q_j / q_i): x - W' diag(t) phi(W x + b) is 1-Lipschitz.

    For W (out, in), q > 0 (out,) and slopes of phi in [0, 1]. Araujo, Havens, Delattre, Allauzen, Hu, ICLR
    2023; `lmikit.graph.OneLipschitz.sll` knows the multipliers that prove it, t.
    """
    xp = namespace(W)
    return 2.0 * _inverse(xp, (abs(W @ W.T) * q).sum(axis=1) / q)


def aol_kernel(K: Any) -> Any:
    """The kernel (out, in, height, width) of a convolution of norm at most 1, zero padding and any stride.

    K_oc times (sum over i, u, v of |sum_o K_oi * K_oc|(u, v))^(-1/2), * the correlation: `aol_weight` of the
    matrix on the whole plane, of which padding with zeros and strides keep a part (Prach and Lampert, ECCV
    2022, theorem 2). One group; torch tensors or JAX arrays.
    """
    xp, pads = namespace(K), [n - 1 for n in K.shape[2:]]
    images = K.swapaxes(0, 1)
    if xp.__name__ == "torch":
        products = xp.nn.functional.conv2d(images, images, padding=pads)
    else:
        if xp.__name__ == "numpy":
            raise InputError("the kernel is a NumPy array; expected a torch tensor or a JAX array.")
        from jax import lax

        products = lax.conv_general_dilated(images, images, (1, 1), [(p, p) for p in pads])
    sums = abs(products).sum(axis=(0, 2, 3))
    return K * (_inverse(xp, sums) ** 0.5)[None, :, None, None]


def max_min(v: Any) -> Any:
    """(max, min) of consecutive pairs along the last axis, whose length is even; 1-Lipschitz in l2.

    As (a + b)/2 +- |a - b|/2, to rounding, which `from_jax` reads so that the bound is tight. Anil, Lucas,
    Grosse, ICML 2019.
    """
    middle = 0.5 * (v[..., 0::2] + v[..., 1::2])
    half = 0.5 * abs(v[..., 0::2] - v[..., 1::2])
    return _interleaved(middle + half, middle - half, v)


def half_abs(v: Any) -> Any:
    """|x| of every other entry along the last axis, from the first on, the rest as they are.

    `max_min` up to orthogonal factors, of which matrices on both sides are free to take care.
    """
    return _interleaved(abs(v[..., 0::2]), v[..., 1::2], v)


def _interleaved(even: Any, odd: Any, like: Any) -> Any:
    return namespace(like).stack((even, odd), -1).reshape(like.shape)


def _inverse(xp: Any, sums: Any) -> Any:
    """1 / sums, and 0 for what belongs to no weight."""
    some = sums > _LEAST
    return xp.where(some, 1.0 / xp.where(some, sums, 1.0), 0.0)
