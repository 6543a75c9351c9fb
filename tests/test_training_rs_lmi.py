"""RS-LMI training: the bound is proven and within the product of taus, runs repeat and resume exactly."""

import math
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lmikit
from lmikit import BackendMissing, InputError, OptionError, training
from lmikit.formulations.rs_lmi import Hinge, slope_gains
from lmikit.sketching import Gaussian, PowerRefined, as_operator
from lmikit.training._certify import certified
from lmikit.training._rs_lmi_penalties import first_sketches, sketched_pulls
from lmikit.training._rs_lmi_taus import TauState
from lmikit.training._weights import Layout

DIMS = (3, 6, 5, 2)


def blobs(count=60, seed=0, dims=DIMS):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, dims[-1], count)
    return rng.standard_normal((count, dims[0])) + 2.0 * y[:, None], y


def callback(batch=20, seed=0, dtype=np.float64, **options):
    X, y = blobs()
    loss = training.CrossEntropy(2.0, options.pop("margin", 0.0))
    return training.DenseLoss(X.astype(dtype), y, loss, batch=batch, seed=seed, **options)


def quick(**changes):
    return training.RSLMIOptions(
        **{"m": 3, "window": 5, "tau_rate": 1e-2, "optimiser": training.Adam(learning_rate=5e-3), **changes}
    )


@settings(max_examples=15)
@given(
    st.sampled_from(["relu", "tanh", "abs", "gelu"]),
    st.sampled_from([None, 0.5, 3.0]),
    st.sampled_from([Gaussian(), PowerRefined(power=1), None]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 1000),
)
def test_the_bound_is_proven_and_never_above_the_product_of_taus(activation, target, sketch, dtype, seed):
    start = training.initial_weights(DIMS, seed, dtype)
    trained = "relu" if activation == "gelu" else activation
    options = quick(sketch=sketch, certify_every=11, seed=seed)
    r = training.rs_lmi(
        callback(dtype=dtype, activation=trained), start, activation, steps=15, target=target, options=options
    )
    assert isinstance(r.certificate, lmikit.Certificate)
    assert r.certificate.bound <= r.product
    norms = [np.linalg.norm(w.astype(np.float64), 2) for w in r.weights[0::2]]
    assert (r.taus >= np.square(norms) * (1 - 1e-12)).all()
    product = math.sqrt(np.prod(r.taus)) * math.prod(slope_gains(r.network))
    assert r.product == pytest.approx(product, rel=1e-9)
    assert target is None or r.certificate.bound <= target
    assert all(w.dtype == dtype for w in r.weights)
    assert lmikit.lower_bound(r.network).value <= r.certificate.bound
    assert (
        r.certificate.network_digest
        == lmikit.Network.from_arrays(r.weights[0::2], r.weights[1::2], activation).digest
    )


def test_the_same_seed_gives_the_same_weights():
    runs = [
        training.rs_lmi(
            callback(), training.initial_weights(DIMS), steps=30, target=2.0, options=quick(seed=s)
        ).weights
        for s in (1, 1, 2)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


class Interrupted:
    """The callback until step `at`, then Ctrl-C."""

    def __init__(self, inner, at):
        self.inner, self.at, self.step = inner, at, 0

    def seek(self, step):
        self.step = step
        self.inner.seek(step)

    def __call__(self, weights):
        if self.step == self.at:
            raise KeyboardInterrupt
        return self.inner(weights)


@settings(max_examples=6)
@given(at=st.integers(1, 39), target=st.sampled_from([None, 2.0]), every=st.sampled_from([1, 3]))
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path_factory, at, target, every):
    file = tmp_path_factory.mktemp("state") / "state.npz"
    start = training.initial_weights(DIMS)
    options = quick(
        every=every, certify_every=16, optimiser=training.Adam(learning_rate=5e-3, decay="cosine")
    )
    whole = training.rs_lmi(callback(), start, steps=40, target=target, options=options)
    with pytest.raises(KeyboardInterrupt):
        training.rs_lmi(
            Interrupted(callback(), at), start, steps=40, target=target, options=options, save_to=file
        )
    assert training.TrainingState.load(file).step == at
    again = training.rs_lmi(callback(), start, steps=40, target=target, options=options, resume=file)
    assert all(np.array_equal(a, b) for a, b in zip(whole.weights, again.weights, strict=True))
    assert whole.certificate.bound == again.certificate.bound
    assert all(np.array_equal(whole.history[k], again.history[k], equal_nan=True) for k in whole.history)


