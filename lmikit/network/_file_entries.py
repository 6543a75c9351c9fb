"""What a network file holds, and reading its raw entries without trusting the sizes that it states."""

import dataclasses
import io
import math
import pathlib
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from .._errors import InputError
from .._files import FREE, RATIO, read_unpacked
from ._activation_base import Activation
from ._layer import Layer
from ._mat_elements import check_elements

__all__ = ["LARGEST_FILE", "NetworkFile", "is_zip", "load_entries", "read_npz_entries"]

LARGEST_FILE = 2**32  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkFile:
    """What a file held; `activations` is None where the file does not say."""

    weights: tuple[Any, ...]
    biases: tuple[Any, ...]
    activations: tuple[Activation, ...] | None
    slopes: tuple[tuple[np.ndarray, np.ndarray] | None, ...]

    def with_slopes(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers with the slopes that the file states, where it states them."""
        return tuple(
            layer if pair is None else dataclasses.replace(layer, alpha=pair[0], beta=pair[1])
            for layer, pair in zip(layers, self.slopes, strict=True)
        )


def load_entries(file: pathlib.Path, kind: str) -> dict[str, Any]:
    """Every entry of a file of `kind` .npz or .mat; raises InputError where it cannot be read.

    Refused are entries of one name and contents of more than 2**27 bytes that are 64 times as long as
    the file; an array is allocated only where its bytes are there.
    """
    data = read_unpacked(file, LARGEST_FILE, "network file")
    # The parsers of foreign bytes raise almost anything on broken files (zip, zlib, struct,
    # key, index and memory errors): all of them mean that the file cannot be read.
    try:
        return read_npz_entries(io.BytesIO(data)) if kind == ".npz" else _mat_entries(io.BytesIO(data))
    except NotImplementedError as error:
        raise InputError(
            f"{file.name} is a MATLAB v7.3 file; expected an older one: save it with '-v7'."
        ) from error
    except Exception as error:
        reason = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        raise InputError(
            f"{file.name} cannot be read as {kind} ({reason[:200]}); the file is broken."
        ) from error


def is_zip(data: bytes) -> bool:
    """Whether these bytes begin as a zip archive, such as a `.npz`, does."""
    return data[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _largest(stream: BinaryIO) -> int:
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return max(FREE, RATIO * length)


def read_npz_entries(stream: BinaryIO) -> dict[str, Any]:
    """The arrays of a `.npz` by name, allocated only where their bytes are there; ValueError and others."""
    largest = _largest(stream)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) != len(names):
            raise ValueError("two entries have one name")
        if sum(member.file_size for member in members) > largest:
            raise ValueError(f"its entries unpack to more than {largest} bytes")
        return {
            name: _npy(archive.read(member), member.filename)
            for name, member in zip(names, members, strict=True)
        }


def _npy(data: bytes, name: str) -> np.ndarray:
    """The array of a `.npy` member whose data are there."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"{name} has the .npy version {version}; expected 1 or 2")
    shape, _, dtype = read[version](stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name} states the shape {shape} of {dtype}, which is not what it holds")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _mat_entries(stream: BinaryIO) -> dict[str, Any]:
    import scipy.io

    largest = _largest(stream)
    check_elements(stream.read(), largest)
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # scipy only warns of unreadable variables and of equal names
        return dict(scipy.io.loadmat(stream))
