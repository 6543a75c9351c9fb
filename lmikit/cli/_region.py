"""`lmikit bound --region FILE [--exact]`: bounds on a region of inputs, and exact constants."""

import argparse
import io
import time
from typing import Any

from .._api import lipschitz
from .._errors import InputError, OptionError
from .._exact_lipschitz import ExactLipschitz, exact_lipschitz
from .._files import read_bytes, reading
from ..certificates.local import LocalCertificate
from ..claims import AbstractRegion, Ball, BallAndBox, Box
from ..methods import AbstractMethod
from ..network import Network, read_npz_entries
from ..solvers import AbstractSolver
from ._progress import progress_bar

__all__ = ["add_region_arguments", "region_bound"]

_LARGEST_FILE = 2**30  # bytes
_EXACT_SECONDS = 60.0


def add_region_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that bound a network on a part of its inputs."""
    parser.add_argument(
        "--region", metavar="FILE", help="a .npz with lower and upper (a box), x0 and radius (a ball), or all"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="the exact constant of a small ReLU network, or the gap after the time limit (60 s)",
    )


def _read_region(path: str) -> AbstractRegion:
    with reading(path, "a .npz of a region"):
        held = read_npz_entries(io.BytesIO(read_bytes(path, _LARGEST_FILE, ".npz file")))
        names = set(held)
        if names not in ({"lower", "upper"}, {"x0", "radius"}, {"lower", "upper", "x0", "radius"}):
            raise InputError(
                f"{path} has the arrays {', '.join(sorted(names))[:200]}; expected lower and upper, x0 "
                "and radius, or all four."
            )
        box = Box(held["lower"], held["upper"]) if "lower" in held else None
        ball = Ball(held["x0"], held["radius"]) if "x0" in held else None
    if ball is not None and box is not None:
        return BallAndBox(ball, box)
    region = box if ball is None else ball
    assert region is not None
    return region


def region_bound(
    arguments: argparse.Namespace,
    network: Any,
    method: AbstractMethod | None,
    solver: AbstractSolver | None,
    limit: float | None,
) -> tuple[dict[str, Any], str]:
    """(fields of the JSON object, text) of a bound on a region, or of an exact constant."""
    if not isinstance(network, Network):
        raise InputError("--region and --exact are for chains of layers; this network is a graph.")
    if arguments.lower:
        raise OptionError("--lower samples all inputs; drop it, --exact proves a lower bound.")
    if arguments.exact and (arguments.method not in (None, "lipsdp") or solver is not None):
        raise OptionError("--exact chooses its methods itself; drop --method and --solver.")
    start = time.perf_counter()
    region = None if arguments.region is None else _read_region(arguments.region)
    with progress_bar(not arguments.json) as progress:
        if arguments.exact:
            seconds = _EXACT_SECONDS if limit is None else limit
            found = exact_lipschitz(network, region, time_limit=seconds, progress=progress)
            return _saved(arguments, found.certificate, _exact(found))
        assert region is not None
        certificate = lipschitz(
            network, method, region=region, solver=solver, time_limit=limit, progress=progress
        )
    return _saved(arguments, certificate, _local(certificate, time.perf_counter() - start))


def _saved(
    arguments: argparse.Namespace, certificate: Any, said: tuple[dict[str, Any], list[str]]
) -> tuple[dict[str, Any], str]:
    data, lines = said
    if arguments.save is not None:
        certificate.save(arguments.save)
        lines.append(f"{'certificate':<20} {arguments.save}")
    return data, "\n".join(lines)


def _exact(found: ExactLipschitz) -> tuple[dict[str, Any], list[str]]:
    data = {
        "bound": found.upper,
        "bound_hex": found.upper.hex(),
        "proven": True,
        "proven_lower_bound": found.lower,
        "exact": found.exact,
        "cells": found.cells,
        "seconds": found.seconds,
        "claim": found.certificate.claim,
        "network_digest": found.certificate.network_digest,
    }
    note = "the constant" if found.exact else "not finished: the gap is stated"
    lines = [
        f"{'proven upper bound':<20} {found.upper:.10g}  ({note})",
        f"{'proven lower bound':<20} {found.lower:.10g}",
        f"{'cells':<20} {found.cells}",
        f"{'seconds':<20} {found.seconds:.3f}",
        f"{'claim':<20} {found.certificate.claim}",
    ]
    return data, lines


def _local(certificate: LocalCertificate, seconds: float) -> tuple[dict[str, Any], list[str]]:
    data = {
        "bound": certificate.bound,
        "bound_hex": certificate.bound.hex(),
        "proven": True,
        "undecided": list(certificate.undecided),
        "seconds": seconds,
        "claim": certificate.claim,
        "network_digest": certificate.network_digest,
    }
    lines = [
        f"{'proven bound':<20} {certificate.bound:.10g}",
        f"{'undecided neurons':<20} {', '.join(map(str, certificate.undecided))} by layer",
        f"{'seconds':<20} {seconds:.3f}",
        f"{'claim':<20} {certificate.claim}",
    ]
    return data, lines
