"""Sketched penalties on convolutions: gradients are the unrolled ones, bounds of the result are proven."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lmikit
from lmikit import InputError, OptionError, training
from lmikit.maps import Convolution2d
from lmikit.sketching import ConvolutionOperator
from lmikit.training._sketched_maps import SketchedMap

GEOMETRIES = [
    ((2, 1, 3, 3), (1, 5, 6), 1, 1),
    ((3, 2, 2, 3), (2, 5, 5), 2, 0),
    ((1, 4, 3, 3), (4, 4, 4), 1, 0),
]


@settings(max_examples=20)
@given(st.sampled_from(GEOMETRIES), st.integers(0, 999))
def test_the_penalty_of_a_kernel_is_that_of_the_matrix(geometry, seed):
    shape, image, stride, padding = geometry
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal(shape)
    conv = Convolution2d(kernel, image, stride, padding)
    sketch, dense = SketchedMap.of(conv.kernel.shape, conv), conv.to_dense()
    small = dense if dense.shape[1] <= dense.shape[0] else dense.T
    s, u = rng.standard_normal((small.shape[1], 3)), rng.standard_normal((small.shape[0], 3))
    assert sketch.image(kernel, s) == pytest.approx(small @ s)
    assert sketch.adjoint(kernel, u) == pytest.approx(small.T @ u)
    move, h = rng.standard_normal(shape), 1e-6

    def value(k):
        return float((u * sketch.image(k, s)).sum())

    slope = (value(kernel + h * move) - value(kernel - h * move)) / (2 * h)
    assert float((sketch.gradient(kernel, u, s) * move).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_large_images_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr("lmikit.sketching._convolution._HOST_PATCHES", 200)
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 2, 3, 3))
    operator = ConvolutionOperator(kernel, (9, 8), padding=1)
    u, x = rng.standard_normal((operator.shape[0], 2)), rng.standard_normal((operator.shape[1], 2))
    found = operator.kernel_gradient(u, x)
    assert float((found * kernel).sum()) == pytest.approx(float((u * operator.matmat(x)).sum()))


def pushed(weights):
    """A loss that wants every array larger."""
    return -sum(float(w.sum()) for w in weights), [-np.ones_like(w) for w in weights]


def small_net(rng, dtype=np.float64):
    conv = Convolution2d(np.ones((2, 1, 3, 3)), (1, 6, 6), 2, 1)
    arrays = [rng.standard_normal((2, 1, 3, 3)), np.zeros(2), rng.standard_normal((3, 18)), np.zeros(3)]
    return conv, [a.astype(dtype) for a in arrays]


@pytest.mark.parametrize(("activation", "dtype"), [("relu", np.float32), ("selu", np.float64)])
def test_a_convolutional_chain_meets_its_target(activation, dtype):
    conv, start = small_net(np.random.default_rng(0), dtype)
    options = training.RSLMIOptions(optimiser=training.Adam(learning_rate=1e-2))
    r = training.rs_lmi(
        pushed, start, activation, steps=120, target=2.0, convolutions=[conv], options=options
    )
    assert r.certificate.bound <= 2.0
    assert r.weights[0].shape == (2, 1, 3, 3)
    maps = [Convolution2d(r.weights[0], (1, 6, 6), 2, 1).to_dense(), r.weights[2]]
    norms = [np.linalg.norm(np.asarray(w, dtype=np.float64), 2) for w in maps]
    assert (r.taus >= np.square(norms) * (1 - 1e-12)).all()
    gain = {"relu": 1.0, "selu": 1.0507009873554805 * 1.6732632423543772}[activation]
    assert r.product == pytest.approx(math.prod(norms) * gain, rel=1e-6)
    assert r.product > 1.8  # the loss uses what the target leaves
    assert lmikit.lower_bound(r.network).value <= r.certificate.bound
    assert r.network.layers[0].bias == pytest.approx(np.repeat(r.weights[1], 9).astype(np.float64))


def test_a_penalty_for_networks_that_are_no_chains_holds_the_norms():
    conv, start = small_net(np.random.default_rng(1))
    start = [0.2 * w for w in start]
    loss = training.with_sketched_penalty(pushed, {0: 0.7, 2: 1.5}, {0: conv}, weight=1000.0)
    found = training.sgd(loss, start, steps=400, optimiser=training.Adam(learning_rate=1e-2, decay="cosine"))
    kernel = Convolution2d(found.weights[0], (1, 6, 6), 2, 1).to_dense()
    assert np.linalg.norm(kernel, 2) == pytest.approx(0.7, rel=0.1)
    assert np.linalg.norm(found.weights[2], 2) == pytest.approx(1.5, rel=0.1)
    h, move = 1e-6, [np.random.default_rng(2).standard_normal(w.shape) for w in start]
    fresh = [
        training.with_sketched_penalty(pushed, {0: 0.7, 2: 1.5}, {0: conv}, m=18)(
            [w + t * h * d for w, d in zip(start, move, strict=True)]
        )
        for t in (-1, 0, 1)
    ]  # with all columns the sketch does not matter
    slope = (fresh[2][0] - fresh[0][0]) / (2 * h)
    assert sum(float((g * d).sum()) for g, d in zip(fresh[1][1], move, strict=True)) == pytest.approx(
        slope, rel=1e-5
    )


def test_kernels_and_geometries_that_do_not_fit_are_refused():
    conv, start = small_net(np.random.default_rng(0))
    with pytest.raises(InputError, match="convolutions"):
        training.rs_lmi(pushed, start, steps=1)
    with pytest.raises(InputError, match="got 2 convolutions"):
        training.rs_lmi(pushed, start, steps=1, convolutions=[conv, conv])
    other = Convolution2d(np.ones((2, 1, 5, 5)), (1, 6, 6))
    with pytest.raises(InputError, match="kernel of that shape"):
        training.rs_lmi(pushed, start, steps=1, convolutions=[other])
    wide = Convolution2d(np.ones((2, 1, 3, 3)), (1, 8, 8), 2, 1)
    with pytest.raises(InputError, match="takes 18 features"):
        training.rs_lmi(pushed, start, steps=1, convolutions=[wide])
    dilated = Convolution2d(np.ones((2, 1, 3, 3)), (1, 9, 9), 2, 1, 2)
    with pytest.raises(InputError, match="no dilation"):
        SketchedMap.of(dilated.kernel.shape, dilated)
    with pytest.raises(OptionError, match="positive numbers"):
        training.with_sketched_penalty(pushed, {0: 0.0})
    with pytest.raises(OptionError, match="indices that norms has"):
        training.with_sketched_penalty(pushed, {2: 1.0}, {0: conv})
    with pytest.raises(InputError, match="a kernel whose Convolution2d"):
        training.with_sketched_penalty(pushed, {0: 1.0})(start)
