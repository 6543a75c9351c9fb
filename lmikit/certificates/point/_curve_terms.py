"""Terms of curved activations (tanh, sigmoid, GELU and others), free of intervals: true for every real v.

    curve_chord    (w - w0 - a (v - p))(b (v - p) - (w - w0)) + slack >= 0
    curve_above    w0 + g (v - p) + c (v - p)**2 - w >= 0
    curve_below    w - w0 - g (v - p) + c (v - p)**2 >= 0
    curve_range    (w - low)(high - w) >= 0

With w0 near phi(p): [a, b] holds every slope (phi(v) - phi(p)) / (v - p), the parabolas touch near p. The
numbers are float64 parameters of the witness, whatever they are: `fault` proves the inequality as it
stands (`_curve_proof`), so that no rounding of phi(p) can matter. Those proofs use outward-rounded
intervals in the exact mode of the checker too, since exp is no rational function; all that follows
from the inequalities is decided in integers there.
"""

import functools
from typing import ClassVar

import numpy as np

from ...network import Activation
from ._curve_proof import AbstractInequality, Chord, Parabola, holds_everywhere
from ._curves import curve_of, is_curved
from ._terms import AbstractTerm, Coefficients, Parameters, Site, register_term

__all__ = ["CURVE_TERMS", "AbstractCurveTerm"]


class AbstractCurveTerm(AbstractTerm):
    """What the four share: a proof per neuron, remembered for as long as the process lives."""

    equality: ClassVar[bool] = False
    regional: ClassVar[bool] = False

    def fault(self, site: Site, parameters: Parameters, used: np.ndarray) -> str:
        activation = site.layer.activation
        if not is_curved(activation):
            return f"the term {self.kind} is of curved activations, not of {activation.name}"
        good = self.proven(activation, parameters)
        wrong = np.flatnonzero(used & ~good)
        if wrong.size:
            return f"{self.kind} is not proven for neuron {int(wrong[0])} ({activation.name})"
        return ""

    def proven(self, activation: Activation, parameters: Parameters) -> np.ndarray:
        """Whether the inequality holds for every real v, per neuron; False where no proof was found."""
        arrays = [np.ascontiguousarray(parameters[name], dtype=np.float64) for name in self.parameters]
        own = tuple(sorted(activation.parameters().items()))
        return _remembered(self, type(activation), own, *(a.tobytes() for a in arrays))

    def inequality(self, arrays: tuple[np.ndarray, ...]) -> AbstractInequality | None:
        """What is to be proven on the whole line; None for the range."""
        return None

    def decided(self, activation: Activation, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        """`proven` on arrays in the order of the class's parameters."""
        inequality = self.inequality(arrays)
        assert inequality is not None
        return holds_everywhere(curve_of(activation), inequality)


@functools.lru_cache(maxsize=4096)
def _remembered(
    term: AbstractCurveTerm,
    kind: type[Activation],
    own: tuple[tuple[str, float | str], ...],
    *data: bytes,
) -> np.ndarray:
    arrays = tuple(np.frombuffer(d, dtype=np.float64) for d in data)
    good = term.decided(kind(**dict(own)), arrays)
    good.setflags(write=False)
    return good


def _twos(a: np.ndarray) -> np.ndarray:
    return np.full(a.shape, 2.0)


class _CurveChord(AbstractCurveTerm):
    kind: ClassVar[str] = "curve_chord"
    parameters: ClassVar[tuple[str, ...]] = ("point", "value", "low", "high", "slack")

    def inequality(self, arrays: tuple[np.ndarray, ...]) -> AbstractInequality:
        point, value, low, high, slack = arrays
        return Chord(point, value, low, high, slack)

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        p, w0, a, b, slack = (parameters[name] for name in self.parameters)
        return {
            "vv": ((-a, b),),
            "vw": ((a,), (b,)),
            "ww": ((-np.ones_like(a),),),
            "v": ((-a, w0), (-b, w0), (_twos(a), a, b, p)),
            "w": ((_twos(a), w0), (-a, p), (-b, p)),
            "one": ((a, p, w0), (b, p, w0), (-a, b, p, p), (-w0, w0), (slack,)),
        }


class _CurveAbove(AbstractCurveTerm):
    kind: ClassVar[str] = "curve_above"
    parameters: ClassVar[tuple[str, ...]] = ("point", "value", "slope", "curvature")

    def inequality(self, arrays: tuple[np.ndarray, ...]) -> AbstractInequality:
        point, value, slope, curvature = arrays
        return Parabola(point, 1.0, value, slope, curvature)

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        p, w0, g, c = (parameters[name] for name in self.parameters)
        return {
            "vv": ((c,),),
            "v": ((g,), (-_twos(c), c, p)),
            "w": ((-np.ones_like(c),),),
            "one": ((w0,), (-g, p), (c, p, p)),
        }


class _CurveBelow(AbstractCurveTerm):
    kind: ClassVar[str] = "curve_below"
    parameters: ClassVar[tuple[str, ...]] = ("point", "value", "slope", "curvature")

    def inequality(self, arrays: tuple[np.ndarray, ...]) -> AbstractInequality:
        point, value, slope, curvature = arrays
        return Parabola(point, -1.0, value, slope, curvature)

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        p, w0, g, c = (parameters[name] for name in self.parameters)
        return {
            "vv": ((c,),),
            "v": ((-g,), (-_twos(c), c, p)),
            "w": ((np.ones_like(c),),),
            "one": ((-w0,), (g, p), (c, p, p)),
        }


class _CurveRange(AbstractCurveTerm):
    kind: ClassVar[str] = "curve_range"
    parameters: ClassVar[tuple[str, ...]] = ("low", "high")

    def decided(self, activation: Activation, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        low, high = arrays
        span = curve_of(activation).span
        if span is None:
            return np.zeros(low.shape, dtype=bool)
        return np.asarray((low <= span[0]) & (high >= span[1]))

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        low, high = (parameters[name] for name in self.parameters)
        return {"ww": ((-np.ones_like(low),),), "w": ((low,), (high,)), "one": ((-low, high),)}


CURVE_TERMS: dict[str, AbstractCurveTerm] = {
    term.kind: term for term in (_CurveChord(), _CurveAbove(), _CurveBelow(), _CurveRange())
}
for _term in CURVE_TERMS.values():
    register_term(_term)
