"""Reading networks from files: one reader per suffix."""

import os
import pathlib

from .._errors import InputError
from ._file_entries import NetworkFile
from ._mat import read_mat
from ._npz import read_npz

__all__ = ["read_network_file"]


def read_network_file(path: str | os.PathLike[str]) -> NetworkFile:
    """The arrays of a `.npz` or `.mat` file; raises InputError where they are not a network's."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file; expected a .npz or .mat network.")
    readers = {".npz": read_npz, ".mat": read_mat}
    if file.suffix.lower() not in readers:
        raise InputError(f"{file.name} has suffix {file.suffix!r}; expected .npz or .mat.")
    return readers[file.suffix.lower()](file)
