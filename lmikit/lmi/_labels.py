"""Expressions in the words of mathematics: `A' P + P A`, with a constant matrix shown by its shape."""

import functools
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ._constants import as_constant

__all__ = ["Label", "binary", "call", "index", "of", "of_constant", "scaled", "times", "transposed"]

_LONGEST = 120  # characters; sums of thousands of terms are cut
_SUM, _PRODUCT, _ATOM = 0, 1, 2


class Label(NamedTuple):
    """A text and how strongly it binds."""

    text: str
    rank: int = _ATOM

    def within(self, rank: int) -> str:
        """The text, in parentheses where it binds less than `rank`."""
        return self.text if self.rank >= rank else f"({self.text})"


def _cut(text: str, rank: int) -> Label:
    return Label(text, rank) if len(text) <= _LONGEST else Label(text[: _LONGEST - 2].rstrip() + " …", rank)


@functools.lru_cache(maxsize=256)
def _name(shape: tuple[int, int]) -> Label:
    return Label(f"[{shape[0]}x{shape[1]}]")


def of_constant(value: sp.csc_array) -> Label:
    """A number, 0, I or a multiple of it, else the shape in brackets."""
    rows, cols = value.shape
    if value.nnz == 0:
        return Label("0")
    if (rows, cols) == (1, 1):
        return _number(value.data[0])
    if rows == cols == value.nnz and (value.indices == np.arange(rows)).all():
        first = value.data[0]
        if (value.data == first).all():
            return scaled(Label("I"), first)
    return _name(value.shape)


def of(value: Any) -> Label:
    """What a user compares an expression with."""
    constant = as_constant(value)
    return Label("?") if constant is None else of_constant(constant)


def _number(value: complex) -> Label:
    if np.iscomplexobj(value) and value.imag != 0:
        return Label(f"({value:.6g})")
    text = f"{value.real:.6g}"
    return Label(text, _SUM if text.startswith("-") else _ATOM)


def scaled(label: Label, factor: complex) -> Label:
    """factor times what is labelled."""
    if factor == 1:
        return label
    if factor == -1:
        return _cut("-" + label.within(_PRODUCT), _SUM)
    if label.text == "0":
        return label
    number = _number(factor)
    return _cut(f"{number.text} {label.within(_PRODUCT)}", min(number.rank, _PRODUCT))


def binary(left: Label, sign: str, right: Label) -> Label:
    """left + right, left - right, or the product with sign "" ."""
    if sign == "":
        if left.text == "I" or right.text == "I":
            return right if left.text == "I" else left
        return _cut(f"{left.within(_PRODUCT)} {right.within(_PRODUCT)}", _PRODUCT)
    if right.text == "0":
        return left
    if left.text == "0":
        return right if sign == "+" else scaled(right, -1)
    if right.text.startswith("-") and right.rank == _SUM and " " not in right.text:
        return _cut(f"{left.text} {'-' if sign == '+' else '+'} {right.text[1:]}", _SUM)
    if sign == "+":
        return _cut(f"{left.text} + {right.text}", _SUM)
    return _cut(f"{left.text} - {right.within(_PRODUCT)}", _SUM)


def times(left: Label, right: Label) -> Label:
    """The product of a scalar and a matrix, numbers and I in their usual places."""
    first, second = (right, left) if left.text == "I" or right.text[0] in "0123456789" else (left, right)
    if first.text == "I":
        first, second = second, first
    return _cut(f"{first.within(_PRODUCT)} {second.within(_PRODUCT)}", _PRODUCT)


def transposed(label: Label, mark: str = "'") -> Label:
    """The transpose, or with mark "^H" the conjugate transpose."""
    if label.text.endswith(mark) and " " not in label.text:
        return Label(label.text[: -len(mark)], label.rank)
    if label.text in ("I", "0"):
        return label
    return _cut(label.within(_ATOM) + mark, _ATOM)


def call(name: str, *labels: Label) -> Label:
    """name(a, b, ...)."""
    return _cut(f"{name}({', '.join(label.text for label in labels)})", _ATOM)


def index(key: object) -> str:
    """An index as it is written, lists shortened."""
    if isinstance(key, slice):
        start, stop = ("" if part is None else str(part) for part in (key.start, key.stop))
        return f"{start}:{stop}" + ("" if key.step is None else f":{key.step}")
    text = str(key)
    return text if len(text) < 12 else "..."
