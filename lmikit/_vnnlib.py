"""`verify_vnnlib`: does a network satisfy the property of a VNN-LIB file?"""

import dataclasses
import math
import os
import pathlib
import time
from typing import Literal

from ._arrays import blas_threads
from ._errors import InputError, OptionError
from ._files import write_bytes
from ._progress import ProgressCallback
from ._vnnlib_cover import COVER_NAME, Cover, CoverNode, file_name, property_digest, render_cover
from ._vnnlib_points import Satisfied
from ._vnnlib_search import CaseSearch, ProvenBox
from .adapters import VnnlibProperty, read_vnnlib_property
from .certificates.point import point_digest, slopes_of_pieces
from .margins import PieceChain, chain_of
from .network import Network

__all__ = ["VnnlibResult", "verify_vnnlib"]


@dataclasses.dataclass(frozen=True, eq=False)
class VnnlibResult:
    """The answer to a property.

    "unsat": it is proven that no input satisfies it. "sat": `counterexample` does, decided in
    rational arithmetic (by enclosure for activations that have no rational values), for the
    function in real arithmetic. "unknown": neither within the time. `boxes` were enclosed, `undecided`
    of them are neither refuted nor split; `proofs` are the certified boxes, where asked for.
    """

    verdict: Literal["unsat", "sat", "unknown"]
    counterexample: Satisfied | None
    proofs: tuple[ProvenBox, ...]
    boxes: int
    undecided: int
    seconds: float

    def __str__(self) -> str:
        """The answer as verifiers of VNN-LIB properties print it: the verdict, then (X_i v), (Y_j v)."""
        if self.counterexample is None:
            return self.verdict
        named = [f"(X_{i} {float(v)!r})" for i, v in enumerate(self.counterexample.x)]
        named += [f"(Y_{j} {v!r})" for j, v in enumerate(self.counterexample.y)]
        return f"{self.verdict}\n({chr(10).join(named)})"


def verify_vnnlib(
    network: Network,
    specification: str | os.PathLike[str] | VnnlibProperty,
    time_limit: float | None = 60.0,
    *,
    certificates: bool = False,
    enclosures: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> VnnlibResult:
    """Decide whether some input of a VNN-LIB property's boxes satisfies its output inequalities.

    Every conjunction {x in box, c_r . f(x) <= b_r for all r} is refuted where c_r . f > b_r is
    proven on the box for one r, by CROWN's enclosures with every rounding counted or by a certificate
    at a point; boxes are halved until then, within `time_limit` seconds. An attack looks for inputs. With
    `certificates` every refuted box gets a `PointCertificate`; `folder` saves them, box-*.json, with
    cover.json: all halvings, what is refuted where, and the counterexample; `check_vnnlib` proves the
    folder's answer again. With `enclosures` boxes that an enclosure refutes are saved without a certificate
    of their own: the check encloses them again. That is far quicker.

    Raises InputError (a file that cannot be read, other sizes, an activation that is not known),
    OptionError. Known without certificates are all activations of `lmikit.intervals`.
    """
    start = time.monotonic()
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if time_limit is not None and not time_limit > 0.0:
        raise OptionError(f"time_limit is {time_limit}; expected a positive number of seconds or None.")
    prop = specification if isinstance(specification, VnnlibProperty) else read_vnnlib_property(specification)
    if (prop.inputs, prop.outputs) != (network.input_dim, network.output_dim):
        raise InputError(
            f"the property has {prop.inputs} inputs and {prop.outputs} outputs; the network has "
            f"{network.input_dim} and {network.output_dim}."
        )
    if enclosures and certificates:
        raise OptionError("certificates and enclosures are both asked for; expected one of them.")
    certify = certificates or (folder is not None and not enclosures)
    store = _Proofs(network, prop, certify, folder)
    deadline = math.inf if time_limit is None else start + time_limit
    with blas_threads(1):
        result = _decided(network, prop, store, deadline, progress)
    result = dataclasses.replace(result, seconds=time.monotonic() - start)
    store.finish(result)
    return result


class _Proofs:
    """The refuted boxes, kept and written where certificates are wanted."""

    def __init__(
        self, network: Network, prop: VnnlibProperty, certify: bool, folder: str | os.PathLike[str] | None
    ) -> None:
        self.network, self.certify = network, certify
        self.chain = _chain(network, certify)
        self.specification = property_digest(prop)
        self.folder = None if folder is None else pathlib.Path(folder)
        self.kept: list[ProvenBox] = []
        self.written = 0
        self.covers = [CoverNode() for _ in prop.cases]
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self.folder} cannot be made a folder ({error}).") from error

    def keep(self, proof: ProvenBox) -> int | None:
        """Keep a certificate; the number of its file, if it is written."""
        if proof.certificate is None:
            return None
        if self.certify:
            self.kept.append(proof)
        if self.folder is None:
            return None
        self.written += 1
        proof.certificate.save(self.folder / file_name(self.written - 1))
        return self.written - 1

    def finish(self, result: VnnlibResult) -> None:
        """Write what the folder says."""
        if self.folder is None:
            return
        found = result.counterexample
        x = None if found is None else tuple(map(str, found.x))
        digests = point_digest(self.network), self.specification
        text = render_cover(Cover(result.verdict, *digests, tuple(self.covers), x))
        write_bytes(self.folder / COVER_NAME, text.encode("utf-8"))


def _chain(network: Network, certify: bool) -> PieceChain | None:
    """What certificates are made from; None for networks that only enclosures know."""
    pieces = [slopes_of_pieces(layer.activation, layer.linear.shape[0]) for layer in network.layers[:-1]]
    if certify or (pieces and None not in pieces):
        return chain_of(network)
    return None


def _decided(
    network: Network,
    prop: VnnlibProperty,
    store: _Proofs,
    deadline: float,
    progress: ProgressCallback | None,
) -> VnnlibResult:
    """Case by case: one that is satisfied settles all, one that stays open leaves "unknown"."""
    boxes = undecided = 0
    verdict: Literal["unsat", "sat", "unknown"] = "unsat"
    for index, case in enumerate(prop.cases):
        search = CaseSearch(
            network,
            store.chain,
            case,
            certify=store.certify,
            deadline=deadline,
            keep=store.keep,
            progress=progress,
        )
        store.covers[index] = search.root
        answer = search.run()
        boxes, undecided = boxes + search.boxes, undecided + search.undecided
        if answer == "sat":
            return VnnlibResult("sat", search.satisfied, _boxes(store), boxes, undecided, 0.0)
        if answer == "unknown":
            verdict = "unknown"
    return VnnlibResult(verdict, None, _boxes(store), boxes, undecided, 0.0)


def _boxes(store: _Proofs) -> tuple[ProvenBox, ...]:
    return tuple(store.kept)
