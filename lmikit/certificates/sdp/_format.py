"""The text of an SDP certificate file, written and read strictly (docs/sdp_certificate_format.md)."""

import dataclasses
import json
from fractions import Fraction
from typing import Any

import numpy as np

from ..._errors import InputError
from ...lmi import SDP
from ...lmi._svec import SvecOrder, svec_pairs, svec_size
from .._strict_json import (
    hashed_array_of,
    hashed_array_out,
    integer_of,
    list_of,
    object_of,
    optional_float,
    parsed,
    text_of,
    tool_version,
)
from ._data import layout
from ._proofs import require_witness
from ._records import FORMAT, STATUSES, VERSION, Drop, DualSide, PrimalSide, SDPWitness, statement

__all__ = ["SDPDocument", "parse", "render"]

_TOP = "format version claim problem primal dual primal_ray dual_ray bounds tool"
_LARGEST_INTEGER = 2**53


@dataclasses.dataclass(frozen=True)
class SDPDocument:
    """A file as data; nothing in it is proven."""

    status: str
    lower: float | None
    upper: float | None
    witness: SDPWitness
    sha256: str

    def exceeds(self, status: str, lower: float | None, upper: float | None) -> str:
        """Why the claim does not follow from what was proven; the empty string where it does."""
        follows = {
            "optimum": ("optimum",),
            "feasible": ("feasible", "optimum"),
            "bounded": ("bounded", "optimum"),
        }
        if status not in follows.get(self.status, (self.status,)):
            return f"{self.status} is claimed, {status} is proven"
        if self.lower is not None and not (lower is not None and self.lower <= lower):
            return f"the lower bound {self.lower!r} is claimed, {lower!r} is proven"
        if self.upper is not None and not (upper is not None and self.upper >= upper):
            return f"the upper bound {self.upper!r} is claimed, {upper!r} is proven"
        return ""


def render(status: str, lower: float | None, upper: float | None, witness: SDPWitness, sha256: str) -> str:
    """The JSON text of a certificate."""
    bounded = witness.bounds is not None
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {
            "status": status,
            "lower": None if lower is None else lower.hex(),
            "upper": None if upper is None else upper.hex(),
            "statement": statement(status, lower, upper, bounded),
        },
        "problem": {"sha256": sha256},
        "primal": _primal_out(witness.primal),
        "dual": _dual_out(witness.dual),
        "primal_ray": _primal_out(witness.primal_ray),
        "dual_ray": _dual_out(witness.dual_ray),
        "bounds": None if witness.bounds is None else hashed_array_out(witness.bounds),
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": witness.produced_by},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _drop_out(drop: Drop) -> list[Any]:
    return [[i, [[j, f.numerator, f.denominator] for j, f in row.items()]] for i, row in sorted(drop.items())]


def _primal_out(side: PrimalSide | None) -> Any:
    return None if side is None else {"y": hashed_array_out(side.y), "drop": _drop_out(side.drop)}


def _dual_out(side: DualSide | None) -> Any:
    if side is None:
        return None
    return {
        "X": [hashed_array_out(X[svec_pairs(X.shape[0], SvecOrder.UPPER)]) for X in side.X],
        "faces": [_face_out(face) for face in side.faces or (None,) * len(side.X)],
        "z": hashed_array_out(side.z),
        "s": [hashed_array_out(s) for s in side.s],
        "v": hashed_array_out(side.v),
        "u": None if side.u is None else hashed_array_out(side.u),
        "metric": side.metric,
        "drop": _drop_out(side.drop),
    }


def _face_out(face: np.ndarray | None) -> Any:
    if face is None:
        return None
    rows, cols = np.nonzero(face)
    entries = [[int(i), int(j), int(face[i, j])] for i, j in zip(rows, cols, strict=True)]
    return {"columns": int(face.shape[1]), "entries": entries}


def parse(text: str, sdp: SDP) -> SDPDocument:
    """Validate the text of a file for this SDP; raises InputError naming the field."""
    return parsed(text, lambda data: _document(data, sdp), "a valid SDP certificate for this problem")


def _document(data: Any, sdp: SDP) -> SDPDocument:
    top = object_of(data, "the file", _TOP)
    for field, expected in (("format", FORMAT), ("version", VERSION)):
        if top[field] != expected or type(top[field]) is not type(expected):
            raise InputError(f"{field} is {top[field]!r}; expected {expected!r}.")
    claim = object_of(top["claim"], "claim", "status lower upper statement")
    status = text_of(claim["status"], "claim.status")
    lower, upper = (optional_float(claim[side], f"claim.{side}") for side in ("lower", "upper"))
    problem = object_of(top["problem"], "problem", "sha256")
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for name, value in tool.items():
        text_of(value, f"tool.{name}")
    m = sdp.variables
    witness = SDPWitness(
        _primal_in(top["primal"], "primal", sdp),
        _dual_in(top["dual"], "dual", sdp),
        _primal_in(top["primal_ray"], "primal_ray", sdp),
        _dual_in(top["dual_ray"], "dual_ray", sdp),
        None if top["bounds"] is None else hashed_array_of(top["bounds"], "bounds", m),
        tool["produced_by"],
    )
    _require_claim(status, lower, upper, witness)
    words = statement(status, lower, upper, witness.bounds is not None)
    if claim["statement"] != words:
        raise InputError(f"claim.statement is {claim['statement']!r}; expected {words!r}.")
    require_witness(sdp, witness)
    return SDPDocument(status, lower, upper, witness, text_of(problem["sha256"], "problem.sha256"))


