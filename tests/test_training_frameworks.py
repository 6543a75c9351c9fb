"""Losses, bounds and layers for torch and JAX: the values and gradients of their NumPy references."""

import contextlib

import numpy as np
import pytest

import lmikit
from lmikit import InputError
from lmikit import training as T
from lmikit.training import layers

LOSSES = [T.WorstCaseLogits(0.4, ramp=8), T.CertifiedHinge(0.7, ramp=8, sharpness=2.0)]


class InTorch:
    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.torch.set_num_threads(1)  # all of this is small

    def array(self, a):
        return self.torch.tensor(a)

    def gradients(self, function, *arrays):
        """(value, gradients) of a function of arrays, as NumPy's."""
        tensors = [self.torch.tensor(a, requires_grad=True) for a in arrays]
        value = function(*tensors)
        value.backward()
        return float(value.detach()), [t.grad.numpy() for t in tensors]

    def callback(self, loss, X, y):
        nn, phi = self.torch.nn, layers.activation("abs")
        maps = [nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 3)]
        model = nn.Sequential(maps[0], phi, maps[1], phi, maps[2]).double()

        def seen(logits, labels):
            return loss.value(logits, labels, T.product_gains([m.weight for m in maps]))

        return T.TorchLoss(model, seen, [(self.array(X), self.array(y))])


class InJax:
    def __init__(self):
        self.jax = pytest.importorskip("jax")

    def array(self, a):
        return self.jax.numpy.asarray(a)

    def gradients(self, function, *arrays):
        value, there = self.jax.jit(self.jax.value_and_grad(function, tuple(range(len(arrays)))))(*arrays)
        return float(value), [np.asarray(g) for g in there]

    def callback(self, loss, X, y):
        def seen(weights, X, y):
            V0, b0, V1, b1, V2, b2 = weights
            logits = abs(abs(X @ V0.T + b0) @ V1.T + b1) @ V2.T + b2
            return loss.value(logits, y, T.product_gains(weights[0::2]))

        return T.JaxLoss(seen, [(X, y)])


@pytest.fixture(params=["torch", pytest.param("jax", marks=pytest.mark.slow)])
def framework(request):
    """Both compute in float64 here, as the reference does."""
    if request.param == "torch":
        yield InTorch()
        return
    own = InJax()
    with own.jax.enable_x64(True) if hasattr(own.jax, "enable_x64") else contextlib.nullcontext():
        yield own


