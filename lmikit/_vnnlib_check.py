"""`check_vnnlib`: the answer in a folder of `verify_vnnlib`, proven again for a network and a property.

The boxes cover a case because the tree begins with the case's box and every halving is at a number inside:
x_i <= t or x_i >= t holds for every x. An alternative has no point in a case where it is closed at every
leaf or above it. A closing is proven by enclosing the box again with every rounding counted, or by the
checker of its certificate, whose region must contain the box and one of whose rows must say c.f(x) > b for
a row c.y <= b of the alternative, compared in rational arithmetic. A counterexample is evaluated in
rational arithmetic, or enclosed where values are not rational.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import numpy as np

from ._errors import InputError, NotCertified
from ._files import read_bytes
from ._progress import Progress, ProgressCallback
from ._vnnlib_cover import COVER_NAME, Closing, Cover, CoverNode, file_name, parse_cover, property_digest
from ._vnnlib_points import satisfied_at
from .adapters import OutputLimits, VnnlibCase, VnnlibProperty, read_vnnlib_property
from .certificates._kinds import read_text
from .certificates.point import PointWitness, point_digest
from .certificates.point._check import check_point
from .certificates.point._format_read import parse_point
from .claims import AbstractRegion
from .intervals import CrownOnBoxes
from .network import Network

__all__ = ["VnnlibCheck", "check_vnnlib"]

_LARGEST = 2**28  # bytes of cover.json
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class VnnlibCheck:
    """ "proven": no input satisfies the property. "refuted": the folder's counterexample does. Else
    "undecided".

    `reason` says what was found; `boxes` closings were proven again. `malformed`: the folder holds no
    cover.json that can be read.
    """

    verdict: Literal["proven", "refuted", "undecided"]
    reason: str
    boxes: int = 0
    malformed: bool = False


class _Undecided(Exception):
    """Why nothing is proven; it never leaves this file."""


def check_vnnlib(
    folder: str | os.PathLike[str],
    network: Network,
    specification: str | os.PathLike[str] | VnnlibProperty,
    exact: bool = False,
    *,
    progress: ProgressCallback | None = None,
) -> VnnlibCheck:
    """Prove the answer that `verify_vnnlib(..., folder=folder)` wrote, for this network and this property.

    Proven is the coverage of every box of the property, every refuted box and the counterexample, whatever
    the folder says. `exact` checks certificates in integers; enclosures are computed with outward rounding
    in both modes. Raises InputError (types, a property that cannot be read, other sizes); a bad folder is
    "undecided".
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    prop = specification if isinstance(specification, VnnlibProperty) else read_vnnlib_property(specification)
    if (prop.inputs, prop.outputs) != (network.input_dim, network.output_dim):
        raise InputError(
            f"the property has {prop.inputs} inputs and {prop.outputs} outputs; the network has "
            f"{network.input_dim} and {network.output_dim}."
        )
    path = pathlib.Path(folder)
    try:
        cover = parse_cover(read_bytes(path / COVER_NAME, _LARGEST, "cover of a property").decode("utf-8"))
    except (InputError, UnicodeDecodeError) as error:
        return VnnlibCheck("undecided", f"no cover of a property: {error}", malformed=True)
    try:
        return _Check(path, network, prop, exact, progress).decide(cover)
    except (
        _Undecided,
        NotCertified,
    ) as reason:  # the latter where this thread's arithmetic is not IEEE 754's
        return VnnlibCheck("undecided", str(reason))


@dataclasses.dataclass(frozen=True, eq=False)
class _Box:
    """A closing and the box of its node."""

    lower: np.ndarray
    upper: np.ndarray
    closing: Closing


