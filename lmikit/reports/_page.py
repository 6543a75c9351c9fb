"""A report as one HTML page: no script, nothing loaded, light and dark, printable; all text is escaped."""

import base64
import html
import math
import re
from typing import TYPE_CHECKING, Any

from .. import plots
from .._errors import BackendMissing, InputError
from .._version import __version__
from ._style import STYLE

if TYPE_CHECKING:
    from ._report import MethodResult, Report

__all__ = ["page_of"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MOST_ROWS = 200  # of the layers and of the inputs


def page_of(report: "Report") -> str:
    """The page's text."""
    parts = [_verdict(report), _methods(report), _network(report), _data(report), _certificates(report)]
    title = html.escape(report.title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}: report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{title}</h1><p class="quiet">lmikit {html.escape(__version__)}</p></header>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _number(value: float | None, digits: int = 6) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}g}"


def _cell(value: float | None, name: str, digits: int = 6) -> str:
    """A number with all of its digits beside it, for whoever reads the page by a program."""
    exact = "" if value is None else f' data-{name}="{float(value).hex()}"'
    return f'<td class="number"{exact}>{_number(value, digits)}</td>'


def _table(head: list[str], rows: list[str]) -> str:
    cells = re.findall(r"<(?:td|th)\b([^>]*)>", rows[0]) if rows else []
    kinds = ['class="number" ' if 'class="number"' in cell else "" for cell in cells] or [""] * len(head)
    titles = "".join(
        f'<th {kind}scope="col">{html.escape(text)}</th>' for kind, text in zip(kinds, head, strict=True)
    )
    body = f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table>{body}</table></div>'


def _verdict(report: "Report") -> str:
    """The sandwich, and what the claim says."""
    best = report.best
    if best is None or best.certificate is None:
        words = "No method proved a bound of this network; the reasons are below."
        return f'<section><p class="claim">{words}</p></section>'
    bound = best.certificate.bound
    cards = [("Proven upper bound", bound, f"by {best.method}", "bound")]
    if report.lower is not None:
        cards.append(("Sampled lower bound", report.lower, "an estimate, no proof", "lower"))
        if report.lower > 0.0:
            cards.append(("Ratio", bound / report.lower, "1 would be exact", "ratio"))
    shown = "".join(
        f'<div class="card"><div class="quiet">{label}</div><div class="big" data-{name}="{value.hex()}">'
        f'{_number(value)}</div><div class="quiet">{html.escape(text)}</div></div>'
        for label, value, text, name in cards
    )
    return (
        f'<section><div class="cards">{shown}</div><h2>What is claimed</h2><p class="claim">'
        f"{html.escape(best.certificate.claim)}</p><p>In words: moving the input by a distance d (l2) moves "
        f"the output by at most {_number(bound)} d, for all inputs. This is proven of the real-arithmetic "
        "function of the weights as float64 holds them; rounding in an inference is not covered. A sampled "
        "lower bound says that no bound below it can be true; it proves nothing from above.</p></section>"
    )


def _methods(report: "Report") -> str:
    rows = [_method_row(report, result) for result in report.results]
    head = ["Method", "Proven bound", "Bound / sampled", "Seconds", "Status"]
    told = report.description
    inner = [row["shape"][0] for row in told.get("layers", [])[:-1]] or [told["hidden_neurons"]]
    dims = (told["inputs"], *inner, told["outputs"])
    picture = _picture(lambda: plots.bounds_svg(report.comparison(dims)), "Proven bounds against seconds")
    return f"<section><h2>Methods</h2>{_table(head, rows)}{picture}</section>"


def _method_row(report: "Report", result: "MethodResult") -> str:
    ratio = result.bound / report.lower if result.bound is not None and report.lower else None
    status = "proven" if result.bound is not None else f"not proven: {result.reason}"
    kind = "proven" if result.bound is not None else "failed"
    return (
        f'<tr><th scope="row">{html.escape(result.method)}</th>{_cell(result.bound, "method-bound", 8)}'
        f'{_cell(ratio, "method-ratio", 4)}<td class="number">{result.seconds:.3f}</td>'
        f'<td class="{kind}">{html.escape(status)}</td></tr>'
    )


