"""What SDPA files in use have beside the format: Fortran exponents, words glued to numbers, comments among
entries.
"""

import re

__all__ = ["leading_number", "plain_entries", "without_fortran"]

_FORTRAN = re.compile(r"(?<![\w.])([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)(?![\w.])")
_LEADING = re.compile(r"[+-]?\d+(?:\.0*)?(?![\w.])")


def without_fortran(line: str) -> str:
    """1.0D+01 as 1.0e+01."""
    return _FORTRAN.sub(r"\1e\2", line)


def leading_number(word: str) -> str:
    """The integer that a word such as `2=mdim` or `2.0` begins with; the word itself where it begins with
    none.
    """
    found = _LEADING.match(word)
    return word if found is None else found[0].split(".")[0]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def plain_entries(line: str, comments: str, width: int) -> str:
    """A line of entries without comments, Fortran exponents and words after whole entries.

    A line whose words are no numbers is a comment; what else is malformed stays as it is, for an error to
    name.
    """
    text = line.strip()
    if not text or text[0] in comments:
        return ""
    words = without_fortran(text).split()
    numbers = [_is_number(word) for word in words]
    if not any(numbers):
        return ""
    first = numbers.index(False) if False in numbers else len(words)
    return " ".join(words[:first] if first and first % width == 0 else words)
