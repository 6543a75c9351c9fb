"""Certificates at a point: margins and radii on a region of inputs, proven from multipliers alone."""

from . import _check as _check  # registers the checker
from . import _curve_terms as _curve_terms  # registers the terms of curved activations
from . import _interval_terms as _interval_terms  # registers the terms that rest on intervals
from . import _linear_terms as _linear_terms  # registers the terms of layers without a nonlinearity
from . import _pieces as _pieces  # registers the terms of two linear pieces
from ._arrow import ArrowFactor, coupled_rows
from ._certificate import PointCertificate, verify_point
from ._curve_terms import CURVE_TERMS, AbstractCurveTerm
from ._curves import curve_of, is_curved
from ._dyadic import Dyadic
from ._interval_terms import proven_intervals
from ._pieces import slopes_of_pieces
from ._proof import looks_definite, quadratic_form
from ._subject import point_network, require_semantics
from ._terms import AbstractTerm, Site, register_term, term_of_kind
from ._weights import diagonal_gram, gram_is_diagonal, plan_of, sparse_maps, weights_of
from ._witness import MultiplierGroup, PointWitness, TermMultipliers, point_digest

__all__ = [
    "CURVE_TERMS",
    "AbstractCurveTerm",
    "AbstractTerm",
    "ArrowFactor",
    "Dyadic",
    "MultiplierGroup",
    "PointCertificate",
    "PointWitness",
    "Site",
    "TermMultipliers",
    "coupled_rows",
    "curve_of",
    "diagonal_gram",
    "gram_is_diagonal",
    "is_curved",
    "looks_definite",
    "plan_of",
    "point_digest",
    "point_network",
    "proven_intervals",
    "quadratic_form",
    "register_term",
    "require_semantics",
    "slopes_of_pieces",
    "sparse_maps",
    "term_of_kind",
    "verify_point",
    "weights_of",
]
