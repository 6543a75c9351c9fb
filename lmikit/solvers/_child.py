"""A solve in a process of its own, which can be ended: native code looks at no clock while it factors.

The child is a fresh interpreter that reads a pickle from its standard input and writes one to its standard
output, so that nothing depends on how the caller's program starts processes or on its threads.
"""

import logging
import pickle
import subprocess
import sys
import time
from typing import Any

import numpy as np

from .._errors import SolveFailed
from ..lmi import SDP, Solution, Status

__all__ = ["solve_in_child"]

_LOG = logging.getLogger(__name__)
_SLACK = 0.4  # seconds after the limit in which the child may still hand over its point


def solve_in_child(
    solver: Any, sdp: SDP, warm_start: np.ndarray | Solution | None, time_limit: float, started: float
) -> Solution | None:
    """The child's answer; FAILED, and why, where it had to be ended; None where nothing can be sent."""
    try:
        request = pickle.dumps((solver, sdp, warm_start, time_limit))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        _LOG.info("%s: not in a child process: %s", type(solver).__name__, error)
        return None
    name = type(solver).__name__
    left = time_limit + _SLACK + 0.25 * time_limit - (time.perf_counter() - started)
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, repr(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            output, _ = child.communicate(request, timeout=max(left, 0.1))
        except subprocess.TimeoutExpired:
            return _ended(name, f"ended at the time limit of {time_limit:g} s, in native code", started)
        finally:
            child.kill()  # no use to a child that has ended
    if child.returncode != 0 or not output:
        return _ended(name, f"the solver's process ended with code {child.returncode}", started)
    answer = pickle.loads(output)  # our own child wrote it
    if isinstance(answer, BaseException):
        raise answer
    assert isinstance(answer, Solution)
    return answer


def _ended(name: str, why: str, started: float) -> Solution:
    _LOG.warning("%s: %s; raise the limit, or use Dense() for dense blocks.", name, why)
    seconds = time.perf_counter() - started
    return Solution(Status.FAILED, None, None, np.nan, np.nan, seconds, 0, name, why)


_CODE = """
import ast, sys
sys.path[:] = ast.literal_eval(sys.argv[1])
from lmikit.solvers._child import serve
serve()
"""


def serve() -> None:
    """The child: one request, one answer."""
    output, sys.stdout = sys.stdout.buffer, sys.stderr  # a verbose solver must not write into the answer
    solver, sdp, warm_start, time_limit = pickle.loads(sys.stdin.buffer.read())
    answer: Any
    try:
        answer = solver.solve_here(sdp, warm_start=warm_start, time_limit=time_limit)
    except Exception as error:
        answer = error
    try:
        data = pickle.dumps(answer)
    except Exception as error:
        data = pickle.dumps(SolveFailed(f"{type(solver).__name__}: the answer cannot be sent ({error})."))
    output.write(data)
