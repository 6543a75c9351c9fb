"""`.nnet` text files (the format of ACAS Xu and of NNet's tools): ReLU networks with normalisation.

Comment lines start with //. Then: number of maps, inputs, outputs, largest layer; the layer sizes; an
unused flag; input minima; input maxima; means and ranges (one more entry each, for the outputs);
then for each map its rows and its biases, one per line. The function that the file stands for is

    x -> range_out * N((clip(x, minima, maxima) - mean) / range) + mean_out.
"""

import os
import pathlib

import numpy as np

from .._errors import InputError, OptionError
from .._files import read_unpacked, reading
from ..network import Network, ReLU
from ._chain import ChainSteps

__all__ = ["from_nnet"]

_LARGEST_FILE = 2**28  # bytes


def from_nnet(path: str | os.PathLike[str], *, normalised: bool = False) -> Network:
    """The network of a `.nnet` file in the units of its inputs and outputs.

    The normalisation is folded into the first and last weight in float64, which rounds;
    `normalised=True` leaves it out and gives the bare N, whose inputs and outputs are normalised
    ones: its weights are the file's numbers exactly as float64 reads them. Clipping to the input
    box is left out: it is 1-Lipschitz, so a bound of the network covers the clipped function
    too, and inside the box the two are equal.

    Raises InputError where the file is not one.
    """
    if not isinstance(normalised, bool):
        raise OptionError(f"normalised is {normalised!r}; expected True or False.")
    with reading(path, "a .nnet file"):
        return _network(_Lines(pathlib.Path(path)), normalised)


def _network(lines: "_Lines", normalised: bool) -> Network:
    count, inputs, outputs, _ = (lines.integers(4))[:4]
    sizes = lines.integers(count + 1)
    if count < 1 or min(sizes) < 1 or sizes[0] != inputs or sizes[-1] != outputs:
        raise InputError(
            f"{lines.name}: layer sizes {str(sizes)[:120]} do not fit {inputs} inputs, {outputs} outputs."
        )
    lines.next()  # the unused flag
    mean, scale = _normalisation(lines, inputs)
    if not normalised and not (scale > 0.0).all():
        raise InputError(
            f"{lines.name}: a range is {scale.min()}; expected every range > 0. The network without its "
            "normalisation is from_nnet(path, normalised=True)."
        )
    chain = ChainSteps()
    if not normalised:
        chain.scaling("input normalisation", 1.0 / scale[:-1], -mean[:-1] / scale[:-1])
    for k in range(count):
        weight = np.array([lines.numbers(sizes[k]) for _ in range(sizes[k + 1])])
        bias = np.array([lines.numbers(1)[0] for _ in range(sizes[k + 1])])
        chain.affine(f"map {k}", weight, bias)
        if k < count - 1:
            chain.activation(f"map {k}", ReLU())
    lines.end()
    if not normalised:
        chain.scaling("output normalisation", np.full(outputs, scale[-1]), np.full(outputs, mean[-1]))
    return chain.network()


def _normalisation(lines: "_Lines", inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """(means, ranges) of the inputs and the outputs.

    The original files of ACAS Xu have two more entries, of variables that are no inputs any more; a line
    of means as long as one of minima has no entry for the outputs, which are then as they are.
    """
    minima, maxima = lines.any_numbers(finite=False), lines.any_numbers(finite=False)  # left out
    mean, scale = lines.any_numbers(), lines.any_numbers()
    size = minima.size
    good = size in (inputs, inputs + 2) and maxima.size == size and mean.size == scale.size
    if not good or mean.size not in (size, size + 1):
        raise InputError(
            f"{lines.name}: minima, maxima, means and ranges have {minima.size}, {maxima.size}, "
            f"{mean.size} and {scale.size} entries; expected {inputs} minima and maxima and "
            f"{inputs + 1} means and ranges."
        )
    if mean.size == size:
        return np.append(mean[:inputs], 0.0), np.append(scale[:inputs], 1.0)
    return np.append(mean[:inputs], mean[-1]), np.append(scale[:inputs], scale[-1])


class _Lines:
    """The lines of a file that are not comments, read as comma-separated numbers."""

    def __init__(self, file: pathlib.Path) -> None:
        self.name = file.name
        try:
            text = read_unpacked(file, _LARGEST_FILE, ".nnet file").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{file} cannot be read ({error}).") from error
        self._lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("//")
        ]
        self._at = 0

    def next(self) -> tuple[int, list[str]]:
        """(line number, fields)."""
        if self._at == len(self._lines):
            raise InputError(f"{self.name} ends too early; expected more weights and biases.")
        number, line = self._lines[self._at]
        self._at += 1
        return number, [field.strip() for field in line.rstrip(",").split(",")]

    def numbers(self, size: int | None, finite: bool = True) -> np.ndarray:
        """Exactly `size` finite numbers."""
        number, fields = self.next()
        try:
            values = np.array([float(field) for field in fields])
        except ValueError as error:
            raise InputError(f"{self.name}, line {number}: {str(error)[:120]}; expected numbers.") from error
        if (size is not None and values.size != size) or (finite and not np.isfinite(values).all()):
            raise InputError(
                f"{self.name}, line {number}: got {values.size} numbers; expected {size or 'them'}, finite."
            )
        return values

    def any_numbers(self, finite: bool = True) -> np.ndarray:
        """The numbers of a line, however many."""
        return self.numbers(None, finite)

    def integers(self, size: int) -> list[int]:
        """Exactly `size` integers, zero or more, none of them absurdly large."""
        values = self.numbers(size)
        if (values != np.floor(values)).any() or (values < 0).any() or (values > 10**7).any():
            raise InputError(f"{self.name}: sizes {str(values.tolist())[:120]}; expected integers.")
        return [int(v) for v in values]

    def end(self) -> None:
        """Refuse what follows the last map."""
        if self._at != len(self._lines):
            raise InputError(f"{self.name}, line {self._lines[self._at][0]}: expected the end of the file.")