def breaking(at, how):
    inner = callback()
    counter = {"calls": 0}

    def run(weights):
        counter["calls"] += 1
        loss, gradients = inner(weights)
        return how(loss, gradients) if counter["calls"] > at else (loss, gradients)

    return run


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (lambda x, g: (np.nan, g), training.TrainingDiverged, "the loss is nan at step 7"),
        (lambda x, g: (np.inf, g), training.TrainingDiverged, "the loss is inf"),
        (
            lambda x, g: (x, [g[0] * np.nan, *g[1:]]),
            training.TrainingDiverged,
            r"gradients\[0\] holds NaN or infinity at step 7",
        ),
        (
            lambda x, g: (x, [g[0].T, *g[1:]]),
            training.CallbackError,
            r"gradients\[0\] has shape \(3, 6\); expected \(6, 3\)",
        ),
        (lambda x, g: (x, g[:-1]), training.CallbackError, "5 gradients; expected 6"),
        (
            lambda x, g: (np.ones(2), g),
            training.CallbackError,
            r"the loss has shape \(2,\); expected one number",
        ),
        (lambda x, g: x, training.CallbackError, r"expected a pair \(loss, gradients\)"),
    ],
)
def test_a_callback_that_breaks_leaves_the_last_good_state(tmp_path, how, error, message):
    start, file = training.initial_weights(DIMS), tmp_path / "last.npz"
    with pytest.raises(error, match=message) as caught:
        training.rs_lmi(breaking(7, how), start, steps=20, target=2.0, options=quick(), save_to=file)
    state = caught.value.state
    good = training.rs_lmi(callback(), start, steps=6, target=2.0, options=quick()).state
    assert state.step == 6
    assert all(np.array_equal(a, b) for a, b in zip(state.weights, good.weights, strict=True))
    kept = training.TrainingState.load(file)
    assert all(np.array_equal(a, b) for a, b in zip(state.weights, kept.weights, strict=True))
    slower = quick(optimiser=training.Adam(learning_rate=1e-4))
    training.rs_lmi(callback(), start, steps=8, target=2.0, options=slower, resume=state)


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf, "1"])
def test_an_infeasible_target_is_refused(target):
    with pytest.raises(InputError, match="expected a positive finite Lipschitz bound"):
        training.rs_lmi(callback(), training.initial_weights(DIMS), steps=1, target=target)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones(3)], "expected matrices"),
        ([np.ones((2, 3)), np.ones(3)], r"weights\[1\] has shape \(3,\)"),
        ([np.ones((2, 3)), np.ones((1, 4))], r"weights\[0\] gives 2"),
        ([np.ones((2, 3), dtype=int)], "expected float32 or float64"),
        ([np.ones((1, 2, 3))], "Kernels of convolutions need"),
        ([], "holds no matrix"),
        ([np.full((2, 3), np.nan)], "must be finite"),
    ],
)
def test_arrays_that_are_no_network_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        training.rs_lmi(lambda w: (0.0, w), weights, steps=1)


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="activation"):
        training.rs_lmi(callback(), training.initial_weights(DIMS), "swash", steps=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m": 0}, "m is 0"),
        ({"every": 1.5}, "every is 1.5"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"growth": 1.0}, "expected growth > 1"),
        ({"seed": -1}, "seed is -1"),
        ({"sketch": "gaussian"}, "expected an AbstractSketch"),
        ({"decoupled": True, "penalty": Hinge()}, "pass decoupled=False"),
        ({"certify_every": 0}, "certify_every is 0"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        training.RSLMIOptions(**changes)


def test_a_state_of_another_run_is_refused(tmp_path):
    start = training.initial_weights(DIMS)
    state = training.rs_lmi(callback(), start, steps=2, options=quick()).state
    with pytest.raises(InputError, match="made with other options"):
        training.rs_lmi(callback(), start, steps=4, options=quick(m=2), resume=state)
    with pytest.raises(InputError, match="cannot be read as a training state"):
        training.TrainingState.load(__file__)
    file = tmp_path / "s.npz"
    state.save(file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read as a training state"):
        training.TrainingState.load(file)
    with pytest.raises(InputError, match="cannot be read as a training state"):
        training.TrainingState.load(tmp_path / "absent.npz")


@settings(max_examples=20)
@given(st.booleans(), st.sampled_from([Gaussian(), PowerRefined(power=1), None]), st.integers(0, 99))
def test_pulls_are_the_gradient_of_the_penalised_objective(wide, sketch, seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((3, 7) if wide else (7, 3))
    options = training.RSLMIOptions(m=2, sketch=sketch, price=0.3, alpha=2.0)
    taus = TauState.initial(np.array([1.5]), options, math.nan)
    maps = Layout.of([W]).sketched_maps()
    kept = first_sketches(maps, [W], options)
    found = sketched_pulls(maps, [W], kept, taus, options, 4)
    a = W.T if wide else W
    # held fixed: the sketch is not differentiated
    S = kept[0] if sketch is None else sketch.draw(as_operator(a), 2, seed=0, block=4).matrix

    def objective(weight, tau):
        b = weight.T if wide else weight
        values = np.linalg.eigvalsh(S.T @ (b.T @ b - tau * np.eye(b.shape[1])) @ S)
        return 0.3 * (tau + 2.0 * float((np.maximum(values, 0.0) ** 2).sum()))

    move, h = rng.standard_normal(W.shape), 1e-6
    slope = (objective(W + h * move, 1.5) - objective(W - h * move, 1.5)) / (2 * h)
    pull = np.zeros_like(W) if found.pulls[0] is None else found.pulls[0]
    assert float((pull * move).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-6)
    slope = (objective(W, 1.5 + h) - objective(W, 1.5 - h)) / (2 * h)
    assert found.tau_gradients[0] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@settings(max_examples=10)
@given(st.sampled_from([(9, 5), (5, 9), (6, 6)]), st.integers(0, 99))
def test_a_kept_sketch_finds_the_largest_singular_values(shape, seed):
    W = np.random.default_rng(seed).standard_normal(shape)
    options = training.RSLMIOptions(m=4, seed=seed)
    taus = TauState.initial(np.ones(1), options, math.nan)
    maps = Layout.of([W]).sketched_maps()
    kept = first_sketches(maps, [W], options)
    for step in range(400):
        found = sketched_pulls(maps, [W], kept, taus, options, step)
        kept = found.sketches
        assert kept[0].T @ kept[0] == pytest.approx(np.eye(4), abs=1e-12)
    assert found.violation[0] == pytest.approx(np.linalg.norm(W, 2) ** 2 - 1.0, rel=1e-3)


def test_a_diverging_tau_raises_alpha_and_where_the_lmi_holds_its_price():
    options = training.RSLMIOptions(growth=2.0, alpha=1.0)
    taus = TauState.initial(np.ones(3), options, math.nan)
    taus.log_tau = np.log([4.0, 4.0, 1.0])
    taus.violation, taus.counted = np.array([0.0, 5.0, 0.0]), 10
    mean, said = taus.adapt(options)
    assert taus.alpha.tolist() == [2.0, 2.0, 1.0]
    assert taus.price.tolist() == [2.0 * options.price, options.price, options.price]
    assert mean.tolist() == [0.0, 0.5, 0.0]
    assert len(said) == 2
    assert "tau_0 grew by a factor of 4" in said[0]


def test_weights_that_grow_without_end_are_noticed_and_stopped():
    def pushes(weights):
        return -float(weights[0].sum()), [-np.ones_like(weights[0])]

    options = training.RSLMIOptions(
        price=1e-6,
        window=5,
        growth=1.5,
        divergence=1e3,
        tau_rate=0.5,
        optimiser=training.Momentum(learning_rate=0.1),
    )
    r = training.rs_lmi(pushes, [np.eye(2)], steps=2000, options=options)
    assert "tau_0 diverged" in r.reason
    assert r.state.step < 2000
    assert any("tau_0 grew" in e for e in r.events)
    assert np.isfinite(r.certificate.bound)


@pytest.mark.parametrize("sketch", [Gaussian(), PowerRefined(power=1), None])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_full_steps_on_the_penalty_are_stable_from_far_outside(sketch, scale):
    def still(weights):
        return 0.0, [np.zeros_like(w) for w in weights]

    start = [scale * np.random.default_rng(0).standard_normal((8, 8)) for _ in range(2)]
    options = training.RSLMIOptions(sketch=sketch, m=8, alpha=1e4, every=5, clip=False)
    r = training.rs_lmi(still, start, steps=1500, target=1.0, options=options)
    assert "steps were taken" in r.reason
    assert lmikit.lipschitz(lmikit.Network.from_arrays(r.state.weights)).bound < 1.05


def test_a_higher_price_gives_a_smaller_bound():
    bounds = [
        training.rs_lmi(
            callback(batch=None),
            training.initial_weights(DIMS),
            steps=300,
            options=quick(price=price, optimiser=training.Adam(learning_rate=2e-2)),
        ).certificate.bound
        for price in (1e-3, 1e-1)
    ]
    assert bounds[1] < 0.7 * bounds[0]


def test_scaling_to_the_target_keeps_every_decision():
    X, _ = blobs(200, 3)
    start = training.initial_weights(DIMS, 4)
    r = training.rs_lmi(callback(), start, steps=3, target=0.1, options=quick(clip=False))
    before = training.dense_forward(r.state.weights, X).argmax(1)
    assert (training.dense_forward(r.weights, X).argmax(1) == before).all()
    assert 0.0999 < r.certificate.bound <= 0.1


def test_a_method_that_fails_leaves_the_product():
    class Fails(lmikit.LipSDP):
        def propose(self, network, **options):
            raise lmikit.SolveFailed("no")

    network = lmikit.Network.from_arrays([np.eye(2), np.eye(2)])
    found = certified(network, Fails())
    assert found.certificate.bound == found.product == pytest.approx(1.0)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_dense_loss_agrees_with_the_reference(loss, activation):
    X, y = blobs()
    outputs = y if loss == "cross_entropy" else np.stack([np.sin(y), np.cos(y)], 1)
    phi = {"relu": lmikit.ReLU(), "tanh": lmikit.Tanh()}[activation]
    model = training.MLP(dims=DIMS, loss=loss, temperature=3.0, activation=phi)
    weights = model.initial(0)
    own = training.SquaredError() if loss == "squared" else training.CrossEntropy(3.0)
    value, gradients = training.DenseLoss(X, outputs, own, activation=activation)(weights)
    expected, reference = model.loss_and_grad(weights, *model.data(X, outputs))
    scale = 1.0 if loss == "squared" else 3.0  # CrossEntropy divides by its temperature
    assert scale * value == pytest.approx(expected, rel=1e-12)
    for g, e in zip(gradients, reference, strict=True):
        np.testing.assert_allclose(scale * g, e, rtol=1e-9, atol=1e-13)
    single = training.DenseLoss(X.astype(np.float32), outputs, own, activation=activation)
    assert all(g.dtype == np.float32 for g in single([w.astype(np.float32) for w in weights])[1])


@pytest.mark.parametrize("activation", ["relu", "abs", "tanh"])
def test_gradients_of_the_margin_loss_are_its_derivatives(activation):
    cb = callback(batch=None, margin=0.7, activation=activation)
    weights = training.initial_weights(DIMS, 5)
    rng = np.random.default_rng(0)
    _, gradients = cb(weights)
    move = [rng.standard_normal(w.shape) for w in weights]
    step = 1e-6
    up, down = (cb([w + s * step * d for w, d in zip(weights, move, strict=True)])[0] for s in (1, -1))
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, move, strict=True))
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-5)


