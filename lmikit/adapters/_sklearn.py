"""scikit-learn: MLPClassifier and MLPRegressor, alone or after scalers; `coefs_` are (in, out)."""

from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..network import Activation, Identity, Network, ReLU, Sigmoid, Tanh
from ._chain import ChainSteps, import_error_extra, refusal

__all__ = ["from_sklearn"]

_ACTIVATIONS: dict[str, Activation] = {
    "identity": Identity(),
    "logistic": Sigmoid(),
    "tanh": Tanh(),
    "relu": ReLU(),
}


def from_sklearn(model: Any) -> Network:
    """The network of a fitted MLPRegressor, or of the logits of a fitted MLPClassifier.

    For a classifier `predict_proba` is the softmax (more than two classes) or the logistic function
    (two classes: one logit, of `classes_[1]`) of the network's output; both are 1-Lipschitz, so
    a bound of the logits covers them too. A Pipeline of StandardScaler, MinMaxScaler, MaxAbsScaler or
    RobustScaler and such a model is the network of its unscaled inputs: the scaling is folded into the first
    weight in float64, which rounds. Raises InputError for other models by their class,
    BackendMissing without scikit-learn.
    """
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    except ImportError as error:
        raise BackendMissing(import_error_extra("sklearn", "scikit-learn")) from error
    scalers, model = _steps_of(model)
    if type(model) not in (MLPClassifier, MLPRegressor):
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        raise InputError(f"model is a {name}; expected a fitted MLPClassifier or MLPRegressor.")
    if not getattr(model, "coefs_", None):
        raise InputError(f"{type(model).__name__} is not fitted; call fit first.")
    if type(model) is MLPRegressor and model.out_activation_ != "identity":
        raise InputError(
            f"MLPRegressor has output activation {model.out_activation_!r}; expected 'identity'."
        )
    chain = ChainSteps(features=int(model.coefs_[0].shape[0]))
    for name, scaler in scalers:
        _scale(chain, name, scaler)
    for k, (coefficients, intercepts) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        chain.affine(f"coefs_[{k}]", coefficients.T, intercepts)
        if k < len(model.coefs_) - 1:
            chain.activation(f"activation {k}", _ACTIVATIONS[model.activation])
    return chain.network()


def _steps_of(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The steps before the last of a Pipeline, and its last; a model alone has none before it."""
    from sklearn.pipeline import Pipeline

    if type(model) is not Pipeline:
        return [], model
    before, (inner, last) = model.steps[:-1], _steps_of(model.steps[-1][1])
    return [*((name, step) for name, step in before if step not in (None, "passthrough")), *inner], last


def _scale(chain: ChainSteps, name: str, scaler: Any) -> None:
    """x -> scale x + offset of a fitted scaler."""
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    kind = type(scaler)
    if kind not in (MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler):
        raise refusal(name, f"a {kind.__module__}.{kind.__qualname__}", "only scalers per feature are read")
    if not hasattr(scaler, "scale_"):
        raise InputError(f"{name} is not fitted; call fit first.")
    if getattr(scaler, "clip", False):
        raise refusal(name, f"a {kind.__qualname__} that clips", "clip=False reads the scaling alone")
    if kind is MinMaxScaler:
        chain.scaling(name, np.asarray(scaler.scale_), np.asarray(scaler.min_))
        return
    centre = None
    if kind is StandardScaler and scaler.with_mean:
        centre = scaler.mean_
    elif kind is RobustScaler and scaler.with_centering:
        centre = scaler.center_
    scale = 1.0 if scaler.scale_ is None else 1.0 / np.asarray(scaler.scale_)
    chain.scaling(name, scale, 0.0 if centre is None else -np.asarray(centre) * scale)
