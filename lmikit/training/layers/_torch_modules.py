"""Modules and parametrisations of torch; torch is imported with this file."""

from collections.abc import Callable

import torch
from torch.nn.utils import parametrize

from ._weights import sll_scales

__all__ = ["SLL", "Effective"]


class Effective(torch.nn.Module):
    """A weight as a function of free parameters, for `torch.nn.utils.parametrize`."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, original: torch.Tensor) -> torch.Tensor:
        return self._function(original)


class _Down(torch.nn.Module):
    """W'diag(t), a function of log q; W is another layer's, which registers it."""

    def __init__(self, up: torch.nn.Linear) -> None:
        super().__init__()
        self._up = (up,)

    def forward(self, log_q: torch.Tensor) -> torch.Tensor:
        W = self._up[0].weight
        return W.T * sll_scales(W, torch.exp(log_q))


class SLL(torch.nn.Module):
    """x - W'diag(t) phi(W x + b), in the operations that the readers know."""

    def __init__(self, features: int, width: int, phi: torch.nn.Module) -> None:
        super().__init__()
        self.up = torch.nn.Linear(features, width)
        self.phi = phi
        self.down = torch.nn.Linear(width, features, bias=False)
        self.down.weight = torch.nn.Parameter(torch.zeros(width))
        parametrize.register_parametrization(self.down, "weight", _Down(self.up), unsafe=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.down(self.phi(self.up(x)))