def test_minibatches_depend_on_the_step_alone():
    cb, weights = callback(), training.initial_weights(DIMS)
    losses = [cb(weights)[0] for _ in range(7)]
    cb.seek(4)
    assert cb(weights)[0] == losses[4]
    assert len(set(losses)) > 3


def test_adam_and_momentum_are_those_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    w0, gradients = rng.standard_normal(5), rng.standard_normal((10, 5))
    pairs = [
        (training.Adam(learning_rate=0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
        (
            training.Momentum(learning_rate=0.1, momentum=0.8),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8),
        ),
    ]
    for own, theirs in pairs:
        p = torch.tensor(w0.copy(), requires_grad=True)
        reference = theirs([p])
        weights, memory = (w0,), own.start([w0])
        for t, g in enumerate(gradients):
            weights, memory = own.step(weights, [g], memory, t, 10)
            p.grad = torch.tensor(g)
            reference.step()
        np.testing.assert_allclose(weights[0], p.detach().numpy(), rtol=1e-9)


def torch_module(torch, weights):
    layers = []
    for k in range(0, len(weights), 2):
        linear = torch.nn.Linear(weights[k].shape[1], weights[k].shape[0], dtype=torch.float64)
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def test_a_torch_module_trains_like_the_numpy_network():
    torch = pytest.importorskip("torch")
    X, y = blobs()
    weights = training.initial_weights(DIMS)
    module = torch_module(torch, weights)
    batch = (torch.tensor(X), torch.tensor(y))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch), batch_size=len(y))
    for batches in ([batch], loader):
        cb = training.TorchLoss(module, torch.nn.functional.cross_entropy, batches)
        cb.load(weights)
        assert all(np.array_equal(a, b) for a, b in zip(cb.initial, weights, strict=True))
        own = training.DenseLoss(X, y, training.CrossEntropy(1.0))
        runs = [training.rs_lmi(f, weights, steps=20, target=2.0, options=quick()).weights for f in (cb, own)]
        for a, b in zip(*runs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_a_torch_loader_can_be_gone_through_to_any_step():
    torch = pytest.importorskip("torch")
    X, y = (torch.tensor(a) for a in blobs())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=25)
    weights = training.initial_weights(DIMS)
    listed, looped = (
        training.TorchLoss(torch_module(torch, weights), torch.nn.functional.cross_entropy, b)
        for b in (list(loader), loader)
    )
    for step in (0, 1, 2, 3, 7, 4):
        listed.seek(step)
        looped.seek(step)
        assert listed(weights)[0] == looped(weights)[0]


