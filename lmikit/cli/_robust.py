"""`lmikit robust`: verdicts for the inputs of a data file."""

import argparse
import io
import math
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import read_bytes, reading
from .._points_table import PointTable, certify_points
from ..claims import SEMANTICS
from ..network import read_npz_entries
from ._commands import _chain, _emit
from ._progress import progress_bar

__all__ = ["add_robust_arguments", "robust"]

_LARGEST_FILE = 2**33  # bytes


def add_robust_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command beside the network."""
    parser.add_argument("data", metavar="DATA", help="a .npz with X (n, ...) and integer labels y (n,)")
    parser.add_argument(
        "--eps", type=float, help="size of the region; without it the largest radius is sought"
    )
    parser.add_argument("--radius", action="store_true", help="seek the largest provable l2 radius")
    parser.add_argument("--norm", choices=("l2", "linf"), default="l2", help="(default: %(default)s)")
    parser.add_argument(
        "--box", type=float, nargs=2, metavar=("LOW", "HIGH"), help="inputs stay in [LOW, HIGH]"
    )
    parser.add_argument(
        "--semantics",
        choices=tuple(SEMANTICS),
        default="real",
        help="whose class: the real function's, or that of any inference in a format (default: %(default)s)",
    )
    parser.add_argument("--first", type=int, metavar="N", help="only the first N inputs")
    parser.add_argument("--save", metavar="DIR", help="a folder for the certificates; it is resumed from")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds for the search at each input")


def _data(path: str, first: int | None) -> tuple[np.ndarray, np.ndarray]:
    with reading(path, "a .npz of plain arrays"):
        held = read_npz_entries(io.BytesIO(read_bytes(path, _LARGEST_FILE, ".npz file")))
        if "X" not in held or "y" not in held:
            raise InputError(f"{path} has the arrays {', '.join(held)[:200]}; expected X and y.")
        return held["X"][:first], held["y"][:first]


def robust(arguments: argparse.Namespace) -> int:
    """`lmikit robust NET DATA`: 0 if every input is proven, else 1."""
    if arguments.radius and arguments.eps is not None:
        raise InputError("--radius and --eps are both given; expected one of them.")
    if arguments.first is not None and arguments.first < 1:
        raise InputError(f"--first is {arguments.first}; expected at least 1.")
    network = _chain(arguments)
    X, y = _data(arguments.data, arguments.first)
    with progress_bar(not arguments.json) as progress:
        table = certify_points(
            network,
            X,
            y,
            arguments.eps,
            arguments.time_limit,
            arguments.semantics,
            norm=arguments.norm,
            box=arguments.box,
            jobs=arguments.jobs,
            folder=arguments.save,
            progress=progress,
        )
    _emit(arguments, _json(table, arguments.semantics), _text(table))
    return 0 if (table.verdict == "proven").all() else 1


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _json(table: PointTable, semantics: str) -> dict[str, Any]:
    return {
        "semantics": semantics,
        "clean_accuracy": table.clean_accuracy,
        "certified_accuracy": table.certified_accuracy,
        "attacked_accuracy": table.attacked_accuracy if table.attacks else None,
        "points": [
            {
                "verdict": r.verdict,
                "label": r.label,
                "margin": _number(r.margin),
                "radius": _number(r.radius),
                "attack_margin": _number(r.attack_margin),
                "seconds": r.seconds,
            }
            for r in table.results
        ],
    }


def _text(table: PointTable) -> str:
    lines = [f"{'input':>6} {'class':>5} {'verdict':<10} {'margin':>11} {'radius':>11} {'attack':>11}"]
    for i, r in enumerate(table.results):
        values = (r.margin, r.radius, r.attack_margin)
        numbers = " ".join(f"{'-':>11}" if math.isnan(v) else f"{v:11.5g}" for v in values)
        lines.append(f"{i:>6} {r.label:>5} {r.verdict:<10} {numbers}")
    return "\n".join([*lines, str(table)])
