"""The outputs of a graph at given inputs, enclosed: rounding of every sum and activation included.

A value is kept as all v with |v - mid| <= rad. For an affine node of n products per entry, in any order of
summation, |fl(W mid + b) - (W mid + b)| <= gamma (|W||mid| + |b|) with gamma of n + 2 terms (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), and |W| rad is added. An activation is
enclosed at mid, and moves by at most its largest |slope| times rad. Sorting is monotone: the sorted ends
enclose.
"""

import numpy as np

from .._convert import floats
from .._errors import InputError
from .._ieee import require_ieee
from ..intervals import Enclosure, profile_of
from ..nonlinear import AbstractGroups, MaxMinPairs, SortGroups
from ._graph import Graph
from ._nodes import Affine, Apply

__all__ = ["enclosed_outputs"]

_U = 2.0**-53
_UP = 1.0 + 2.0**-20  # these sums of nonnegative numbers round by less
_TINY = 2.0**-1000


def enclosed_outputs(graph: Graph, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper), each (k, m): lower <= f(x) <= upper in real arithmetic for every row x of X (k, n_0).

    Raises InputError for X of another shape, and for functions about whose values nothing is proven (slope
    classes, reflections); NotCertified where this thread does not round to nearest.
    """
    points = floats("X", X)
    if points.ndim != 2 or points.shape[1] != graph.input_dim:
        raise InputError(f"X has shape {points.shape}; expected (k, {graph.input_dim}).")
    require_ieee()
    values: list[tuple[np.ndarray, np.ndarray]] = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            values.append(_affine(node, [values[p] for p in node.parents]))
        elif isinstance(node, Apply):
            values.append(_applied(node, *values[node.parent]))
        else:
            values.append((points.T, np.zeros(points.T.shape)))
    mid, rad = values[-1]
    return np.nextafter(mid - rad, -np.inf).T, np.nextafter(mid + rad, np.inf).T


def _affine(node: Affine, given: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    assert node.bias is not None
    mid = np.repeat(node.bias[:, None], given[0][0].shape[1], axis=1)
    size, spread = np.abs(mid), np.zeros(mid.shape)
    terms = 2
    for linear, (value, rad) in zip(node.maps, given, strict=True):
        matrix = linear.to_sparse()
        mid = mid + matrix @ value
        size = size + abs(matrix) @ np.abs(value)
        spread = spread + abs(matrix) @ rad
        terms += int(np.diff(matrix.indptr).max(initial=0)) + 1
    gamma = terms * _U / (1.0 - terms * _U)
    return mid, (gamma * size + spread) * _UP + _TINY


def _applied(node: Apply, mid: np.ndarray, rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    function = node.function
    if isinstance(function, (MaxMinPairs, SortGroups)):  # monotone, and of the float ends exact
        lower = function(np.nextafter(mid - rad, -np.inf))
        return _centred(Enclosure(lower, function(np.nextafter(mid + rad, np.inf))))
    if isinstance(function, AbstractGroups):
        raise InputError(f"the values of {function.name} are not enclosed; expected activations and sorting.")
    found = profile_of(function).value(mid.T)
    steepest = np.maximum(np.abs(node.alpha), np.abs(node.beta))[:, None]
    centre, own = _centred(Enclosure(found.lo.T, found.hi.T))
    return centre, (own + steepest * rad) * _UP + _TINY


def _centred(found: Enclosure) -> tuple[np.ndarray, np.ndarray]:
    mid = found.lo + 0.5 * (found.hi - found.lo)
    return mid, np.nextafter(np.maximum(found.hi - mid, mid - found.lo), np.inf)