def test_a_torch_module_that_cannot_train_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="no trainable parameter"):
        training.TorchLoss(torch.nn.ReLU(), None, [])
    with pytest.raises(InputError, match="expected float32 or float64"):
        training.TorchLoss(torch.nn.Linear(2, 2, dtype=torch.float16), None, [])
    module = torch.nn.Linear(2, 2, dtype=torch.float64)
    weights = [np.eye(2), np.zeros(2)]
    with pytest.raises(InputError, match="batches is empty"):
        training.TorchLoss(module, None, [])(weights)
    batch = (torch.ones((1, 2), dtype=torch.float64), None)
    alone = training.TorchLoss(module, lambda z, _: module.weight.sum(), [batch])
    with pytest.raises(InputError, match="does not depend on parameter bias"):
        alone(weights)


def test_a_jax_function_trains_like_the_numpy_network():
    jax = pytest.importorskip("jax")
    X, y = blobs()
    weights = training.initial_weights(DIMS, dtype=np.float32)

    def loss(w, inputs, labels):
        for k in range(0, len(w) - 2, 2):
            inputs = jax.nn.relu(inputs @ w[k].T + w[k + 1])
        scores = jax.nn.log_softmax(inputs @ w[-2].T + w[-1])
        return -scores[np.arange(len(labels)), labels].mean()

    cb = training.JaxLoss(loss, [(X.astype(np.float32), y)])
    value, gradients = cb(weights)
    expected, reference = training.DenseLoss(X.astype(np.float32), y, training.CrossEntropy(1.0))(weights)
    assert value == pytest.approx(expected, rel=1e-5)
    for a, b in zip(gradients, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    r = training.rs_lmi(cb, weights, steps=10, target=2.0, options=quick())
    assert r.certificate.bound <= 2.0
    with pytest.raises(InputError, match="batches is empty"):
        training.JaxLoss(loss, [])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_missing_framework_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    adapter = training.TorchLoss if name == "torch" else training.JaxLoss
    arguments = (None, None, []) if name == "torch" else (None, [()])
    with pytest.raises(BackendMissing, match=f"pip install {name}"):
        adapter(*arguments)


def test_digits_are_learnt_under_a_proven_bound():
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    cb = training.DenseLoss(X[:1300], y[:1300], training.CrossEntropy(10.0), batch=100, seed=0)
    start = training.initial_weights((64, 48, 32, 10), 0, np.float32)
    options = training.RSLMIOptions(
        optimiser=training.Adam(learning_rate=3e-3, decay="cosine"), every=2, alpha=100.0
    )
    r = training.rs_lmi(cb, start, steps=500, target=2.0, options=options)
    accuracy = (training.dense_forward(r.weights, X[1300:]).argmax(1) == y[1300:]).mean()
    assert accuracy > 0.9
    assert r.certificate.bound <= 2.0
    assert r.history["violation_0"][-1] < 0.05
