"""The SDP strategies of `lmikit.testing` under the name that the tests import, and broken SDPs."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from lmikit.lmi import SOC
from lmikit.testing._sdps import *  # noqa: F403
from lmikit.testing._sdps import random_optimal


def bad_dimension_cases() -> dict[str, tuple[dict, str]]:
    """Arguments of `SDP` with one dimension broken each, and a pattern of the error they must raise."""
    good = random_optimal(np.random.default_rng(0)).sdp
    m = good.variables
    fields = {f.name: getattr(good, f.name) for f in dataclasses.fields(good)}
    wider = dataclasses.replace(good.lmis[0], E=sp.hstack([good.lmis[0].E, good.lmis[0].E[:, :1]], "csc"))
    soc = SOC(sp.csc_array(np.ones((2, m + 1))), np.ones(2))
    return {
        "c": ({**fields, "c": good.c[:-1]}, "variables"),
        "c matrix": ({**fields, "c": good.c[None, :]}, "c has shape"),
        "lmi": ({**fields, "lmis": (wider,)}, r"lmis\[0\]"),
        "G columns": ({**fields, "G": sp.csc_array((good.h.size, m + 1))}, "G has shape"),
        "h": ({**fields, "h": good.h[:-1]}, "G has shape"),
        "A columns": ({**fields, "A": sp.csc_array((good.b.size, m - 1))}, "A has shape"),
        "b": ({**fields, "b": np.r_[good.b, 0.0]}, "A has shape"),
        "soc": ({**fields, "socs": (soc,)}, r"socs\[0\]"),
        "H": ({**fields, "H": sp.eye_array(m + 1)}, "H has shape"),
        "no h": ({**fields, "h": None}, "h is missing"),
        "nan": ({**fields, "c": np.full(m, np.nan)}, "NaN"),
    }
