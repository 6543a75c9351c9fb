"""Implicit networks, v = N_vx x + N_vw w, w = phi(v), y = N_yx x + N_yw w with any N_vw: their proof.

With z = (x, w), v = V z, y = Y z and t > 0 per neuron, the matrix

    [[ rho E_0'E_0 + sum of 2 t (w - alpha v)(w - beta v), -Y' ], [ -Y, I ]]  positive definite

shows both that w exists, once, for every x, and that |y - y'|^2 <= rho |x - x'|^2. Its w block is positive
definite too: two v, v' with v - N_vw phi(v) = c, v' - N_vw phi(v') = c' have |v - v'| <= C |c - c'|, so that
v -> v - N_vw phi(v) is injective, continuous and proper, hence onto (invariance of domain). It is Theorem 1
of Revay, Wang, Manchester, "Lipschitz bounded equilibrium networks", 2020, for any slopes. Where N_vw is
strictly contractive against the slopes there is one w anyway.
"""

import dataclasses
import hashlib
import math
import os
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ..._arrays import blas_threads
from ..._convert import floats, sealed
from ..._errors import InputError, NotCertified
from ...graph._enclosure import EnclosedMatrix
from ...network import LinearFractional
from .._float_environment import require_ieee
from .._kinds import AbstractCertificate
from .._verified_cholesky import BlockTridiagonal, Verdict, verified_cholesky
from ._assemble import slope_form

__all__ = ["ImplicitCertificate", "fractional_digest", "implicit_fault", "prove_implicit", "verify_implicit"]

_HEADROOM = 6.0  # room for other checkers' margins
_INFLATIONS = (0.0, *(10.0**k for k in range(-12, 1)), 3.0, 10.0)
_FROM_VERIFY = object()  # made here only, so that no other code constructs a certificate by accident


@dataclasses.dataclass(frozen=True, eq=False)
class ImplicitCertificate(AbstractCertificate):
    """A proven bound: the network has one output for each x, and ||y - y'||_2 <= bound ||x - x'||_2.

    Built by `verify_implicit` and `load` only. `rho`, `multipliers` (N,) are what was proven; `margin` is the
    amount that was subtracted from the equilibrated diagonal before Cholesky succeeded. `optimum_at_least`
    is the solver's own, unproven.
    """

    bound: float
    rho: float
    multipliers: np.ndarray
    network_digest: str
    margin: float
    produced_by: str = ""
    optimum_at_least: float | None = None
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("an ImplicitCertificate is made by verify_implicit, which proves it first.")

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        return (
            "every x has exactly one solution w, and ||y - y'||_2 <= L ||x - x'||_2 for all x and x', for "
            "the real-arithmetic network that the float64 maps and slopes define"
        )

    def __str__(self) -> str:
        by = f" by {self.produced_by}" if self.produced_by else ""
        return f"ImplicitCertificate: Lipschitz bound {self.bound:.9g} (proven){by}\n  {self.claim}"

    def to_text(self) -> str:
        """The JSON text of the file."""
        from ._check_implicit import render_implicit

        return render_implicit(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], form: LinearFractional) -> "ImplicitCertificate":
        """Read a certificate file and prove its claim again; raises InputError or NotCertified."""
        from ._check_implicit import read_implicit

        document = read_implicit(path)
        if document.digest != fractional_digest(form):
            raise NotCertified(f"{os.fspath(path)} is a certificate for another network.")
        found = verify_implicit(
            form, document.rho, document.multipliers, produced_by=document.produced_by, repair=False
        )
        if found.bound > document.bound:
            raise NotCertified(f"{os.fspath(path)} claims L={document.bound!r}, below {found.bound!r}.")
        return dataclasses.replace(
            found,
            bound=document.bound,
            optimum_at_least=document.optimum_at_least,
            token=_FROM_VERIFY,
        )


def fractional_digest(form: LinearFractional) -> str:
    """SHA-256 over the maps (entries that are not zero, row by row) and the slopes."""
    sha = hashlib.sha256(b"lmikit-fractional-1\n")
    for matrix in (form.N_vx, form.N_vw, form.N_yx, form.N_yw):
        m = sp.csr_array(matrix)
        m.sort_indices()
        sha.update(f"{m.shape[0]}x{m.shape[1]}\n".encode())
        for values, kind in ((m.indptr, "<i8"), (m.indices, "<i8"), (m.data, "<f8")):
            sha.update(np.ascontiguousarray(values, dtype=kind).tobytes())
    for slopes in (form.alpha, form.beta):
        sha.update(np.ascontiguousarray(slopes, dtype="<f8").tobytes())
    return sha.hexdigest()


