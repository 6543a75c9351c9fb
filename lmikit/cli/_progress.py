"""A progress bar for anything that takes over a second; silent where tqdm or a terminal is absent."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator

from .._progress import Progress, ProgressCallback

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(enabled: bool = True) -> Iterator[ProgressCallback | None]:
    """A callback that draws on standard error, after one second; None where it cannot draw."""
    if not enabled or not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield None
        return
    import tqdm

    with tqdm.tqdm(delay=1.0, leave=False, bar_format="{desc} {n_fmt} [{elapsed}]{postfix}") as bar:

        def update(step: Progress) -> None:
            bar.set_description_str(step.stage, refresh=False)
            if step.bound_on_optimum is not None and step.objective is not None:
                bar.set_postfix_str(f"gap {abs(step.objective - step.bound_on_optimum):.1e}", refresh=False)
            bar.n = step.iteration
            bar.update(0)
            bar.refresh()

        yield update
