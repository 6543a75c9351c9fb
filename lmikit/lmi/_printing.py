"""Problems as mathematics, and tables in text."""

from collections.abc import Iterable, Sequence

from ._compile import Added
from ._curved import Curved
from ._expression import Expression
from ._parameters import Parameters

__all__ = ["printed", "table"]

_MOST = 40  # constraints and variables shown one by one


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows with their columns aligned."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))] if rows else []
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def printed(
    objective: Expression | Curved,
    sign: float,
    variables: dict[str, Expression],
    parameters: Parameters,
    added: Iterable[Added],
) -> str:
    """Objective, constraints by name, variables with their shapes."""
    text = objective.label.text
    head = "find a feasible point" if text == "0" else f"{'minimise' if sign > 0 else 'maximise'}  {text}"
    items = list(added)
    rows = [
        [f"{item.name}:", str(item.constraint), f"with margin {item.margin:g}" if item.margin else ""]
        for item in items[:_MOST]
    ]
    lines = [head, *(["subject to"] if rows else []), *table(rows)]
    if len(items) > _MOST:
        lines.append(f"  and {len(items) - _MOST} more")
    names = [f"{name} ({e.shape[0]}x{e.shape[1]})" for name, e in list(variables.items())[:_MOST]]
    lines.append("over  " + ", ".join(names) + (", ..." if len(variables) > _MOST else ""))
    if parameters.names:
        lines.append("given " + ", ".join(parameters.names))
    return "\n".join(lines)
