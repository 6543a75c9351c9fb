"""Pictures of results; matplotlib (extra `plot`) is imported when called."""

import io
import os
import pathlib
from typing import Any

from ._comparison import Comparison
from ._errors import BackendMissing, InputError
from ._files import write_bytes

__all__ = ["bound_against_time"]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissing("plots need the module 'matplotlib'; pip install 'lmikit[plot]'.") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no global state, no window: safe in threads and on servers
    return figure, figure.add_subplot()


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    target = pathlib.Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist; create it first.")
    suffix = target.suffix.lower()
    if suffix not in (".png", ".svg", ".pdf"):
        raise InputError(
            f"{target}: cannot write {suffix or 'a file without ending'}; expected .png, .svg or .pdf."
        )
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix[1:], dpi=150)
    write_bytes(target, stream.getvalue())


def bound_against_time(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Save a picture of every proven bound against its seconds, with the sampled lower bound.

    Raises BackendMissing without matplotlib and InputError where `path` cannot be written.
    """
    figure, axes = _figure(7.0, 4.2)
    proven = [row for row in comparison.rows if row.bound is not None and row.bound > 0]
    marks = "osD^vP*Xhp<>"
    for k, row in enumerate(proven):
        axes.plot(
            max(row.seconds, 1e-6),
            row.bound,
            marks[k % len(marks)],
            ms=8,
            ls="",
            label=f"{row.method}: {row.bound:.5g}",
        )
    if comparison.lower:
        label = f"sampled lower bound: {comparison.lower:.5g}"
        axes.axhline(comparison.lower, color="0.3", ls="--", lw=1, label=label)
    axes.set_xscale("log")
    heights = [height for height in (comparison.lower, *(row.bound for row in proven)) if height]
    if heights and max(heights) > 20.0 * min(heights):  # within a decade a log axis has no readable ticks
        axes.set_yscale("log")
    axes.set_xlabel("seconds (proposal and proof)")
    axes.set_ylabel("Lipschitz bound")
    axes.set_title("Proven bounds of network " + "-".join(map(str, comparison.dims)))
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    _save(figure, path)
