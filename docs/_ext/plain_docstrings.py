"""The library's docstrings, plain text with `code` in single backticks, as safe reStructuredText.

Formulas hold characters that reStructuredText reads as markup (|x|, 2**p, N_vx'), so everything
outside backticks is escaped, code in backticks becomes literal, and indented lines become literal blocks.
"""

import re
from typing import Any

_CODE = re.compile(r"(`+)(.+?)\1")
_MARKUP = re.compile(r"([\\*|_`])")


def _escape(text: str) -> str:
    parts, end = [], 0
    for match in _CODE.finditer(text):
        end_mark = "\\ " if text[match.end() : match.end() + 1].isalnum() else ""  # `and`s
        parts += [_MARKUP.sub(r"\\\1", text[end : match.start()]), f"``{match[2]}``{end_mark}"]
        end = match.end()
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[end:])])


def _unpaired(text: str) -> str:
    """Code that a line break cuts in two is put on one line."""
    return re.sub(r"`[^`]*\n[^`]*`", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), text)


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring, escaped, with indented paragraphs as literal blocks."""
    result: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if paragraph.startswith((" ", "\t")):
            result += ["::", "", *paragraph.split("\n")]
        else:
            result += _escape(_unpaired(paragraph)).split("\n")
        result.append("")
    return result


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def _signature(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """`<factory>`, as dataclasses print a default that is made anew, is not Python; `...` is."""
    return (signature or "").replace("<factory>", "...") or None, returns


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
