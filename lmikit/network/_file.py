"""Reading networks from files: one reader per kind, which the content decides."""

import os
import pathlib

from .._errors import InputError
from .._files import read_unpacked
from ._file_entries import LARGEST_FILE, NetworkFile, is_zip
from ._mat import read_mat
from ._npz import read_npz

__all__ = ["read_network_file"]


def read_network_file(path: str | os.PathLike[str]) -> NetworkFile:
    """The arrays of a `.npz` or `.mat` file; raises InputError where they are not a network's."""
    file = pathlib.Path(path)
    if not os.path.isfile(file):
        raise InputError(f"{str(file)[:200]} is not a file; expected a .npz or .mat network.")
    data = read_unpacked(file, LARGEST_FILE, "network file")
    suffix = pathlib.Path(file.name.lower().removesuffix(".gz")).suffix
    if is_zip(data) or suffix == ".npz":
        return read_npz(file)
    if data[:6] == b"MATLAB" or suffix == ".mat":
        return read_mat(file)
    raise InputError(f"{file.name} has suffix {file.suffix!r}; expected .npz or .mat.")
