"""The errors that lmikit raises: every message says what was got, what was expected, what to do."""

__all__ = [
    "BackendMissing",
    "InexactScaling",
    "InputError",
    "LmikitError",
    "NotCertified",
    "OptionError",
    "SolveFailed",
]


class LmikitError(Exception):
    """Base class of every error that lmikit raises on purpose."""


class InputError(LmikitError, ValueError):
    """Data that lmikit was given is not what it must be (shapes, NaN, a broken file)."""


class InexactScaling(InputError):
    """A power of two takes a linear map out of the range of float64; `lipschitz` makes it NotCertified."""


class OptionError(LmikitError, ValueError):
    """An option of a method or solver is unknown or out of its range."""


class BackendMissing(LmikitError, ImportError):
    """An optional package or its licence is missing; the message names the extra to install."""


class SolveFailed(LmikitError, RuntimeError):
    """A solver returned no usable point (infeasible, unbounded or failed)."""


class NotCertified(LmikitError):
    """No proof was found for the proposed witness; nothing may be claimed.

    `margin` is the shift of the scaled matrix that the last attempt missed by, if known.
    """

    def __init__(self, message: str, margin: float | None = None) -> None:
        super().__init__(message)
        self.margin = margin
