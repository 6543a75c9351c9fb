"""What the commands print: text, or one JSON object that every reader of JSON takes."""

import json
import math
from typing import Any

__all__ = ["json_text"]


def json_text(data: dict[str, Any]) -> str:
    """One line of JSON; numbers that JSON has not (infinite ones, NaN) become null."""
    return json.dumps(_finite(data), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
