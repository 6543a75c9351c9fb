"""`lmikit report NET [DATA.npz] -o report.html`: one self-contained page."""

import argparse
import pathlib

from ..reports import report
from ._commands import _emit, _method, _network, _solver, _time_limit
from ._progress import progress_bar
from ._robust import _data

__all__ = ["add_report_arguments", "write_report"]


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command beside the network and the solver's."""
    parser.add_argument("data", metavar="DATA", nargs="?", help="a .npz with X (n, ...) and labels y (n,)")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the page, such as report.html")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N inputs of the data")
    parser.add_argument("--methods", metavar="A,B", help="only these methods, comma-separated")
    parser.add_argument("--title", help="(default: the name of the network's file)")


def write_report(arguments: argparse.Namespace) -> int:
    """0 where a bound was proven, else 1."""
    solver, network = _solver(arguments.solver), _network(arguments)
    methods = None if arguments.methods is None else [_method(name) for name in arguments.methods.split(",")]
    data = None if arguments.data is None else _data(arguments.data, arguments.first)
    title = arguments.title or pathlib.Path(arguments.network).name
    with progress_bar(not arguments.json) as progress:
        found = report(
            network,
            data,
            title=title,
            methods=methods,
            solver=solver,
            time_limit=_time_limit(arguments),
            progress=progress,
        )
    found.save(arguments.out)
    best = found.best
    told = {
        "report": arguments.out,
        "bound": None if best is None else best.bound,
        "method": None if best is None else best.method,
        "sampled_lower_bound": found.lower,
        "certificates": {r.method: r.sha256 for r in found.results if r.sha256 is not None},
    }
    shown = "no bound was proven" if best is None else f"proven bound {best.bound:.10g} by {best.method}"
    _emit(arguments, told, f"{shown}\nreport: {arguments.out}")
    return 1 if best is None else 0