def _network(report: "Report") -> str:
    told = report.description
    facts = [
        ("Kind", told["kind"]), ("Inputs", told["inputs"]), ("Outputs", told["outputs"]),
        ("Hidden neurons", told["hidden_neurons"]), ("Nonzero entries", told["entries"]),
        ("SHA-256 of weights and slopes", told["digest"]),
    ]  # fmt: skip
    listed = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts)
    rows = told.get("layers", told.get("nodes", []))
    layers = [_layer(k, row) for k, row in enumerate(rows[:_MOST_ROWS])]
    more = f"<p>{len(rows) - _MOST_ROWS} more are not listed.</p>" if len(rows) > _MOST_ROWS else ""
    head = ["Layer" if "layers" in told else "Node", "Map", "Shape", "Nonzero entries", "Activation"]
    norms = [
        f'<tr><th scope="row">{html.escape(where)}</th>{_cell(norm, "norm")}</tr>'
        for where, norm in report.norms
    ]
    return (
        f"<section><h2>Network</h2><dl>{listed}</dl>{_table(head, layers)}{more}"
        "<h3>Norms of the linear maps</h3>"
        f"<p>Proven upper bounds of the spectral norms.</p>{_table(['Map', 'Norm'], norms)}</section>"
    )


def _layer(k: int, row: dict[str, Any]) -> str:
    maps = [row] if "map" in row else row.get("maps", [])
    kinds = ", ".join(f"{m['map']}{_kernel(m)}" for m in maps)
    shapes = ", ".join(" x ".join(map(str, m["shape"])) for m in maps)
    entries = sum(m["entries"] for m in maps)
    settings = ", ".join(f"{name}={value}" for name, value in row.get("settings", {}).items())
    phi = row.get("activation", "") + (f" ({settings})" if settings else "")
    parents = ", ".join(map(str, row.get("parents", ())))
    of = f"{row['node']} of {parents}".removesuffix(" of ") if "node" in row else ""
    what = ": ".join(text for text in (of, kinds) if text)
    cells = "".join(
        f"<td>{html.escape(str(text))}</td>" for text in (what, shapes, entries if maps else "", phi)
    )
    return f'<tr><th scope="row">{k}</th>{cells}</tr>'


def _kernel(row: dict[str, Any]) -> str:
    return f" {row['kernel']}, stride {row['stride']}, padding {row['padding']}" if "kernel" in row else ""


def _data(report: "Report") -> str:
    table = report.points
    if table is None:
        return ""
    rows = [
        f"<tr>{_cell(radius, 'radius', 4)}{_cell(float(table.certified_at([radius])[0]), 'certified', 4)}"
        f"{_cell(under, 'attacked', 4)}</tr>"
        for radius, under in sorted(report.attacked.items())
    ]
    head = [
        "l2 radius",
        "Certified accuracy (proven, from below)",
        "Accuracy under attack (estimate, from above)",
    ]
    curve = _table(head, rows) if rows else ""
    radii, clean = table.radii, table.clean_accuracy
    picture = _picture(
        lambda: plots.accuracy_svg(radii, clean, report.attacked), "Accuracy against the radius"
    )
    return (
        f'<section><h2>Data</h2><p>{len(radii)} inputs, accuracy <span data-clean="'
        f'{table.clean_accuracy.hex()}">{_number(table.clean_accuracy, 4)}</span>. An input is certified '
        "within a radius where it is classified rightly and no input that near has another class: "
        f"proven, {html.escape(table.how)}</p>{curve}{picture}</section>"
    )


def _certificates(report: "Report") -> str:
    rows = [
        f'<tr><th scope="row">{html.escape(r.method)}</th><td><code>{r.sha256}</code></td>'
        f"<td>{html.escape(r.certificate.theorem)}</td></tr>"
        for r in report.results
        if r.certificate is not None
    ]
    if not rows:
        return ""
    return (
        "<section><h2>Certificates</h2><p>SHA-256 of each certificate's text, the file that it is saved as; "
        "<code>lmikit check CERT NET</code> checks one again, <code>--exact</code> in integers.</p>"
        f"{_table(['Method', 'SHA-256', 'Theorem'], rows)}</section>"
    )


def _picture(draw: Any, words: str) -> str:
    try:
        image = base64.b64encode(draw()).decode("ascii")
    except BackendMissing as error:
        return f'<p class="quiet">{html.escape(words)}: no picture, {html.escape(str(error))}</p>'
    except InputError:  # nothing to draw
        return ""
    return f'<figure><img alt="{html.escape(words)}" src="data:image/svg+xml;base64,{image}"></figure>'
