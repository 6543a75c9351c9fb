"""Progress reports: plain data handed to a callback, so that the library itself never prints."""

import dataclasses
from collections.abc import Callable

__all__ = ["Progress", "ProgressCallback"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """One step of a long computation; none of its numbers is a proven bound."""

    stage: str
    iteration: int
    total: int | None = None
    objective: float | None = None
    bound_on_optimum: float | None = None
    seconds: float = 0.0


ProgressCallback = Callable[[Progress], None]
