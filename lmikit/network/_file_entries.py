"""What a network file holds, and reading its raw entries."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from .._errors import InputError
from ._activation_base import Activation
from ._layer import Layer

__all__ = ["NetworkFile", "load_entries"]


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


def load_entries(file: pathlib.Path) -> dict[str, Any]:
    """Every entry of a `.npz` or `.mat` file; raises InputError where it cannot be read."""
    # The parsers of foreign bytes raise almost anything on broken files (zip, zlib, struct,
    # key, index and memory errors): all of them mean that the file cannot be read.
    try:
        with file.open("rb") as stream:  # ours to close: np.load leaks it where the zip is broken
            if file.suffix.lower() == ".mat":
                return dict(scipy.io.loadmat(stream))
            with np.load(stream, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    except NotImplementedError as error:
        raise InputError(
            f"{file.name} is a MATLAB v7.3 file; expected an older one: save it with '-v7'."
        ) from error
    except Exception as error:
        reason = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        raise InputError(
            f"{file.name} cannot be read as {file.suffix} ({reason}); the file is broken."
        ) from error
