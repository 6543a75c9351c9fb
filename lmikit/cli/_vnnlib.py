"""`lmikit vnnlib`: unsat, sat or unknown for the property of a VNN-LIB file."""

import argparse

from .._errors import InputError
from .._vnnlib import VnnlibResult, verify_vnnlib
from .._vnnlib_check import check_vnnlib
from ._commands import _chain, _emit
from ._progress import progress_bar

__all__ = ["add_vnnlib_arguments", "check_folder", "vnnlib"]


def add_vnnlib_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command beside the network."""
    parser.add_argument("specification", metavar="SPEC", help="a .vnnlib file")
    parser.add_argument(
        "--time-limit", type=float, default=60.0, metavar="S", help="seconds in all (default: %(default)s)"
    )
    parser.add_argument("--save", metavar="DIR", help="a folder for a certificate of every refuted box")
    parser.add_argument(
        "--enclosures",
        action="store_true",
        help="with --save: boxes that an enclosure refutes get no certificate of their own (far quicker)",
    )


def vnnlib(arguments: argparse.Namespace) -> int:
    """`lmikit vnnlib NET SPEC`: 0 after any answer."""
    network = _chain(arguments)
    with progress_bar(not arguments.json) as progress:
        result = verify_vnnlib(
            network,
            arguments.specification,
            arguments.time_limit,
            folder=arguments.save,
            enclosures=arguments.enclosures,
            progress=progress,
        )
    _emit(arguments, _json(result), str(result))
    return 0


def check_folder(arguments: argparse.Namespace) -> int:
    """`lmikit check FOLDER NET --property SPEC`: 0 proven, 1 refuted or undecided, 2 bad input."""
    with progress_bar(not arguments.json) as progress:
        found = check_vnnlib(
            arguments.certificate,
            _chain(arguments),
            arguments.property,
            exact=arguments.exact,
            progress=progress,
        )
    if found.malformed and not arguments.json:
        raise InputError(f"{arguments.certificate}: {found.reason}")
    data = {"verdict": found.verdict, "reason": found.reason, "boxes": found.boxes}
    _emit(arguments, data, f"{found.verdict}: {found.reason}")
    return 2 if found.malformed else int(found.verdict != "proven")


def _json(result: VnnlibResult) -> dict[str, object]:
    found = result.counterexample
    return {
        "verdict": result.verdict,
        "counterexample": None
        if found is None
        else {"X": [float(v) for v in found.x], "Y": list(found.y), "alternative": found.alternative},
        "boxes": result.boxes,
        "undecided": result.undecided,
        "certificates": len(result.proofs),
        "seconds": result.seconds,
    }
