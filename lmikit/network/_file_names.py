"""Activations as foreign network files spell them; what is not known for certain is refused by name."""

from typing import Any

import numpy as np

from .._errors import InputError
from ._activation_base import Activation
from ._piecewise import Identity, ReLU
from ._smooth import Sigmoid, Tanh

__all__ = ["SPELLINGS", "named_activations"]

SPELLINGS = ("activations", "activation", "act_fcns", "activation_fcns", "act")  # the names of the entry

# PyTorch's, Keras's and MATLAB's names of functions without parameters.
_KNOWN: dict[str, type[Activation]] = {
    **dict.fromkeys(("relu", "poslin"), ReLU),
    **dict.fromkeys(("tanh", "tansig"), Tanh),
    **dict.fromkeys(("sigmoid", "logsig"), Sigmoid),
    **dict.fromkeys(("linear", "identity", "purelin", "none", ""), Identity),
}


def named_activations(name: str, key: str, value: Any, weights: int) -> tuple[Activation, ...]:
    """The activation of each hidden layer from one name or a list of names, as a file holds them.

    A list has one name per hidden layer, or one per weight, the last of them linear. Raises InputError.
    """
    words = np.asarray(value)
    if words.dtype.kind == "O" and all(np.asarray(v).dtype.kind == "U" for v in words.ravel()):
        words = np.array(["".join(np.asarray(v).ravel().tolist()) for v in words.ravel()])  # cells of texts
    if words.dtype.kind != "U" or words.ndim > 2 or not words.size:
        raise InputError(f"{name}: {key!r} is no text; expected names of activations.")
    names = [word.strip().lower() for word in words.ravel().tolist()]
    for word in names:
        if word not in _KNOWN:
            raise InputError(
                f"{name}: {key!r} holds {word[:40]!r}; expected {', '.join(k for k in _KNOWN if k)}. Build "
                "the network with Network.from_arrays to use another activation."
            )
    found = [_KNOWN[word]() for word in names]
    if len(found) == 1 and weights > 2:
        found *= weights - 1
    if len(found) == weights and isinstance(found[-1], Identity):
        found.pop()
    if len(found) != weights - 1:
        raise InputError(
            f"{name}: {key!r} names {len(names)} activations for {weights} weights; expected {weights - 1}, "
            "one per hidden layer (an activation of the output needs one more weight, the identity)."
        )
    return tuple(found)
