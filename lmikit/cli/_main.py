"""Arguments and exit codes: 0 proven (or done), 1 refused, 2 bad input, 130 interrupted, 141 reader gone."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .._errors import BackendMissing, InputError, LmikitError, NotCertified, OptionError, SolveFailed

__all__ = ["main"]

# How the command line says what messages say of the functions.
_SWITCHES = {
    "output=name": "--output NAME",
    "logits=True": "--logits",
    "order=[...]": "--order A,B",
}
EXIT_REFUSED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_CUT_OFF = 1, 2, 130, 141


Run = Callable[[argparse.Namespace], int]
Command = Callable[[str, Run, str], argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never shows a traceback for an expected error."""
    arguments = _parser().parse_args(argv)
    command: Run = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `lmikit inspect NET | head`: nobody reads the rest, nor what the exit flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CUT_OFF
    except LmikitError as error:
        return _report(error, as_json=getattr(arguments, "json", False))
    except (MemoryError, RecursionError) as error:  # data beyond what this process may hold
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return _report(
            InputError(f"the input needs more memory than there is ({reason[:200]}); give a smaller one."),
            as_json=getattr(arguments, "json", False),
        )
    except KeyboardInterrupt:
        print("lmikit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _report(error: LmikitError, *, as_json: bool) -> int:
    line = " ".join(str(error).split())
    for argument, switch in _SWITCHES.items():
        line = line.replace(argument, switch)
    if as_json:
        print(json.dumps({"error": type(error).__name__, "message": line}))
    else:
        print(f"lmikit: {type(error).__name__}: {line}", file=sys.stderr)
    bad_input = isinstance(error, (InputError, OptionError, BackendMissing))
    refused = isinstance(error, (NotCertified, SolveFailed)) or not bad_input
    return EXIT_REFUSED if refused else EXIT_BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    from . import _commands, _demo

    parser = argparse.ArgumentParser(
        prog="lmikit",
        description="Lipschitz bounds of neural networks that are tight, fast and proven.",
        epilog="Exit codes: 0 proven or done, 1 refused, refuted or undecided, 2 bad input.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        sub.set_defaults(command=run)
        return sub

    _bound_commands(command)
    _sdp_commands(command)
    _point_commands(command)
    command("solvers", _commands.list_solvers, "which solvers are installed, licensed and ready")

    demo = command("demo", _demo.demo, "train a small network, bound it with every method, check the proof")
    demo.add_argument(
        "--out",
        metavar="DIR",
        default="lmikit-demo",
        help="where its files go (default: %(default)s)",
    )
    return parser


def _check(arguments: argparse.Namespace) -> int:
    from . import _commands, _vnnlib

    run = _commands.check_certificate if arguments.property is None else _vnnlib.check_folder
    return run(arguments)


def _bound_commands(command: Command) -> None:
    from . import _commands, _inspect, _page, _region

    bound = command("bound", _commands.bound, "prove a Lipschitz bound of a network")
    _network_argument(bound)
    _solve_options(bound)
    bound.add_argument("--method", help="one of: " + ", ".join(_commands.method_names()))
    bound.add_argument(
        "--norm", metavar="P,Q", help="bound the q norm of outputs by the p norm of inputs: 1, 2 or inf each"
    )
    bound.add_argument("--save", metavar="FILE", help="write the certificate (JSON) to FILE")
    _lower_option(bound, False)
    _region.add_region_arguments(bound)

    check = command("check", _check, "check a certificate against a network")
    check.add_argument(
        "certificate", metavar="CERT", help="a certificate file written by --save, or a folder of 'vnnlib'"
    )
    check.add_argument(
        "--property", metavar="SPEC", help="the .vnnlib file whose answer the folder CERT is to prove"
    )
    _network_argument(check)
    check.add_argument("--exact", action="store_true", help="check in exact integer arithmetic")

    compare = command("compare", _commands.compare_methods, "every method's proven bound on one network")
    _network_argument(compare)
    _solve_options(compare)
    compare.add_argument("--methods", metavar="A,B", help="only these methods, comma-separated")
    _lower_option(compare, True)
    compare.add_argument("--plot", metavar="FILE", help="save a plot of bound against time to FILE")

    inspect = command("inspect", _inspect.inspect, "a network as it is read: layers, shapes, activations")
    _network_argument(inspect)

    page = command("report", _page.write_report, "all of this as one self-contained page (HTML)")
    _network_argument(page)
    _page.add_report_arguments(page)
    _solve_options(page)


def _sdp_commands(command: Command) -> None:
    from . import _commands

    solve = command("solve", _commands.solve_file, "solve a semidefinite program in a file (.dat-s, .cbf)")
    solve.add_argument("file", metavar="FILE")
    _solve_options(solve)

    prove = command(
        "prove", _commands.prove_file, "prove bounds on the optimum of a semidefinite program in a file"
    )
    prove.add_argument("file", metavar="FILE", help="a .dat-s or .cbf file")
    _solve_options(prove)
    prove.add_argument("--save", metavar="FILE", help="write the certificate (JSON) to FILE")
    prove.add_argument(
        "--bound", type=float, metavar="B", help="assume |y_i| <= B for all i; the claim then says so"
    )


def _point_commands(command: Command) -> None:
    from . import _robust, _vnnlib

    robust = command(
        "robust", _robust.robust, "a proven, refuted or undecided verdict for every input of a file"
    )
    _network_argument(robust)
    _robust.add_robust_arguments(robust)

    vnnlib = command("vnnlib", _vnnlib.vnnlib, "unsat, sat or unknown: decide the property of a VNN-LIB file")
    _network_argument(vnnlib)
    _vnnlib.add_vnnlib_arguments(vnnlib)


def _network_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "network",
        metavar="NET",
        help="a network file: .npz (W0, b0, ... or a saved graph), .mat, .onnx, .nnet, .safetensors, .h5, "
        ".keras, .pt, .zip",
    )
    parser.add_argument(
        "--activation",
        default=None,
        help="for files that do not name their activations (default: relu; torch files need it)",
    )
    parser.add_argument(
        "--input", metavar="A,B", help=".onnx: the inputs that are meant, or values to begin at, as one input"
    )
    parser.add_argument(
        "--output", metavar="NAME", help=".onnx: the value to stop at, where there are several"
    )
    parser.add_argument("--logits", action="store_true", help=".onnx: leave off a softmax at the end")
    parser.add_argument(
        "--order",
        metavar="A,B",
        help=".safetensors, torch: the layers' names in the order of the forward pass; with convolutions "
        "such as conv1:stride=2:padding=1,relu,maxpool:2,fc1",
    )
    parser.add_argument(
        "--input-shape",
        metavar="C,H,W",
        help=".safetensors, torch: the shape of one image, where there are convolutions",
    )
    parser.add_argument(
        "--part", metavar="NAME", help="torch: the tensors of one prefix, or an agent's actor or critic"
    )


def _lower_option(parser: Any, default: bool) -> None:
    parser.add_argument(
        "--lower",
        action=argparse.BooleanOptionalAction,
        default=default,
        help=f"sample a lower bound, within the time limit (default: {'yes' if default else 'no'})",
    )


def _solve_options(parser: Any) -> None:
    parser.add_argument(
        "--solver", help="the SDP solver to use, never replaced by another (see 'lmikit solvers')"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="S", help="seconds; the solver returns its best point by then"
    )