def outputs(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    L = np.linalg.norm(np.diff(rng.standard_normal((2, 4, 4, 6)), axis=0)[0], axis=2)
    L = L + L.T
    np.fill_diagonal(L, 0.0)
    return rng.standard_normal((30, 4)).astype(dtype), rng.integers(0, 4, 30), L.astype(dtype)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_have_the_values_and_gradients_of_the_reference(framework, loss):
    Z, y, L = outputs(3)
    for eps in (loss.at(0), loss.at(5), loss.eps):
        value, in_Z, in_L = loss(Z, y, L, eps)
        found, (own_Z, own_L, _) = framework.gradients(
            lambda Z, L, eps: loss.value(Z, framework.array(y), L, eps), Z, L, np.asarray(eps)
        )
        assert abs(found - value) <= 1e-12 * (1.0 + abs(value))
        assert np.allclose(own_Z, in_Z, rtol=1e-9, atol=1e-13)
        assert np.allclose(own_L, in_L, rtol=1e-9, atol=1e-13)
        assert abs(float(loss.value(Z, y, L, eps)) - value) <= 1e-12 * (1.0 + abs(value))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_in_single_precision_and_at_equal_rows(framework, loss):
    Z, y, L = outputs(4, np.float32)
    L[1, 2] = L[2, 1] = 0.0
    Z[:, 2] = Z[:, 1] + np.float32(0.1)
    found, gradients = framework.gradients(lambda Z, L: loss.value(Z, framework.array(y), L), Z, L)
    assert np.isfinite(found)
    assert all(np.isfinite(g).all() and g.dtype == np.float32 for g in gradients)


@pytest.mark.parametrize("gain", [T.NonexpansiveGain(), T.ProductGain()])
def test_products_of_norms_have_the_gradients_of_the_reference(framework, gain):
    weights = T.initial_weights((5, 6, 4, 3), 0)
    weights[4][1] = weights[4][0]  # two outputs that differ by a constant
    c = np.random.default_rng(1).random((3, 3))
    L, pull = gain(weights)
    matrices = weights[4:5] if isinstance(gain, T.NonexpansiveGain) else weights[0::2]
    found, gradients = framework.gradients(
        lambda *W: (T.product_gains(W) * framework.array(c)).sum(), *matrices
    )
    assert abs(found - float((c * L).sum())) <= 1e-10 * L.sum()
    expected = list(pull(c).values())
    own = gradients if len(expected) == 1 else [gradients[-1], *gradients[:-1]]
    assert all(np.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(own, expected, strict=True))
    assert np.allclose(T.product_gains(matrices), L, rtol=1e-10)


def test_the_retraction_is_that_of_the_reference(framework):
    retraction = T.Orthogonal((0, 2))
    start = retraction.projected(T.initial_weights((5, 6, 4, 3), 0))
    rng = np.random.default_rng(2)
    for size in (0.02, 3.0):  # a step of Newton and Schulz, and the polar factor
        moved = [w + size * rng.standard_normal(w.shape) for w in start]
        own = retraction([framework.array(w) for w in moved])
        for a, b in zip(own, retraction(moved), strict=True):
            assert np.allclose(np.asarray(a), b, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_callbacks_of_the_frameworks_give_the_gradients_of_the_reference(framework, loss):
    """A dense net of |x| with the product of norms, on one batch, behind the same seam."""
    weights = T.initial_weights((5, 6, 4, 3), 0)
    X, y = np.random.default_rng(0).standard_normal((20, 5)), np.arange(20) % 3
    value, expected = seen_at_the_full_radius(X, y, loss, weights)
    own, found = framework.callback(loss, X, y)(weights)
    assert abs(own - value) <= 1e-10 * (1.0 + abs(value))
    assert all(np.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(found, expected, strict=True))


def seen_at_the_full_radius(X, y, loss, weights):
    callback = T.DenseLoss(X, y, loss, gain=T.ProductGain(), activation="abs")
    callback.seek(loss.ramp)
    return callback(weights)


def test_other_arrays_are_refused():
    with pytest.raises(InputError, match="expected torch tensors, JAX or NumPy arrays"):
        T.product_gains([[[1.0, 2.0]]])
    for wrong in (np.eye(2), [], [np.eye(2), np.zeros(2)]):
        with pytest.raises(InputError, match="expected a list of matrices"):
            T.product_gains(wrong)
    assert lmikit.training.WorstCaseLogits(1.0, ramp=4).at(1) == 0.25


def labelled_blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    centres = 2.0 * np.stack([np.cos(2.1 * y), np.sin(2.1 * y)], axis=1)
    return (centres + 0.2 * rng.standard_normal((60, 2))).astype(np.float32), y


GAIN = T.TrainableMultipliers("relu")


def proven_by_the_trained_multipliers(network, arrays, X, y):
    """Every pair, without a solve, at most what the loss saw; and the points that are certified."""
    seen, _ = GAIN([np.asarray(a, dtype=np.float64) for a in arrays])
    proven = lmikit.pairwise_bounds(network, witnesses=GAIN.witnesses(arrays))
    assert (proven.bounds <= seen * (1.0 + 1e-6)).all()
    radii = lmikit.certified_radius(proven, network(X), logit_error=1e-6)
    return float(((network(X).argmax(axis=1) == y) & (radii > 0.3)).mean())


def test_multipliers_are_trained_in_torch_and_proven():
    torch = InTorch().torch
    torch.manual_seed(0)
    X, y = labelled_blobs()
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
    )
    parameters = list(model.parameters())
    start = GAIN.start([p.detach().numpy() for p in parameters])
    parameters += [torch.nn.Parameter(torch.tensor(a)) for a in start[len(parameters) :]]
    adam, loss = torch.optim.Adam(parameters, 2e-2), T.WorstCaseLogits(0.3, ramp=20)
    rows, labels = torch.tensor(X), torch.tensor(y)
    for step in range(60):
        adam.zero_grad()
        loss.value(model(rows), labels, T.pairwise_gains(parameters), loss.at(step)).backward()
        adam.step()
    network = lmikit.adapters.from_torch(model.eval())
    arrays = [p.detach().numpy() for p in parameters]
    assert proven_by_the_trained_multipliers(network, arrays, X, y) >= 0.9


@pytest.mark.slow
def test_multipliers_are_trained_in_jax_and_proven():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    X, y = labelled_blobs()
    arrays = [jax.numpy.asarray(a) for a in GAIN.start(T.initial_weights((2, 8, 6, 3), 0, np.float32))]
    adam, loss, labels = optax.adam(2e-2), T.WorstCaseLogits(0.3, ramp=20), jax.numpy.asarray(y)

    def logits(arrays, x):
        for W, b in zip(arrays[0:4:2], arrays[1:4:2], strict=True):
            x = jax.nn.relu(x @ W.T + b)
        return x @ arrays[4].T + arrays[5]

    @jax.jit
    def train(arrays, state, eps):
        def value(arrays):
            return loss.value(logits(arrays, X), labels, T.pairwise_gains(arrays), eps)

        updates, state = adam.update(jax.grad(value)(arrays), state)
        return optax.apply_updates(arrays, updates), state

    state = adam.init(arrays)
    for step in range(60):
        arrays, state = train(arrays, state, loss.at(step))
    network = lmikit.adapters.from_jax(lambda x: logits(arrays, x), X[0])
    assert proven_by_the_trained_multipliers(network, [np.asarray(a) for a in arrays], X, y) >= 0.9
