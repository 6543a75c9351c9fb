"""from_sklearn on trained models: same outputs, same bound, refusal by name."""

import numpy as np
import pytest
from adapters_helpers import assert_same_bound, assert_same_function, softmax, training_data

from lmikit import BackendMissing, InputError
from lmikit.adapters import from_sklearn

neural = pytest.importorskip("sklearn.neural_network", reason="needs scikit-learn: pip install '.[test]'")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_trained_regressor(activation):
    x, y = training_data()
    targets = np.stack([y, x[:, 0]], axis=1)
    model = neural.MLPRegressor(
        hidden_layer_sizes=(8, 5), activation=activation, max_iter=20, random_state=0
    ).fit(x, targets)
    network = from_sklearn(model)
    assert_same_function(network, model.predict(x), x, rounding=1e-5)
    names = {"logistic": "sigmoid"}
    assert_same_bound(network, [w.T for w in model.coefs_], names.get(activation, activation))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_gives_its_logits(classes):
    x, y = training_data(classes=classes)
    model = neural.MLPClassifier((8,), max_iter=20, random_state=0).fit(x, y)
    logits = from_sklearn(model)(x)
    if classes == 2:
        assert logits.shape == (len(x), 1)
        logits = np.hstack([np.zeros_like(logits), logits])
    assert np.abs(softmax(logits) - model.predict_proba(x)).max() < 1e-5


@pytest.mark.parametrize("name", ["StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"])
@pytest.mark.parametrize("options", [{}, {"with_mean": False, "with_centering": False, "with_std": False}])
def test_a_pipeline_with_scalers(name, options):
    from sklearn import pipeline, preprocessing

    x, y = training_data()
    kind = getattr(preprocessing, name)
    scaler = kind(**{key: value for key, value in options.items() if key in kind().get_params()})
    model = neural.MLPRegressor(hidden_layer_sizes=(6,), max_iter=20, random_state=0)
    whole = pipeline.make_pipeline("passthrough", scaler, preprocessing.StandardScaler(), model)
    whole.fit(3.0 * x + 1.0, np.stack([y, x[:, 0]], axis=1))
    assert_same_function(from_sklearn(whole), whole.predict(x), x, rounding=1e-5)


def test_other_steps_of_a_pipeline_are_refused():
    from sklearn import pipeline, preprocessing

    x, y = training_data()
    for step, pattern in (
        (preprocessing.Normalizer(), "only scalers per feature"),
        (preprocessing.MinMaxScaler(clip=True), "that clips"),
    ):
        model = pipeline.make_pipeline(step, neural.MLPRegressor(hidden_layer_sizes=(3,), max_iter=5))
        with pytest.raises(InputError, match=pattern):
            from_sklearn(model.fit(x, y))


def test_others_are_refused_by_name():
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(InputError, match=r"sklearn.linear_model.*LogisticRegression"):
        from_sklearn(LogisticRegression())
    with pytest.raises(InputError, match="MLPClassifier is not fitted"):
        from_sklearn(neural.MLPClassifier())


def test_without_scikit_learn(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(BackendMissing, match="pip install scikit-learn"):
        from_sklearn(object())
