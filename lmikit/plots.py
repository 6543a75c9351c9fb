"""Pictures of results; matplotlib (extra `plot`) is imported when called."""

import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._comparison import Comparison
from ._errors import BackendMissing, InputError
from ._files import write_bytes
from ._points_table import PointTable

__all__ = ["accuracy_against_radius", "bound_against_time"]


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
    write_bytes(target, _drawn(figure, suffix[1:]))


def _drawn(figure: Any, kind: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=150)
    return stream.getvalue()


def bounds_svg(comparison: Comparison) -> bytes:
    """The picture of `bound_against_time` as SVG; raises BackendMissing without matplotlib."""
    return _drawn(_bounds(comparison), "svg")


def accuracy_svg(radii: np.ndarray, clean: float, attacked: Mapping[float, float] | None = None) -> bytes:
    """The picture of `accuracy_against_radius` as SVG, of proven radii (n,) that are 0 where the label is
    not the prediction; raises BackendMissing and InputError as it does."""
    return _drawn(_accuracy(radii, clean, attacked), "svg")


def bound_against_time(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Save a picture of every proven bound against its seconds, with the sampled lower bound.

    Raises BackendMissing without matplotlib and InputError where `path` cannot be written.
    """
    _save(_bounds(comparison), path)


def _bounds(comparison: Comparison) -> Any:
    proven = [row for row in comparison.rows if row.bound is not None and row.bound > 0]
    if not proven and not comparison.lower:
        raise InputError("the comparison has no bounds to draw; expected at least one.")
    figure, axes = _figure(7.0, 4.2)
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
    _readable_seconds(axes, [row.seconds for row in proven])
    heights = [height for height in (comparison.lower, *(row.bound for row in proven)) if height]
    if heights and max(heights) > 20.0 * min(heights):  # within a decade a log axis has no readable ticks
        axes.set_yscale("log")
    axes.set_xlabel("seconds (proposal and proof)")
    axes.set_ylabel("Lipschitz bound")
    axes.set_title("Proven bounds of network " + "-".join(map(str, comparison.dims)))
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure


def _readable_seconds(axes: Any, seconds: list[float]) -> None:
    """Labels 0.1, 0.2, 0.5, ... within three decades, powers of ten beyond; none at minor ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    wide = bool(seconds) and max(seconds) > 1e3 * max(min(seconds), 1e-6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def accuracy_against_radius(
    table: PointTable, path: str | os.PathLike[str], attacked: Mapping[float, float] | None = None
) -> None:
    """Save a picture of clean, attacked and certified accuracy against the l2 radius.

    `table` is what `certify_points` returns without `eps`, so that every input has its proven
    radius; `attacked` maps radii to accuracies under attack (`PointTable.attacked_accuracy`), an estimate
    from above. Raises BackendMissing without matplotlib and InputError where `path` cannot be written
    or the table holds no radii.
    """
    radii = np.where(np.isfinite(table.radius) & table.right, table.radius, 0.0)
    if not (np.isfinite(table.radius) & table.right).any():
        raise InputError("the table holds no radii; expected that of certify_points without eps.")
    _save(_accuracy(radii, table.clean_accuracy, attacked), path)


def _accuracy(proven: np.ndarray, clean: float, attacked: Mapping[float, float] | None) -> Any:
    radii = proven[np.isfinite(proven) & (proven > 0.0)]
    if not radii.size and not attacked:
        raise InputError("no radius is proven and nothing was attacked; expected either.")
    figure, axes = _figure(6.4, 4.2)
    top = 1.05 * max([float(radii.max(initial=0.0)), *(attacked or {})])
    grid = np.unique(np.concatenate([[0.0, top], radii, np.nextafter(radii, np.inf)]))
    at_least = (proven[None, :] >= np.maximum(grid, 1e-300)[:, None]).mean(axis=1)
    axes.axhline(clean, color="0.3", ls="--", lw=1, label=f"clean: {clean:.3f}")
    axes.plot(grid, at_least, "-", color="tab:blue", label="certified (proven)")
    if attacked:
        at = sorted(attacked)
        axes.plot(
            at,
            [attacked[r] for r in at],
            "o-",
            drawstyle="steps-post",
            color="tab:red",
            mfc="none",
            label="attacked (estimate)",
        )
    axes.set_xlim(0.0, top)
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("l2 radius")
    axes.set_ylabel("accuracy")
    axes.set_title("Accuracy that no input within the radius can change")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="best", fontsize=8, frameon=False)
    return figure
