"""Ends before the end: at a deadline, and by Ctrl-C during native code.

There the solver runs in a thread; the main thread waits and can be interrupted.
"""

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["OutOfTime", "run_interruptibly"]

T = TypeVar("T")
_POLL = 0.01  # seconds between two chances for Python to see a signal


class OutOfTime(Exception):
    """Raised between two pieces of work after the deadline; it never leaves the solver's room."""


def run_interruptibly(work: Callable[[threading.Event], T]) -> T:
    """work(stop), with `stop` set and KeyboardInterrupt raised when Ctrl-C arrives.

    `work` should look at `stop` where it can; it is left to end on its own. Native code that
    keeps the interpreter lock delays the interrupt until it lets go. Some solvers replace the
    handler of SIGINT while they set up and lose the signal; Python's is put back at each poll, so
    that only a signal within the first hundredth of a second can be lost.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        return work(stop)
    done: list[T] = []
    failed: list[BaseException] = []

    def target() -> None:
        try:
            done.append(work(stop))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=target, daemon=True, name="lmikit-solver")
    try:
        thread.start()
        while thread.is_alive():
            handler = signal.getsignal(signal.SIGINT)
            if handler is not None:  # None: installed by someone outside Python, not ours to touch
                signal.signal(signal.SIGINT, handler)
            thread.join(_POLL)
    except KeyboardInterrupt:
        stop.set()
        raise
    if failed:
        raise failed[0]
    return done[0]
