"""The commands: each reads its arguments, calls the API and prints; they compute nothing."""

import argparse
import inspect
import math
import pathlib
import time
from typing import Any, overload

from .. import _api, solvers
from .._errors import InputError, OptionError
from .._load import load_network
from ..certificates import AbstractLipschitzCertificate, check
from ..control import load_loop
from ..graph import Graph
from ..lmi import SDP, Status, read_cbf, read_sdpa
from ..methods import AbstractMethod
from ..network import Network
from ..network._file_entries import load_entries
from ..proving import prove
from ..solvers import AbstractSolver
from ..systems import System
from ._output import json_text
from ._progress import progress_bar
from ._region import region_bound

__all__ = [
    "bound",
    "check_certificate",
    "compare_methods",
    "list_solvers",
    "method_names",
    "prove_file",
    "solve_file",
]


def _methods() -> dict[str, AbstractMethod]:
    return {method.cli_name: method for method in _api.default_methods()}


def method_names() -> list[str]:
    """The names that --method takes."""
    return sorted(_methods())


def _method(name: str) -> AbstractMethod:
    known = _methods()
    by_class = {type(m).__name__.lower(): m for m in reversed(known.values())}  # defaults before variants
    found = known.get(name, by_class.get(name.lower()))
    if found is None:
        raise OptionError(f"method is {name!r}; expected one of {', '.join(sorted(known))}.")
    return found


def _solver(name: str | None) -> AbstractSolver | None:
    if name is None:
        return None
    found = [getattr(solvers, n) for n in solvers.__all__]
    known = {
        c.__name__.lower(): c
        for c in found
        if isinstance(c, type) and issubclass(c, AbstractSolver) and not inspect.isabstract(c)
    }
    if name.lower() not in known:
        raise OptionError(f"solver is {name!r}; expected one of {', '.join(sorted(known))}.")
    solver: AbstractSolver = known[name.lower()]()
    return solver


def _chain(arguments: argparse.Namespace) -> Network:
    """The network where it is a chain; raises InputError with the reason where it is none."""
    found = _network(arguments)
    return found if isinstance(found, Network) else found.as_chain()


def _network(arguments: argparse.Namespace) -> Network | Graph:
    return load_network(
        arguments.network,
        activation=arguments.activation,
        output=arguments.output,
        input=None if arguments.input is None else arguments.input.split(","),
        logits=arguments.logits,
        order=None if arguments.order is None else arguments.order.split(","),
        part=arguments.part,
        input_shape=None if arguments.input_shape is None else _shape(arguments.input_shape),
    )


