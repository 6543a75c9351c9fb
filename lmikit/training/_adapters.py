"""Other frameworks behind `loss_and_grad`: a torch module with its data, a JAX function.

Each imports its framework when it is called. Arrays cross as NumPy arrays in the framework's own dtype.
"""

import importlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError

__all__ = ["JaxLoss", "TorchLoss"]


class TorchLoss:
    """`loss_and_grad` of a torch module on the batches of a data loader.

    `loss_function(module(inputs), targets)` gives a scalar tensor; `batches` is any iterable of pairs
    (inputs, targets) that can be gone through again and again, a DataLoader for instance. `initial` are the
    trainable parameters as arrays, in the module's order ([W0, b0, ...] for Linear layers in a
    Sequential); `load(weights)` writes arrays back. Every call sets the parameters, so the module
    follows the training. A DataLoader that shuffles is not a function of the step: pass a list of
    batches, or a loader with a fixed order, where a resumed run has to repeat an uninterrupted one.

    Raises BackendMissing without torch, InputError for no batch, parameters that are not float32 or
    float64, and a parameter that the loss does not depend on.
    """

    def __init__(self, module: Any, loss_function: Callable[[Any, Any], Any], batches: Iterable[Any]) -> None:
        self._torch = _imported("torch")
        self.module, self._loss, self._batches = module, loss_function, batches
        self._named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not self._named:
            raise InputError("the module has no trainable parameter; expected at least one Linear layer.")
        for name, p in self._named:
            if p.dtype not in (self._torch.float32, self._torch.float64):
                raise InputError(f"parameter {name} has dtype {p.dtype}; expected float32 or float64.")
        self._step = 0
        self._iterator: Any = None
        self._at = 0

    @property
    def initial(self) -> list[np.ndarray]:
        """The parameters as arrays."""
        return [p.detach().cpu().numpy().copy() for _, p in self._named]

    def load(self, weights: Sequence[np.ndarray]) -> None:
        """Write arrays into the module."""
        with self._torch.no_grad():
            for (_, p), w in zip(self._named, weights, strict=True):
                p.copy_(self._torch.as_tensor(np.array(w), dtype=p.dtype))

    def seek(self, step: int) -> None:
        """Batch number `step` comes next, counted through as many epochs as it takes."""
        self._step = step

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """(loss, gradients) on the current batch."""
        inputs, targets = self._batch()
        self.load(weights)
        self.module.zero_grad(set_to_none=True)
        loss = self._loss(self.module(inputs), targets)
        loss.backward()
        gradients = []
        for name, p in self._named:
            if p.grad is None:
                raise InputError(f"the loss does not depend on parameter {name}; freeze or remove it.")
            gradients.append(p.grad.detach().cpu().numpy().copy())
        return float(loss.detach()), gradients

    def _batch(self) -> Any:
        if isinstance(self._batches, Sequence):
            if not self._batches:
                raise InputError("batches is empty; expected at least one pair (inputs, targets).")
            batch = self._batches[self._step % len(self._batches)]
        else:
            if self._iterator is None or self._at > self._step:
                self._iterator, self._at = self._endless(), 0
            batch = next(itertools.islice(self._iterator, self._step - self._at, None))
        self._at = self._step = self._step + 1
        return batch

    def _endless(self) -> Any:
        while True:
            empty = True
            for batch in self._batches:
                empty = False
                yield batch
            if empty:
                raise InputError("batches is empty; expected at least one pair (inputs, targets).")


class JaxLoss:
    """`loss_and_grad` of a JAX function `loss(weights, *batch) -> scalar`, weights a list of arrays.

    `batches` is a sequence of tuples, taken in turn. The function is differentiated and compiled once per
    shape of a batch. JAX computes in float32 unless its x64 mode is on; weights of float64 then lose digits
    in the loss, not in the certificate. Raises BackendMissing without jax, InputError for no batch.
    """

    def __init__(self, loss: Callable[..., Any], batches: Sequence[tuple[Any, ...]]) -> None:
        jax = _imported("jax")
        if not len(batches):
            raise InputError("batches is empty; expected at least one tuple of arrays.")
        self._call = jax.jit(jax.value_and_grad(loss))
        self._batches, self._step = batches, 0

    def seek(self, step: int) -> None:
        """Batch number `step` comes next, counted through as many epochs as it takes."""
        self._step = step

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """(loss, gradients) on the current batch."""
        batch = self._batches[self._step % len(self._batches)]
        self._step += 1
        loss, gradients = self._call(list(weights), *batch)
        return float(loss), [np.asarray(g) for g in gradients]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendMissing(f"this adapter needs the module '{name}'; pip install {name}.") from error
