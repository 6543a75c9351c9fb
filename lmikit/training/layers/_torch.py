"""Layers of norm at most 1 in torch models, which stay torch's: `Linear` and `Conv2d` with another weight.

What `from_torch` reads are the weights that the model computes with, and a bound is proven of those.
"""

from collections.abc import Iterable
from typing import Any

from ..._errors import BackendMissing, InputError, OptionError
from .._retraction import newton_schulz, polar
from ._weights import aol_kernel, aol_weight, cayley_weight

__all__ = ["activation", "aol", "cayley", "keep_orthogonal", "make_orthogonal", "sll"]


def aol(layer: Any) -> Any:
    """The `Linear` or `Conv2d` with `aol_weight` or `aol_kernel` of its weight, of norm at most 1.

    The weight starts orthogonal. Convolutions: any stride, zero padding, one group, no dilation. Returns the
    layer. Raises InputError for another one, BackendMissing without torch.
    """
    torch = _torch()
    convolution = type(layer) is torch.nn.Conv2d
    if not convolution:
        _check_linear(torch, layer, " or Conv2d")
    elif (layer.groups, tuple(layer.dilation), layer.padding_mode) != (1, (1, 1), "zeros"):
        raise InputError(f"the layer is {layer}; expected one group, no dilation and padding with zeros.")
    torch.nn.init.orthogonal_(layer.weight)
    return _parametrised(torch, layer, aol_kernel if convolution else aol_weight)


def cayley(layer: Any) -> Any:
    """The `Linear` with `cayley_weight` of its weight: orthonormal rows or columns, whichever are fewer.

    The weight starts with normal entries. Returns the layer. Raises InputError for another one,
    BackendMissing without torch.
    """
    torch = _torch()
    _check_linear(torch, layer)
    torch.nn.init.normal_(layer.weight, std=min(layer.weight.shape) ** -0.5)
    return _parametrised(torch, layer, cayley_weight)


def sll(features: int, width: int, phi: Any = None) -> Any:
    """A module x - W'diag(t) phi(W x + b), t of `sll_scales`, on (samples, features).

    W (width, features) and q > 0 are trained. `phi` is a module with slopes in [0, 1] (None: ReLU): with
    others the layer is not 1-Lipschitz, and no proof of the model says that it is. Raises BackendMissing
    without torch.
    """
    torch = _torch()
    from ._torch_modules import SLL

    return SLL(features, width, torch.nn.ReLU() if phi is None else phi)


def activation(name: str, features: int = 1) -> Any:
    """A module on (samples, features): "abs", |x|; "half_abs", |x| on every other feature, from the first on,
    x on the rest; "maxmin", (max, min) of consecutive pairs.

    "half_abs" needs the number of features. `from_torch` reads all of them, "maxmin" given `input_shape`.
    Raises OptionError for another name, BackendMissing without torch.
    """
    torch = _torch()
    from ...adapters._torch_modules import AbsoluteValue, MaxMin

    if name == "abs":
        return AbsoluteValue()
    if name == "maxmin":
        return MaxMin()
    if name != "half_abs":
        raise OptionError(f"name is {name!r}; expected 'abs', 'half_abs' or 'maxmin'.")
    module = torch.nn.PReLU(features)
    slopes = torch.ones(features)
    slopes[0::2] = -1.0
    module.weight = torch.nn.Parameter(slopes, requires_grad=False)
    return module


def make_orthogonal(weights: Iterable[Any]) -> None:
    """Replace each matrix by the nearest one with orthonormal rows or columns, in place, in float64.

    Raises InputError for what is no matrix.
    """
    torch = _torch()
    with torch.no_grad():
        for w in _matrices(torch, weights):
            w.copy_(polar(w))


def keep_orthogonal(optimiser: Any, weights: Iterable[Any]) -> Any:
    """Each step of the torch optimiser is followed by the retraction of `Orthogonal` for these matrices.

    They are replaced by the nearest orthogonal ones at once. What a step leaves is off by the square of the
    learning rate, so that `make_orthogonal` belongs at the end. Returns torch's handle, whose `remove` ends
    it. Raises InputError for what is no matrix or not the optimiser's, BackendMissing without torch.
    """
    torch = _torch()
    chosen = _matrices(torch, weights)
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise InputError(f"optimiser is a {type(optimiser).__name__}; expected a torch.optim.Optimizer.")
    held = {id(w) for group in optimiser.param_groups for w in group["params"]}
    foreign = [k for k, w in enumerate(chosen) if id(w) not in held]
    if foreign:
        raise InputError(
            f"the optimiser holds no weights {foreign} of these; expected parameters of its own."
        )
    make_orthogonal(chosen)

    def retract(*_: Any) -> None:
        with torch.no_grad():
            for w in chosen:
                w.copy_(newton_schulz(w))

    return optimiser.register_step_post_hook(retract)


def _matrices(torch: Any, weights: Iterable[Any]) -> list[Any]:
    if isinstance(weights, (torch.nn.Module, torch.Tensor)):
        raise InputError(
            f"weights is a {type(weights).__name__}; expected a list of matrices, such as "
            "[layer.weight for layer in model if isinstance(layer, torch.nn.Linear)]."
        )
    chosen = list(weights)
    wrong = [tuple(getattr(w, "shape", ())) for w in chosen if getattr(w, "ndim", 0) != 2]
    if wrong:
        raise InputError(f"got arrays of shapes {wrong}; expected matrices, as `Linear.weight` is.")
    return chosen


def _check_linear(torch: Any, layer: Any, others: str = "") -> None:
    if type(layer) is not torch.nn.Linear:
        raise InputError(
            f"the layer is a {type(layer).__name__}; expected a torch.nn.Linear{others} as it was made."
        )


def _parametrised(torch: Any, layer: Any, function: Any) -> Any:
    from ._torch_modules import Effective

    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Effective(function))
    return layer


def _torch() -> Any:
    try:
        import torch
        import torch.nn.utils.parametrize
    except ImportError as error:
        raise BackendMissing("this needs the module 'torch'; pip install 'lmikit[torch]'.") from error
    return torch