def _require_claim(status: str, lower: float | None, upper: float | None, witness: SDPWitness) -> None:
    """The parts that a status needs are there, and no others."""
    if status not in STATUSES:
        raise InputError(f"claim.status is {status!r}; expected one of {', '.join(STATUSES)}.")
    needs_lower, needs_upper = status in ("optimum", "bounded"), status in ("optimum", "feasible")
    has_point = witness.primal is not None
    given = {
        "claim.lower": (lower is not None, needs_lower),
        "claim.upper": (
            upper is not None,
            needs_upper or (status == "unbounded" and has_point and upper is not None),
        ),
        "dual": (witness.dual is not None, needs_lower),
        "dual_ray": (witness.dual_ray is not None, status == "infeasible"),
        "primal_ray": (witness.primal_ray is not None, status == "unbounded"),
    }
    for name, (have, need) in given.items():
        if have != need:
            raise InputError(f"{name} is {'given' if have else 'missing'} where {status} is claimed.")
    if (witness.primal is not None) != needs_upper and not (status == "unbounded"):
        raise InputError(f"primal does not fit the claim {status}.")
    if status == "unbounded" and witness.bounds is not None:
        raise InputError("bounds are given where unbounded is claimed.")


def _drop_in(data: Any, name: str, size: int) -> Drop:
    if not isinstance(data, list):
        raise InputError(f"{name} is not a list.")
    drop: Drop = {}
    for item in data:
        i, row = list_of(item, name, 2)
        i = integer_of(i, name, 0, size - 1)
        if i in drop or not isinstance(row, list):
            raise InputError(f"{name} names equation {i} twice, or without its combination.")
        drop[i] = {}
        for term in row:
            j, top, bottom = list_of(term, name, 3)
            j = integer_of(j, name, 0, size - 1)
            if j in drop[i]:
                raise InputError(f"{name} names equation {j} twice in a combination.")
            drop[i][j] = Fraction(
                integer_of(top, name, -_LARGEST_INTEGER, _LARGEST_INTEGER),
                integer_of(bottom, name, 1, _LARGEST_INTEGER),
            )
    return drop


def _primal_in(data: Any, name: str, sdp: SDP) -> PrimalSide | None:
    if data is None:
        return None
    fields = object_of(data, name, "y drop")
    y = hashed_array_of(fields["y"], f"{name}.y", sdp.variables)
    return PrimalSide(y, _drop_in(fields["drop"], f"{name}.drop", sdp.b.size))


def _dual_in(data: Any, name: str, sdp: SDP) -> DualSide | None:
    if data is None:
        return None
    fields = object_of(data, name, "X faces z s v u metric drop")
    m, blocks = sdp.variables, len(sdp.lmis)
    faces = tuple(
        _face_in(face, f"{name}.faces", lmi.size)
        for face, lmi in zip(list_of(fields["faces"], f"{name}.faces", blocks), sdp.lmis, strict=True)
    )
    shape = layout(sdp, faces)
    packed = list_of(fields["X"], f"{name}.X", blocks)
    s = list_of(fields["s"], f"{name}.s", len(shape.soc))
    return DualSide(
        tuple(
            _block_in(X, f"{name}.X[{k}]", n) for k, (X, n) in enumerate(zip(packed, shape.psd, strict=True))
        ),
        hashed_array_of(fields["z"], f"{name}.z", shape.linear),
        tuple(
            hashed_array_of(a, f"{name}.s[{j}]", n) for j, (a, n) in enumerate(zip(s, shape.soc, strict=True))
        ),
        hashed_array_of(fields["v"], f"{name}.v", shape.zero),
        None if fields["u"] is None else hashed_array_of(fields["u"], f"{name}.u", m),
        faces,
        _drop_in(fields["drop"], f"{name}.drop", m),
        text_of(fields["metric"], f"{name}.metric"),
    )


def _block_in(data: Any, name: str, order: int) -> np.ndarray:
    rows, cols = svec_pairs(order, SvecOrder.UPPER)
    X = np.zeros((order, order))
    X[rows, cols] = X[cols, rows] = hashed_array_of(data, name, svec_size(order))
    return X


def _face_in(data: Any, name: str, order: int) -> np.ndarray | None:
    if data is None:
        return None
    fields = object_of(data, name, "columns entries")
    columns = integer_of(fields["columns"], f"{name}.columns", 0, order)
    if not isinstance(fields["entries"], list):
        raise InputError(f"{name}.entries is not a list.")
    face = np.zeros((order, columns), dtype=np.int64)
    for entry in fields["entries"]:
        i, j, value = list_of(entry, name, 3)
        i, j = integer_of(i, name, 0, order - 1), integer_of(j, name, 0, columns - 1)
        value = integer_of(value, name, -(2**30), 2**30)
        if face[i, j] or not value:
            raise InputError(f"{name} gives the entry ({i}, {j}) twice, or zero.")
        face[i, j] = value
    return face
