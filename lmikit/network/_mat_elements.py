"""The elements of a version 5 MAT file, looked at before SciPy reads them.

SciPy's reader takes the type of an element as an index into a table in C: an unknown one ends the
process. So every element is checked here first, in the order in which SciPy reads them.
(MATLAB, MAT-File Format, tables 1-1 to 1-3.)
"""

import itertools
import math
import struct
import zlib

__all__ = ["check_elements"]

_COMPRESSED, _MATRIX, _UINT32, _INT32, _INT8 = 15, 14, 6, 5, 1
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
_TEXTS = _NUMBERS | {16, 17, 18}
_CELL, _STRUCT, _CHAR, _SPARSE, _NUMERIC = 1, 2, 4, 5, range(6, 16)
_COMPLEX = 1 << 11
_DEEPEST, _MOST = 8, 2**20  # nested cells, and elements in all


def check_elements(data: bytes, largest: int) -> None:
    """ValueError unless `data` is a version 5 file of known arrays of at most `largest` bytes."""
    if len(data) < 128 or 0 in data[:4]:
        return  # a version 4 file, which SciPy reads in Python
    if data[126:128] not in (b"IM", b"MI"):
        raise ValueError("its header states no byte order")
    order = "<" if data[126:128] == b"IM" else ">"
    if data[125 if order == "<" else 124] == 2:
        return  # version 7.3, which is HDF5: SciPy refuses it by name
    position, total, counter = 128, 0, itertools.count()
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        content = data[position + 8 : position + 8 + size]
        if len(content) != size:
            raise ValueError("an element is longer than the file")
        position += 8 + size
        if kind == _COMPRESSED:
            content = _unpacked(content, largest - total)
            total += len(content)
            kind, size = struct.unpack_from(order + "II", content) if len(content) >= 8 else (0, 0)
            content = content[8:]
        if kind != _MATRIX or len(content) < size:
            raise ValueError(f"it holds an element of type {kind}, which is no array")
        _Elements(content, order, counter).array(_DEEPEST)


def _unpacked(data: bytes, largest: int) -> bytes:
    unpack = zlib.decompressobj()
    result = unpack.decompress(data, max(largest, 1))
    if unpack.unconsumed_tail:
        raise ValueError("its elements unpack to more than a file of this length may hold")
    if not unpack.eof:
        raise ValueError("a compressed element is cut off")
    return result


class _Elements:
    """The elements of one array, one after the other."""

    def __init__(self, data: bytes, order: str, counter: "itertools.count[int]") -> None:
        self._data, self._order, self._counter, self._at = data, order, counter, 0

    def array(self, depth: int) -> None:
        """Pass over the parts of an array whose own tag was read."""
        if depth == 0 or next(self._counter) > _MOST:
            raise ValueError("its cells are nested too deep, or are too many")
        flags = struct.unpack_from(self._order + "I", self._part({_UINT32}, 8))[0]
        shape = self._part({_INT32, _UINT32})
        dims = struct.unpack(f"{self._order}{len(shape) // 4}i", shape[: len(shape) // 4 * 4])
        if len(shape) % 4 or not 2 <= len(dims) <= 32 or min(dims) < 0:
            raise ValueError("an array's dimensions are none")
        self._part({_INT8})
        kind = flags & 0xFF
        if kind in (_CELL, _STRUCT):
            for _ in range(math.prod(dims) * (1 if kind == _CELL else self._fields())):
                if self._tag() == (_MATRIX, 0):
                    continue  # an empty array
                self.array(depth - 1)
        elif kind == _SPARSE:
            self._part({_INT32})
            self._part({_INT32})
            self._values(_NUMBERS, flags)
        elif kind == _CHAR or kind in _NUMERIC:
            self._values(_TEXTS if kind == _CHAR else _NUMBERS, flags)
        else:
            raise ValueError(f"it holds an array of class {kind}; expected cells, structs, numbers and texts")

    def _fields(self) -> int:
        """How many fields a struct has, from the length of a name and the names."""
        length = struct.unpack_from(self._order + "i", self._part({_INT32}, 4))[0]
        names = self._part({_INT8})
        if length < 1 or not names or len(names) % length:
            raise ValueError("the names of a struct's fields do not fit their length")
        return len(names) // length

    def _values(self, kinds: frozenset[int], flags: int) -> None:
        for _ in range(2 if flags & _COMPLEX else 1):
            self._part(kinds)

    def _tag(self) -> tuple[int, int]:
        """The tag of a nested array, which stands in full."""
        if self._at + 8 > len(self._data):
            raise ValueError("a cell is missing")
        kind, size = struct.unpack_from(self._order + "II", self._data, self._at)
        self._at += 8
        if kind != _MATRIX:
            raise ValueError(f"a cell holds an element of type {kind}, which is no array")
        return kind, size

    def _part(self, kinds: frozenset[int] | set[int], length: int = 0) -> bytes:
        """The bytes of the next element, short or long; `length` is what it has at least."""
        if self._at + 8 > len(self._data):
            raise ValueError("an array ends too early")
        kind, size = struct.unpack_from(self._order + "II", self._data, self._at)
        start, step = self._at + 8, 8 + (size + 7) // 8 * 8
        if kind >> 16:  # up to four bytes within the tag
            kind, size, start, step = kind & 0xFFFF, kind >> 16, self._at + 4, 8
            if size > 4:
                raise ValueError("a short element has more than four bytes")
        data = self._data[start : start + size]
        if kind not in kinds or len(data) != size or size < length:
            raise ValueError(f"an array holds an element of type {kind} and {size} bytes out of place")
        self._at += step
        return data