class _Check:
    """One folder, one network, one property."""

    def __init__(
        self,
        folder: pathlib.Path,
        network: Network,
        prop: VnnlibProperty,
        exact: bool,
        progress: ProgressCallback | None,
    ) -> None:
        self.folder, self.network, self.prop = folder, network, prop
        self.exact, self.progress, self.boxes = exact, progress, 0
        self.digest = point_digest(network)

    def decide(self, cover: Cover) -> VnnlibCheck:
        """The verdict; raises _Undecided with the reason where there is none."""
        if cover.network != self.digest:
            raise _Undecided("it is for another network: weights, biases or activations differ")
        if cover.specification != property_digest(self.prop):
            raise _Undecided("it is for another property: boxes or inequalities differ")
        if cover.verdict == "unknown":
            raise _Undecided("the search was not finished")
        if cover.verdict == "sat":
            return self._refuted(cover)
        if len(cover.cases) != len(self.prop.cases):
            raise _Undecided(f"it has {len(cover.cases)} cases; the property has {len(self.prop.cases)}")
        for index, (case, root) in enumerate(zip(self.prop.cases, cover.cases, strict=True)):
            self._case(index, case, list(_covering(index, case, root)))
        what = f"the boxes of {len(cover.cases)} cases are covered, {self.boxes} refutations proven again"
        return VnnlibCheck("proven", what, self.boxes)

    def _refuted(self, cover: Cover) -> VnnlibCheck:
        if cover.x is None or len(cover.x) != self.network.input_dim:
            raise _Undecided("it says sat without a counterexample of this network's inputs")
        try:
            x = tuple(map(Fraction, cover.x))
        except (ValueError, ZeroDivisionError) as error:
            raise _Undecided(f"the counterexample is no point ({error})") from error
        for index, case in enumerate(self.prop.cases):
            if all(a <= v <= b for a, v, b in zip(case.lower, x, case.upper, strict=True)):
                for number, rows in enumerate(case.alternatives):
                    if satisfied_at(self.network, x, rows, number) is not None:
                        reason = f"the counterexample satisfies alternative {number} of case {index}"
                        return VnnlibCheck("refuted", reason)
        raise _Undecided("the counterexample is not proven to satisfy the property")

    def _case(self, index: int, case: VnnlibCase, boxes: list[_Box]) -> None:
        enclosed = [box for box in boxes if box.closing.file is None]
        for first in range(0, len(enclosed), _BATCH):
            self._enclose(index, case, enclosed[first : first + _BATCH])
        for box in boxes:
            if box.closing.file is not None:
                self._certificate(case, box, box.closing.file)
                self._count(1)

    def _count(self, done: int) -> None:
        self.boxes += done
        if self.progress is not None:
            self.progress(Progress("boxes", self.boxes, None))

    def _enclose(self, index: int, case: VnnlibCase, boxes: list[_Box]) -> None:
        """Every alternative that is closed by an enclosure has a row above its bound on the box."""
        wanted = sorted({a for box in boxes for a in box.closing.alternatives})
        rows = np.vstack([case.alternatives[a].coefficients for a in wanted])
        starts = np.cumsum([0, *(len(case.alternatives[a].bounds) for a in wanted)])
        lower, upper = np.array([b.lower for b in boxes]), np.array([b.upper for b in boxes])
        found = CrownOnBoxes(self.network).margins(lower, upper, rows)
        for margins, box in zip(found, boxes, strict=True):
            for a in box.closing.alternatives:
                first = starts[wanted.index(a)]
                bounds = case.alternatives[a].bounds
                values = margins[first : first + len(bounds)].tolist()
                if not any(_above(v, b) for v, b in zip(values, bounds, strict=True)):
                    raise _Undecided(
                        f"alternative {a} of case {index} is not refuted by the enclosure of a box"
                    )
        self._count(len(boxes))

    def _certificate(self, case: VnnlibCase, box: _Box, file: int) -> None:
        """The certificate is proven for this network, its region contains the box, its rows refute."""
        path = self.folder / file_name(file)
        try:
            text = read_text(path, "point certificate file")
            witness = parse_point(text)
            result = check_point(text, self.network, self.exact)
        except InputError as error:
            raise _Undecided(f"{path.name}: {error}") from error
        if not result.ok:
            raise _Undecided(f"{path.name} is refused: {result.reason}")
        if witness.claim.semantics != "real" or witness.claim.kind != "margin":
            raise _Undecided(
                f"{path.name} claims something else than margins of the real-arithmetic function"
            )
        if not _contains(witness.claim.region, box):
            raise _Undecided(f"{path.name} is for another box than its node's")
        for a in box.closing.alternatives:
            if not _refutes(witness, case.alternatives[a]):
                raise _Undecided(f"{path.name} has no row that refutes alternative {a}")


def _covering(index: int, case: VnnlibCase, root: CoverNode) -> Iterator[_Box]:
    """Every closing with its box; raises _Undecided where a leaf leaves an alternative."""
    everything = frozenset(range(len(case.alternatives)))
    stack = [(root, case.box.lower, case.box.upper, everything)]
    while stack:
        node, lower, upper, left = stack.pop()
        for closing in node.closings:
            if not everything.issuperset(closing.alternatives) or not closing.alternatives:
                raise _Undecided(f"case {index} has no alternatives {list(closing.alternatives)}")
            left = left.difference(closing.alternatives)
            yield _Box(lower, upper, closing)
        if node.children is None or node.split is None:
            if left:
                raise _Undecided(f"a box of case {index} leaves the alternatives {sorted(left)[:20]}")
            continue
        i, at = node.split
        if not 0 <= i < lower.size or not lower[i] < at < upper[i]:
            raise _Undecided(f"case {index} halves a box at {at!r}, which is not inside coordinate {i}")
        for side, child in enumerate(node.children):
            low, high = lower.copy(), upper.copy()
            (high if side == 0 else low)[i] = at
            stack.append((child, low, high, left))


def _above(value: float, bound: Fraction) -> bool:
    return bool(np.isfinite(value)) and Fraction(value) > bound


def _contains(region: AbstractRegion, box: _Box) -> bool:
    """Whether a region that is a box contains the box."""
    if region.ball is not None or region.box is None or region.dim != box.lower.size:
        return False
    return bool((region.box.lower <= box.lower).all() and (box.upper <= region.box.upper).all())


def _refutes(witness: PointWitness, alternative: OutputLimits) -> bool:
    """Whether a row of the claim says that a row of the alternative is above its bound."""
    claim = witness.claim
    return any(
        np.array_equal(row, claimed) and Fraction(low) - Fraction(offset) > bound
        for row, bound in zip(alternative.coefficients, alternative.bounds, strict=True)
        for claimed, low, offset in zip(claim.rows, claim.lower.tolist(), claim.offsets.tolist(), strict=True)
    )
