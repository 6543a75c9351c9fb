"""Losses that see Lipschitz bounds, their gains, and penalties on norms: gradients and meanings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, OptionError
from lmikit import training as T

seeds = st.integers(0, 2**32 - 1)
LOSSES = [T.WorstCaseLogits(0.4), T.CertifiedHinge(0.7, sharpness=2.0)]
GAINS = [T.NonexpansiveGain(), T.ProductGain()]
DIMS = (5, 6, 4, 3)


def problem(seed, loss, gain, activation="abs", dtype=np.float64):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((12, DIMS[0])), rng.integers(0, DIMS[-1], 12)
    weights = [w.astype(dtype) for w in T.initial_weights(DIMS, seed)]
    return T.DenseLoss(X.astype(dtype), y, loss, gain=gain, activation=activation), weights


def differs(callback, weights, seed, size=1e-6):
    """(directional derivative by differences, by the gradients)."""
    rng = np.random.default_rng(seed)
    direction = [rng.standard_normal(w.shape) for w in weights]
    ahead, behind = (
        callback([w + s * size * d for w, d in zip(weights, direction, strict=True)])[0] for s in (1, -1)
    )
    gradients = callback(weights)[1]
    return (ahead - behind) / (2 * size), sum(
        float((g * d).sum()) for g, d in zip(gradients, direction, strict=True)
    )


@given(seeds, st.sampled_from(LOSSES), st.sampled_from(GAINS), st.sampled_from(["abs", "half_abs", "tanh"]))
def test_gradients_are_those_of_differences(seed, loss, gain, activation):
    callback, weights = problem(seed, loss, gain, activation)
    # kinks of |x| and of the nearest class are met with probability zero, but may be near
    numeric, own = differs(callback, weights, seed + 1)
    smaller, _ = differs(callback, weights, seed + 1, 1e-7)
    if abs(numeric - smaller) < 1e-5 * (1.0 + abs(numeric)):
        assert abs(numeric - own) <= 1e-4 * (1.0 + abs(numeric))


@given(seeds)
def test_without_a_radius_the_worst_logits_are_the_logits(seed):
    margin, weights = problem(seed, T.WorstCaseLogits(0.0), T.ProductGain())
    plain, _ = problem(seed, T.CrossEntropy(), None)
    (a, b), (c, d) = margin(weights), plain(weights)
    assert abs(a - c) <= 1e-12 * (1.0 + abs(c))
    assert all(np.allclose(g, h, atol=1e-12) for g, h in zip(b, d, strict=True))


@given(seeds, st.sampled_from(LOSSES), st.sampled_from(GAINS))
def test_single_precision_agrees_and_keeps_its_dtype(seed, loss, gain):
    (first, weights), (second, light) = problem(seed, loss, gain), problem(seed, loss, gain, dtype=np.float32)
    (a, b), (c, d) = first(weights), second(light)
    assert abs(a - c) <= 1e-4 * (1.0 + abs(a))
    assert all(h.dtype == np.float32 for h in d)
    if isinstance(loss, T.WorstCaseLogits):  # the nearest class of the hinge may be another one
        assert all(np.allclose(g, h, atol=1e-3 * (1.0 + np.abs(g).max())) for g, h in zip(b, d, strict=True))


@settings(max_examples=10)
@given(seeds)
def test_the_product_is_what_is_proven_of_pairs_of_outputs(seed):
    _, weights = problem(seed, T.WorstCaseLogits(0.1), T.ProductGain())
    L, _ = T.ProductGain()(weights)
    proven = lmikit.pairwise_bounds(T.dense_network(weights, "abs"), lmikit.SpectralProduct())
    assert (proven.bounds >= L * (1.0 - 1e-9)).all()
    assert (proven.bounds <= np.sqrt(2.0) * proven.certificate.bound * (1.0 + 1e-9)).all()


@given(seeds, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_norm_penalty_and_its_gradient(seed, weight, last):
    inner, weights = problem(seed, T.CrossEntropy(), None, "tanh")
    callback = T.with_norm_penalty(inner, weight, last=last)
    extra = sum(np.linalg.norm(w, 2) ** 2 for w in weights[0:-2:2]) + last * np.linalg.norm(weights[-2]) ** 2
    assert abs(callback(weights)[0] - inner(weights)[0] - weight * extra) <= 1e-9 * (1.0 + extra)
    numeric, own = differs(callback, weights, seed + 1)
    assert abs(numeric - own) <= 1e-5 * (1.0 + abs(numeric))


@given(seeds)
def test_half_of_the_absolute_values_are_maxima_and_minima(seed):
    """(a, b) to (a - b, a + b)/sqrt 2, then |.| of the first, then back: max and min."""
    rng = np.random.default_rng(seed)
    pairs = rng.standard_normal((7, 2))
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2.0)
    back = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2.0)
    weights = [turn, np.zeros(2), back, np.zeros(2)]
    sorted_pairs = np.stack([pairs.max(axis=1), pairs.min(axis=1)], axis=1)
    assert np.allclose(T.dense_forward(weights, pairs, "half_abs"), sorted_pairs, atol=1e-12)
    network = T.dense_network(weights, "half_abs")
    assert np.allclose([network(p) for p in pairs], sorted_pairs, atol=1e-12)


def test_half_of_the_absolute_values_between_orthogonal_layers_cost_nothing():
    weights = T.Orthogonal((0, 2, 4)).projected(T.initial_weights((4, 6, 6, 3), 0))
    assert lmikit.lipschitz(T.dense_network(weights, "half_abs")).bound <= 1.0 + 1e-6


def test_a_robust_classifier_is_trained_and_proven():
    """Two rings of points: an orthogonal net with a margin of 0.2 on both, by certificates of pairs."""
    rng = np.random.default_rng(0)
    angle, y = rng.uniform(0.0, 2.0 * np.pi, 400), rng.integers(0, 2, 400)
    X = (1.0 + y)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    retraction = T.Orthogonal()
    start = retraction.projected(T.initial_weights((2, 16, 16, 2), 0))
    loss = T.WorstCaseLogits(0.3, ramp=100)
    callback = T.DenseLoss(X, y, loss, gain=T.NonexpansiveGain(), activation="abs", batch=50)
    adam = T.Adam(learning_rate=1e-2, decay="cosine")
    weights = T.sgd(callback, start, steps=500, optimiser=adam, retraction=retraction).weights
    network = T.dense_network(retraction.projected(weights), "abs")
    logits = np.array([network(x) for x in X])
    assert (logits.argmax(axis=1) == y).mean() > 0.99
    radii = lmikit.certified_radius(lmikit.pairwise_bounds(network), logits, logit_error=1e-9)
    assert (radii[logits.argmax(axis=1) == y] > 0.2).mean() > 0.8
    seen = []

    def shifted(rows, generator):
        seen.append(generator.random())
        return rows

    for _ in range(2):
        moved = T.DenseLoss(X, y, T.CrossEntropy(), batch=50, augment=shifted)
        moved.seek(3)
        moved(start)
    assert seen[0] == seen[1]  # the step alone decides


def test_options_are_checked():
    X, y = np.zeros((2, 2)), np.zeros(2, dtype=int)
    for call, error, message in (
        (lambda: T.WorstCaseLogits(-1.0), OptionError, "eps is"),
        (lambda: T.WorstCaseLogits(1.0, ramp=-1), OptionError, "ramp is"),
        (lambda: T.CertifiedHinge(1.0, sharpness=0.0), OptionError, "sharpness is"),
        (lambda: T.DenseLoss(X, y, T.WorstCaseLogits(1.0)), OptionError, "gain"),
        (lambda: T.DenseLoss(X, y, T.CrossEntropy(), gain=T.ProductGain()), OptionError, "gain"),
        (lambda: T.with_norm_penalty(lambda w: (0.0, w), -1.0), OptionError, "weight="),
        (lambda: T.with_norm_penalty(lambda w: (0.0, w), 1.0)([np.ones(2)]), InputError, "no matrix"),
    ):
        with pytest.raises(error, match=message):
            call()


@given(seeds, st.sampled_from([np.float32, np.float64]))
def test_attacked_rows_stay_in_the_ball_and_lose_more(seed, dtype):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((30, 5)).astype(dtype), rng.integers(0, 3, 30)
    weights = [w.astype(dtype) for w in T.initial_weights(DIMS, seed)]
    attack = T.RowAttack(0.5, steps=8, ramp=4)
    losses = []
    for step in (0, 3, 3):  # a quarter of the radius, then all of it
        callback = T.DenseLoss(X, y, T.CrossEntropy(), attack=attack)
        callback.seek(step)
        losses.append(callback(weights)[0])
    plain = T.DenseLoss(X, y, T.CrossEntropy())(weights)[0]
    assert plain <= losses[0] + 1e-6
    assert losses[0] <= losses[1] + 1e-6
    assert losses[1] == losses[2]
    moved = attack(np.ones_like, X, 0.5, rng)
    assert moved.dtype == dtype
    assert (np.linalg.norm(moved - X, axis=1) <= 0.5 * (1.0 + 1e-5)).all()


def test_attacks_are_refused_where_they_make_no_sense():
    X, y = np.zeros((2, 5)), np.zeros(2, dtype=int)
    with pytest.raises(OptionError, match="losses of outputs alone"):
        T.DenseLoss(X, y, T.WorstCaseLogits(0.1), gain=T.ProductGain(), attack=T.RowAttack(0.1))
    with pytest.raises(OptionError, match="positive radius"):
        T.RowAttack(0.0)


def test_data_that_do_not_fit_the_network_are_refused():
    X, y, weights = np.zeros((4, 5)), np.arange(4), T.initial_weights((5, 3), 0)
    for wrong in (np.full((4, 5), np.nan), np.full((4, 5), "a")):
        with pytest.raises(InputError, match="expected finite numbers"):
            T.DenseLoss(wrong, y, T.CrossEntropy())
    with pytest.raises(InputError, match=r"integer labels .* from 0 to 2"):
        T.sgd(T.DenseLoss(X, y, T.CrossEntropy()), weights, steps=1)
    with pytest.raises(InputError, match="takes 5 inputs, X has shape"):
        T.sgd(T.DenseLoss(X[:, :2], y % 3, T.CrossEntropy()), weights, steps=1)
    T.sgd(T.DenseLoss(X, np.zeros((4, 3)), T.SquaredError()), weights, steps=1)


def test_trades_is_differentiated_with_its_moved_rows_held():
    X, y = blobs_of_two(40)
    trades = T.TRADES(T.RowAttack(0.3, steps=2), beta=2.0)
    callback = T.DenseLoss(X, y, T.CrossEntropy(), attack=trades, activation="tanh")
    weights = [w.astype(np.float64) for w in T.initial_weights((2, 5, 2), 0)]
    kept = []
    own = T.RowAttack.__call__

    class Held:
        """The rows of the first call."""

        def __call__(self, *arguments):
            if not kept:
                kept.append(own(*arguments))
            return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(T.RowAttack, "__call__", lambda *a: Held()(*a))
        callback.seek(0)
        loss, gradients = callback(weights)
        move = [np.random.default_rng(k).standard_normal(w.shape) for k, w in enumerate(weights)]
        sides = []
        for h in (1e-6, -1e-6):
            callback.seek(0)
            sides.append(callback([w + h * d for w, d in zip(weights, move, strict=True)])[0])
    slope = (sides[0] - sides[1]) / 2e-6
    assert sum(float((g * d).sum()) for g, d in zip(gradients, move, strict=True)) == pytest.approx(
        slope, rel=1e-6
    )
    assert np.linalg.norm(kept[0] - X, axis=1).max() <= 0.3 * (1 + 1e-12)
    clean = T.DenseLoss(X, y, T.CrossEntropy(), activation="tanh")(weights)[0]
    assert loss > clean  # what the moved rows add is a divergence


def blobs_of_two(count):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    return rng.standard_normal((count, 2)) + 2.0 * y[:, None], y


def test_trades_out_of_range_is_refused():
    with pytest.raises(OptionError, match="expected a RowAttack and a positive number"):
        T.TRADES(T.RowAttack(0.3), beta=0.0)
    with pytest.raises(OptionError, match="expected a RowAttack"):
        T.TRADES(0.3)


def test_early_stopping_keeps_the_best_weights_of_the_same_run():
    callback, weights = problem(3, T.WorstCaseLogits(0.2), T.ProductGain())
    whole = T.sgd(callback, weights, steps=40)
    scores = iter([0.1, 0.3, 0.3, 0.2])
    stopped = T.early_stopped_sgd(callback, weights, lambda _: next(scores), steps=40, every=5, patience=2)
    assert (stopped.score, stopped.step) == (0.3, 10)
    assert stopped.scores == ((5, 0.1), (10, 0.3), (15, 0.3), (20, 0.2))
    assert stopped.last.losses == whole.losses[:20]
    half = T.sgd(callback, weights, steps=10, total_steps=40)
    assert all(np.array_equal(a, b) for a, b in zip(stopped.weights, half.weights, strict=True))
    rising = T.early_stopped_sgd(callback, weights, lambda w: -callback(w)[0], steps=40, every=15)
    assert rising.last.losses == whole.losses
    assert [step for step, _ in rising.scores] == [15, 30, 40]
    assert "best score 0.3 after 10 steps" in str(stopped)
    assert "20 steps, loss" in str(stopped.last)
    for wrong in (float("nan"), np.zeros(2), "1"):
        with pytest.raises(InputError, match="expected one number"):
            T.early_stopped_sgd(callback, weights, lambda _, wrong=wrong: wrong, steps=4, every=2)
    with pytest.raises(InputError, match="every"):
        T.early_stopped_sgd(callback, weights, lambda _: 0.0, steps=4, every=0)
