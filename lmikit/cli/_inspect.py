"""`lmikit inspect NET`: the network as it was read."""

import argparse
import logging
from typing import Any

from ..reports._describe import describe
from ._commands import _emit, _network

__all__ = ["inspect"]


class _Folded(logging.Handler):
    """Collects what the readers say they folded."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def inspect(arguments: argparse.Namespace) -> int:
    """Print what was read: layers or nodes, shapes, entries, activations, what is folded, which methods."""
    log, folded = logging.getLogger("lmikit.adapters"), _Folded()
    level = log.level
    log.addHandler(folded)
    log.setLevel(logging.INFO)
    try:
        network = _network(arguments)
    finally:
        log.removeHandler(folded)
        log.setLevel(level)
    data = describe(network) | {"folded": folded.lines}
    rows = data.get("layers", data.get("nodes", []))
    words = {"methods": ", ".join(data["methods"]), "folded": "; ".join(folded.lines) or "nothing"}
    words["not_for_it"] = ", ".join(f"{k} ({v})" for k, v in data["not_for_it"].items()) or "-"
    head = {k: v for k, v in data.items() if k not in ("layers", "nodes")} | words
    lines = [f"{key:<15} {value}" for key, value in head.items()]
    lines += [f"  {k:<3} {_text(row)}" for k, row in enumerate(rows)]
    _emit(arguments, data, "\n".join(lines))
    return 0


def _text(row: dict[str, Any]) -> str:
    """One layer or node in one line."""
    words = []
    if "node" in row:
        words.append(f"{row['node']} {row['size']} of {row['parents']}")
    for m in [row] if "map" in row else row.get("maps", []):
        words.append(f"{m['map']} {m['shape'][0]} x {m['shape'][1]} ({m['entries']} entries)")
        if "kernel" in m:
            words.append(
                f"kernel {m['kernel']} on {m['images']}, stride {m['stride']}, padding {m['padding']}"
            )
    if "activation" in row:
        settings = ", ".join(f"{k}={v}" for k, v in row.get("settings", {}).items())
        words.append(row["activation"] + (f"({settings})" if settings else ""))
    return "; ".join(words)