def _shape(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(n.isascii() and n.isdigit() and len(n) < 10 for n in numbers):
        raise OptionError(f"--input-shape is {text[:80]!r}; expected integers such as 1,28,28.")
    return [int(n) for n in numbers]


def _emit(arguments: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    print(json_text(data) if arguments.json else text)


def bound(arguments: argparse.Namespace) -> int:
    """`lmikit bound NET`; with `--lower` a part of the time limit is the sampling's."""
    start, limit = time.perf_counter(), _time_limit(arguments)
    method = None if arguments.method is None else _method(arguments.method)
    solver, network = _solver(arguments.solver), _network(arguments)
    norm = _norm(arguments)
    if arguments.region is not None or arguments.exact:
        if norm is not None:
            raise OptionError("--norm is for bounds everywhere; drop --region and --exact.")
        _emit(arguments, *region_bound(arguments, network, method, solver, limit))
        return 0
    proving = None if limit is None else max(_left(start, limit), 0.1 * limit)
    if proving is not None and arguments.lower:
        proving *= _SHARE_OF_PROOF
    with progress_bar(not arguments.json) as progress:
        certificate = _api.lipschitz(
            network, method, norm=norm, solver=solver, time_limit=proving, progress=progress
        )
    if arguments.lower:
        certificate = certificate.with_lower(_lower(network, _left(start, limit)))
    if arguments.save is not None:
        certificate.save(arguments.save)
    seconds = time.perf_counter() - start
    _emit(
        arguments,
        _bound_data(certificate, seconds),
        _bound_text(certificate, seconds, arguments.save),
    )
    return 0


_NORMS = {"1": 1.0, "2": 2.0, "inf": math.inf}


def _norm(arguments: argparse.Namespace) -> tuple[float, float] | None:
    """(p, q) of --norm P,Q; None where it is not given."""
    if arguments.norm is None:
        return None
    names = arguments.norm.split(",")
    if len(names) != 2 or any(name not in _NORMS for name in names):
        raise OptionError(f"--norm is {arguments.norm!r}; expected P,Q with P and Q of 1, 2 and inf.")
    norm = _NORMS[names[0]], _NORMS[names[1]]
    if arguments.lower and norm != (2.0, 2.0):
        raise OptionError("--lower samples the l2 constant; leave it out with --norm.")
    return norm


_SHARE_OF_PROOF = 0.7  # of a time limit that a sampled lower bound shares


def _time_limit(arguments: argparse.Namespace) -> float | None:
    limit: float | None = arguments.time_limit
    if limit is not None and not (limit > 0.0 and math.isfinite(limit)):
        raise OptionError(f"--time-limit is {limit}; expected seconds above 0.")
    return limit


@overload
def _left(start: float, limit: float) -> float: ...
@overload
def _left(start: float, limit: None) -> None: ...
def _left(start: float, limit: float | None) -> float | None:
    """Seconds of the limit that are left, zero at least."""
    return None if limit is None else max(limit - (time.perf_counter() - start), 0.0)


def _lower(network: Network | Graph, limit: float | None) -> float | None:
    try:
        return _api.lower_bound(network, time_limit=limit).value
    except InputError:  # a slope class has no forward pass; there is nothing to sample
        return None


def _bound_data(certificate: AbstractLipschitzCertificate, seconds: float) -> dict[str, Any]:
    return {
        "bound": certificate.bound,
        "bound_hex": certificate.bound.hex(),
        "proven": True,
        "sampled_lower_bound": certificate.lower,
        "seconds": seconds,
        "produced_by": certificate.produced_by,
        "theorem": certificate.theorem,
        "claim": certificate.claim,
        "network_digest": certificate.network_digest,
    }


def _bound_text(certificate: AbstractLipschitzCertificate, seconds: float, saved: str | None) -> str:
    lower = certificate.lower
    lines = [f"{'proven bound':<20} {certificate.bound:.10g}"]
    if lower is not None:
        ratio = f"  (bound / lower = {certificate.bound / lower:.4g})" if lower > 0 else ""
        lines.append(f"{'sampled lower bound':<20} {lower:.10g}{ratio}")
    lines += [f"{'by':<20} {certificate.produced_by}", f"{'seconds':<20} {seconds:.3f}"]
    lines.append(f"{'claim':<20} {certificate.claim}")
    if saved:
        lines.append(f"{'certificate':<20} {saved}")
    return "\n".join(lines)


def check_certificate(arguments: argparse.Namespace) -> int:
    """`lmikit check CERT NET`: 0 accepted, 1 refused, 2 where the file is no certificate at all."""
    result = check(arguments.certificate, _subject(arguments), exact=arguments.exact)
    arithmetic = "exact integers" if arguments.exact else "verified float64"
    data = {"ok": result.ok, "reason": result.reason, "margin": result.margin, "arithmetic": arithmetic}
    if result.malformed and not arguments.json:
        raise InputError(f"{arguments.certificate}: {result.reason}")
    verdict = "accepted" if result.ok else "refused"
    _emit(arguments, data, f"{verdict} ({arithmetic}): {result.reason}")
    return 2 if result.malformed else 0 if result.ok else 1


def _subject(arguments: argparse.Namespace) -> Any:
    """What the file of a subject holds: an SDP, the matrices of a linear system, a loop, or a network."""
    path = str(arguments.network)
    if _is_sdp(path):
        return _sdp(path)
    if path.lower().endswith(".json"):
        return load_loop(path)
    if path.lower().endswith(".npz") and "A" in load_entries(pathlib.Path(path), ".npz"):
        return System.from_file(path)
    return _network(arguments)


def compare_methods(arguments: argparse.Namespace) -> int:
    """`lmikit compare NET`."""
    solver, network = _solver(arguments.solver), _network(arguments)
    chosen = None if arguments.methods is None else [_method(name) for name in arguments.methods.split(",")]
    with progress_bar(not arguments.json) as progress:
        comparison = _api.compare(
            network,
            chosen,
            solver=solver,
            time_limit=_time_limit(arguments),
            lower=arguments.lower,
            progress=progress,
        )
    if arguments.plot is not None:
        from .. import plots

        plots.bound_against_time(comparison, arguments.plot)
    _emit(arguments, comparison.to_dict(), str(comparison))
    return 0 if any(row.proven for row in comparison.rows) else 1


_SDP_READERS = {".dat-s": read_sdpa, ".dat-s.gz": read_sdpa, ".cbf": read_cbf}


def _is_sdp(path: str) -> bool:
    return path.lower().endswith(tuple(_SDP_READERS))


def _sdp(path: str) -> SDP:
    for suffix, read in _SDP_READERS.items():
        if path.lower().endswith(suffix):
            return read(path)
    raise InputError(f"{path}: unknown kind of file; expected one of {', '.join(_SDP_READERS)}.")


def prove_file(arguments: argparse.Namespace) -> int:
    """`lmikit prove FILE`."""
    solver, sdp = _solver(arguments.solver), _sdp(arguments.file)
    with progress_bar(not arguments.json) as progress:
        result = prove(sdp, solver, arguments.time_limit, bounds=arguments.bound, progress=progress)
    if arguments.save is not None and result:
        result.save(arguments.save)
    data = {
        "status": result.status,
        "lower": result.lower if math.isfinite(result.lower) else None,
        "upper": result.upper if math.isfinite(result.upper) else None,
        "proven": bool(result),
        "claim": result.claim,
        "reasons": list(result.reasons),
        "solver": result.solver,
        "seconds_solving": result.seconds_solving,
        "seconds_proving": result.seconds_proving,
    }
    text = [str(result), f"claim: {result.claim}", f"solver: {result.solver}"]
    text += [f"seconds: {result.seconds_solving:.2f} solving, {result.seconds_proving:.2f} proving"]
    text += [f"certificate: {arguments.save}"] if arguments.save is not None and result else []
    _emit(arguments, data, "\n".join(text))
    return 1 if result.status == "undecided" else 0


def solve_file(arguments: argparse.Namespace) -> int:
    """`lmikit solve FILE`."""
    solver, sdp = _solver(arguments.solver), _sdp(arguments.file)
    with progress_bar(not arguments.json) as progress:
        solution = _api.solve(sdp, solver, time_limit=_time_limit(arguments), progress=progress)
    data = {
        "status": solution.status.name,
        "objective": solution.objective,
        "bound_on_optimum": solution.bound_on_optimum,
        "iterations": solution.iterations,
        "seconds": solution.seconds,
        "solver": solution.solver,
        "native_status": solution.native_status,
    }
    text = [f"{'status':<17} {solution.status.name}: {solution.status.value}"]
    shown = data | {"seconds": f"{solution.seconds:.3f}"}
    text += [f"{key:<17} {value}" for key, value in shown.items() if key != "status"]
    _emit(arguments, data, "\n".join(text))
    return 0 if solution.status is Status.SOLVED else 1


def list_solvers(arguments: argparse.Namespace) -> int:
    """`lmikit solvers`."""
    rows = solvers.available()
    text = [f"{'solver':<10} {'version':<10} {'ready':<6} note"]
    text += [
        f"{row.name:<10} {row.version or '-':<10} {'yes' if row.ready else 'no':<6} {row.note}".rstrip()
        for row in rows
    ]
    data = {
        "solvers": [{"name": r.name, "version": r.version, "ready": r.ready, "note": r.note} for r in rows]
    }
    _emit(arguments, data, "\n".join(text))
    return 0
