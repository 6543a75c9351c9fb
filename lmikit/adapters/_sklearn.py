"""scikit-learn: MLPClassifier and MLPRegressor; `coefs_` are (in, out)."""

from typing import Any

from .._errors import BackendMissing, InputError
from ..network import Activation, Identity, Network, ReLU, Sigmoid, Tanh
from ._chain import Chain, import_error_extra

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
    a bound of the logits covers them too. Raises InputError for other models by their class,
    BackendMissing without scikit-learn.
    """
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    except ImportError as error:
        raise BackendMissing(import_error_extra("sklearn", "scikit-learn")) from error
    if type(model) not in (MLPClassifier, MLPRegressor):
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        raise InputError(f"model is a {name}; expected a fitted MLPClassifier or MLPRegressor.")
    if not getattr(model, "coefs_", None):
        raise InputError(f"{type(model).__name__} is not fitted; call fit first.")
    if type(model) is MLPRegressor and model.out_activation_ != "identity":
        raise InputError(
            f"MLPRegressor has output activation {model.out_activation_!r}; expected 'identity'."
        )
    chain = Chain()
    for k, (coefficients, intercepts) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        chain.affine(f"coefs_[{k}]", coefficients.T, intercepts)
        if k < len(model.coefs_) - 1:
            chain.activation(f"activation {k}", _ACTIVATIONS[model.activation])
    return chain.network()