def implicit_fault(form: LinearFractional, rho: float, t: np.ndarray) -> str:
    """Why these are no admissible rho and multipliers; the empty string if they are."""
    if not form.neurons:
        return "the form has no neurons; take a Network"
    if t.shape != (form.neurons,):
        return f"there are {t.size} multipliers for {form.neurons} neurons"
    if not (np.isfinite(t).all() and (t > 0.0).all()):
        return "a multiplier is not finite, or not above 0"
    return "" if math.isfinite(rho) and rho > 0.0 else f"rho is {rho!r}; expected a finite number above 0"


def prove_implicit(form: LinearFractional, rho: float, t: np.ndarray, headroom: float = 1.0) -> Verdict:
    """Whether the matrix is proven positive definite, for admissible rho and t."""
    with np.errstate(all="ignore"):
        return verified_cholesky(_Lifted(form, t)(rho), headroom)


def verify_implicit(
    form: LinearFractional,
    rho: float,
    multipliers: np.ndarray,
    *,
    produced_by: str = "",
    optimum_at_least: float | None = None,
    repair: bool = True,
) -> ImplicitCertificate:
    """Prove ||y - y'||_2 <= sqrt(rho) ||x - x'||_2 and that the network is well posed.

    `multipliers` T > 0 (N,) for the forms 2 t (w - alpha v)(w - beta v); with `repair` the least rho
    found at which they prove something. Raises InputError for values that do not fit the form,
    NotCertified where nothing could be proven.
    """
    t = sealed(floats("the multipliers", multipliers).reshape(-1))
    rho = float(rho)
    wrong = implicit_fault(form, rho, t)
    if wrong:
        raise InputError(f"the proposal does not fit the network: {wrong}.")
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        at = _Lifted(form, t)
        for e in _INFLATIONS if repair else (0.0,):
            verdict = verified_cholesky(at(rho * (1.0 + e)), _HEADROOM if repair else 1.0)
            if verdict.ok:
                break
        else:
            raise NotCertified(
                f"the matrix is not proven positive definite ({verdict.reason}); solve more accurately, or "
                "the network has no such bound."
            )
    require_ieee()
    rho *= 1.0 + e
    return ImplicitCertificate(
        bound=_root(rho),
        rho=rho,
        multipliers=t,
        network_digest=fractional_digest(form),
        margin=verdict.shift,
        produced_by=produced_by,
        optimum_at_least=optimum_at_least,
        token=_FROM_VERIFY,
    )


def _root(rho: float) -> float:
    """The least float found whose square is at least rho."""
    bound = math.sqrt(rho)
    while Fraction(bound) ** 2 < Fraction(rho):
        bound = math.nextafter(bound, math.inf)
    return bound


class _Lifted:
    """The lifted matrix as a function of rho."""

    def __init__(self, form: LinearFractional, t: np.ndarray) -> None:
        vx, vw = EnclosedMatrix(form.N_vx.toarray()), EnclosedMatrix(form.N_vw.toarray())
        own = slope_form(form.alpha, form.beta, t)
        n, N = form.N_vx.shape[1], form.neurons
        xx, wx, ww = EnclosedMatrix(np.zeros((n, n))), EnclosedMatrix(np.zeros((N, n))), own.ww
        if isinstance(own.wv, tuple):
            across = vw.rows_times(*own.wv)
            wx, ww = vx.rows_times(*own.wv), ww + (across + across.T)
        if isinstance(own.vv, tuple):
            from_x, from_w = vx.rows_times(*own.vv), vw.rows_times(*own.vv)
            xx, wx = xx + (vx.T @ from_x).symmetric(), wx + vw.T @ from_x
            ww = ww + (vw.T @ from_w).symmetric()
        self.inputs = n
        self.mid = np.block([[xx.mid, wx.mid.T], [wx.mid, ww.mid]])
        radii = [np.zeros(e.mid.shape) if e.rad is None else e.rad for e in (xx, wx, ww)]
        self.rad = np.block([[radii[0], radii[1].T], [radii[1], radii[2]]])
        self.lower = -np.hstack([form.N_yx.toarray(), form.N_yw.toarray()])

    def __call__(self, rho: float) -> BlockTridiagonal:
        mid, rad = self.mid.copy(), self.rad.copy()
        index = np.arange(self.inputs)
        mid[index, index] += rho
        rad[index, index] += 2.0**-52 * np.abs(mid[index, index])
        return BlockTridiagonal((mid, np.ones(len(self.lower))), (self.lower,), (rad, None), (None,))
