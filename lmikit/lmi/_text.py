"""Text files of numbers: errors that name file and line, fast rows, writes that are all or nothing."""

import gzip
import io
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np

from .._errors import InputError
from .._files import read_bytes, write_bytes

_LARGEST_FILE = 2**30  # bytes
_RATIO = 100  # of a text to its gzip file, above which it is taken for an attack
_GZIP, _BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"

__all__ = ["TextLines", "write_atomically"]


class TextLines:
    """The lines of a file, read front to back; `position` is the index of the next line."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        replaced: str = "",
        comments: str = "",
        cleaned: Callable[[str, str, int], str] | None = None,
    ) -> None:
        self.path = pathlib.Path(path)
        data = read_bytes(self.path, _LARGEST_FILE, "text file")
        text = self._unpacked(data).removeprefix(_BYTE_ORDER_MARK).decode("latin-1")
        self.room = max(2**20, len(text))  # rows that a file of this length may ask for
        if replaced:
            text = text.translate(dict.fromkeys(map(ord, replaced), " "))
        self.lines = text.split("\n")
        self.comments = comments
        self.cleaned = cleaned  # (line, comments, width) -> line, for rows that are not plain numbers
        self.position = 0

    def _unpacked(self, data: bytes) -> bytes:
        """The text of a gzip file, which may not be longer than a plain one; any other as it is."""
        if not data.startswith(_GZIP):
            return data
        most = min(_LARGEST_FILE, 2**20 + _RATIO * len(data))
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                text = packed.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path} is no complete gzip file ({error}).") from error
        if len(text) > most:
            raise InputError(f"{self.path} unpacks to more than {most} bytes; expected at most that.")
        return text

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise InputError at a line (0-based; the last one read unless given)."""
        raise InputError(f"{self.path}, line {(self.position - 1 if line is None else line) + 1}: {message}.")

    def next(self, expected: str) -> list[str]:
        """The words of the next line that is neither blank nor a comment."""
        while self.position < len(self.lines):
            line = self.lines[self.position].strip()
            self.position += 1
            if line and line[0] not in (self.comments or "\n"):
                return line.split()
        self.fail(f"the file ends where {expected} should be")

    def integer(self, word: str, what: str, low: int, high: int | None = None) -> int:
        """A word as an integer in [low, high]."""
        try:
            value = int(word)
        except ValueError:
            self.fail(f"expected {what}, an integer, and got {word[:40]!r}")
        if value < low or (high is not None and value > high):
            self.fail(
                f"{what} is {word[:40]}; expected {low}{'' if high is None else f' to {high}'} or more"
                if high is None
                else f"{what} is {word[:40]}; expected {low} to {high}"
            )
        return value

    def require_room(self, size: int, what: str) -> None:
        """Refuse what a file of this length cannot fill before anything is allocated for it."""
        if size > self.room:
            self.fail(f"{what} come to {size}, out of proportion to the file; expected at most {self.room}")

    def rows(self, width: int, limits: list[tuple[str, int, int]], count: int | None = None) -> np.ndarray:
        """The next `count` lines (all that are left unless given) as rows of `width` numbers.

        The first columns are integers within `limits`, (name, lowest, highest) each; the rest is finite.
        """
        start = self.position
        end = len(self.lines) if count is None else self._skip(count)
        self.position = end
        words = "\n".join(self.lines[start:end]).split()
        try:
            values = np.array(words, dtype=np.float64)
            if values.size % width:
                raise ValueError
        except ValueError:
            if self.cleaned is None:
                self._diagnose(start, end, width)
            self.lines[start:end] = [
                self.cleaned(line, self.comments, width) for line in self.lines[start:end]
            ]
            words = "\n".join(self.lines[start:end]).split()
            try:
                values = np.array(words, dtype=np.float64)
            except ValueError:
                self._diagnose(start, end, width)
        if values.size % width or (count is not None and values.size != count * width):
            self._diagnose(start, end, width)
        table = values.reshape(-1, width)
        bad = ~np.isfinite(table).all(axis=1)
        for k, (_, low, high) in enumerate(limits):
            bad |= (table[:, k] < low) | (table[:, k] > high) | (table[:, k] != np.floor(table[:, k]))
        if bad.any():
            k = int(np.argmax(bad))
            ranges = ", ".join(f"{name} in {low}..{high}" for name, low, high in limits)
            self.fail(
                f"got {' '.join(words[k * width : (k + 1) * width])}; expected {ranges} and finite numbers",
                self.line_of(start, k * width),
            )
        return table

    def _skip(self, count: int) -> int:
        """The index after the next `count` lines that are not blank."""
        position = self.position
        for _ in range(count):
            while position < len(self.lines) and not self.lines[position].strip():
                position += 1
            if position == len(self.lines):
                self.fail(
                    f"the file ends before the {count} rows announced on line {self.position}", position - 1
                )
            position += 1
        return position

    def line_of(self, start: int, word: int) -> int:
        """The line that holds the given word, counted from line `start`."""
        for k in range(start, len(self.lines)):
            word -= len(self.lines[k].split())
            if word < 0:
                return k
        return len(self.lines) - 1

    def _diagnose(self, start: int, end: int, width: int) -> NoReturn:
        for k in range(start, end):
            words = self.lines[k].split()
            for word in words:
                try:
                    float(word)
                except ValueError:
                    self.fail(f"{word!r} is not a number", k)
            if words and len(words) != width:
                self.fail(f"got {len(words)} numbers; expected {width}", k)
        self.fail(f"the numbers do not make rows of {width}", end - 1)


def write_atomically(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write lines to a file; an error or interrupt leaves the old file, or none, never half of one."""
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode("ascii"))
