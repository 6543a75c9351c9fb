"""Checks of numbers among options; each message says what was got and what is expected."""

import math
from typing import Any

from .._errors import InputError, OptionError

__all__ = ["instance", "positive", "whole"]


def whole(
    name: str, value: object, least: int = 1, error: type[InputError | OptionError] = OptionError
) -> None:
    """Raises `error` unless the value is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise error(f"{name} is {value!r}; expected an integer of at least {least}.")


def positive(owner: Any, *names: str, above: float = 0.0) -> None:
    """Raises OptionError unless these attributes are finite numbers above `above`."""
    for name in names:
        value = getattr(owner, name)
        if not (isinstance(value, (int, float)) and above < value < math.inf):
            expected = "a positive number" if above == 0.0 else f"a number above {above:g}"
            raise OptionError(f"{name} is {value!r}; expected {expected}.")


def instance(owner: Any, name: str, kind: type) -> None:
    """Raises OptionError unless the attribute is of this kind."""
    if not isinstance(getattr(owner, name), kind):
        raise OptionError(f"{name} is {getattr(owner, name)!r}; expected an {kind.__name__}.")
