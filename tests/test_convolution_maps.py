"""Convolutions and pooling as linear maps: frameworks' values, adjoints, exact entries, proofs unrolled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, Network
from lmikit.graph import GraphBuilder
from lmikit.maps import (
    Convolution2d,
    SparseMap,
    average_pool2d,
    convolution1d,
    pooling_windows,
    transposed_convolution2d,
)


@st.composite
def convolutions(draw):
    """A random convolution, all of whose numbers vary."""
    integer = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    groups = integer(1, 2)
    channels, out = groups * integer(1, 2), groups * integer(1, 2)
    image = integer(1, 6), integer(1, 6)
    stride, dilation = (integer(1, 3), integer(1, 3)), (integer(1, 2), integer(1, 2))
    padding = tuple((integer(0, 2), integer(0, 2)) for _ in range(2))
    taps = tuple(
        integer(1, min(3, (n + sum(p) - 1) // d + 1))
        for n, p, d in zip(image, padding, dilation, strict=True)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kernel = rng.standard_normal((out, channels // groups, *taps)) * (rng.random((out, 1, 1, 1)) > 0.1)
    return Convolution2d(kernel, (channels, *image), stride, padding, dilation, groups)


def random_conv(seed, out, shape, taps, **options):
    rng = np.random.default_rng(seed)
    scale = np.sqrt(shape[0] * taps * taps)
    return Convolution2d(rng.standard_normal((out, shape[0], taps, taps)) / scale, shape, **options)


@given(convolutions())
@settings(max_examples=60)
def test_products_agree_with_the_exact_sparse_form(conv):
    rng = np.random.default_rng(0)
    W = conv.to_sparse()
    x, u = rng.standard_normal((conv.shape[1], 3)), rng.standard_normal((conv.shape[0], 3))
    np.testing.assert_allclose(conv.matvec(x), W @ x, atol=1e-12)
    np.testing.assert_allclose(conv.rmatvec(u), W.T @ u, atol=1e-12)
    np.testing.assert_allclose(conv.matvec(x[:, 0]), W @ x[:, 0], atol=1e-12)
    assert W.shape == conv.shape
    assert np.isin(W.data, conv.kernel).all()  # copies of the kernel's numbers, nothing added up
    assert conv.largest_entry() == np.abs(W.data).max(initial=0.0)
    scaled = conv.scaled(-3)
    assert (scaled.to_sparse() != 0.125 * W).nnz == 0
    assert scaled.digest != conv.digest or not conv.kernel.any()
    assert conv.T.shape == conv.shape[::-1]


@given(convolutions())
@settings(max_examples=40)
def test_values_are_those_of_torch(conv):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = np.random.default_rng(1).standard_normal((1, *conv.input_shape))
    (top, bottom), (left, right) = conv.padding
    padded = functional.pad(torch.tensor(x), (left, right, top, bottom))
    theirs = functional.conv2d(
        padded,
        torch.tensor(conv.kernel.copy()),
        stride=conv.stride,
        dilation=conv.dilation,
        groups=conv.groups,
    )
    assert tuple(theirs.shape[1:]) == conv.output_shape
    np.testing.assert_allclose(conv.matvec(x.reshape(-1)), theirs.numpy().reshape(-1), atol=1e-13)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), st.integers(1, 2))
@settings(max_examples=25)
def test_transposed_convolutions_are_those_of_torch(seed, stride, padding, dilation, groups):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    shape = 2 * groups, int(rng.integers(2, 5)), int(rng.integers(2, 5))
    kernel = rng.standard_normal((shape[0], int(rng.integers(1, 3)), 3, 2))
    extra = int(rng.integers(0, stride))
    options = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
    ours = transposed_convolution2d(kernel, shape, groups=groups, **options)
    x = rng.standard_normal(shape)
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(x[None]), torch.tensor(kernel), groups=groups, **options
    )
    np.testing.assert_allclose(ours.matvec(x.reshape(-1)), theirs.numpy().reshape(-1), atol=1e-13)


def test_convolutions_of_signals_are_those_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    kernel, x = rng.standard_normal((3, 2, 4)), rng.standard_normal((2, 11))
    ours = convolution1d(kernel, (2, 11), stride=2, padding=1, dilation=2)
    theirs = torch.nn.functional.conv1d(
        torch.tensor(x[None]), torch.tensor(kernel), stride=2, padding=1, dilation=2
    )
    np.testing.assert_allclose(ours.matvec(x.reshape(-1)), theirs.numpy().reshape(-1), atol=1e-13)


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((3, 2), (1, 2), (1, 0))])
def test_average_pooling_is_that_of_torch(size, stride, padding, count_padding):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 6, 7))
    ours = average_pool2d(x.shape, size, stride=stride, padding=padding, count_padding=count_padding)
    theirs = torch.nn.functional.avg_pool2d(
        torch.tensor(x[None]), size, stride, padding, count_include_pad=count_padding
    )
    np.testing.assert_allclose(ours.matvec(x.reshape(-1)), theirs.numpy().reshape(-1), atol=1e-14)
    if size == 2:
        assert set(ours.to_sparse().data) == {0.25}


@pytest.mark.parametrize("tree", [True, False])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "shared"), [(2, None, 0, 1), (3, 2, 1, 4), ((2, 3), 1, 0, 6)]
)
def test_max_pooling_is_that_of_torch(size, stride, padding, shared, tree):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 5, 6))
    g = GraphBuilder()
    windows = pooling_windows(x.shape, size, stride=stride, padding=padding)
    net = g.output(g.max_pool(g.input(x.size), windows, tree=tree))
    if not tree:  # the root of how many windows share a pixel, also with windows cut by the border
        bound = lmikit.lipschitz(net, lmikit.SpectralProduct()).bound
        assert bound == pytest.approx(np.sqrt(shared), rel=1e-12)
        assert bound >= np.sqrt(np.bincount(np.concatenate(windows)).max())
    theirs = torch.nn.functional.max_pool2d(torch.tensor(x[None]), size, stride, padding)
    np.testing.assert_allclose(net(x.reshape(-1)), theirs.numpy().reshape(-1), atol=1e-14)


def conv_chain():
    first = random_conv(0, 3, (2, 5, 5), 3, padding=1, stride=2)
    second = random_conv(1, 2, first.output_shape, 2)
    head = np.random.default_rng(2).standard_normal((3, second.shape[0])) / 3.0
    return [first, second, head]


def unrolled(weights):
    return [SparseMap(w.to_sparse()) if isinstance(w, Convolution2d) else w for w in weights]


@pytest.mark.parametrize(
    "method", [None, lmikit.SpectralProduct(), lmikit.ClosedForm(), lmikit.EclipseFast()]
)
def test_bounds_of_a_convolutional_chain_are_those_of_the_unrolled_one(method, tmp_path):
    weights = conv_chain()
    network = Network.from_arrays(weights)
    certificate = lmikit.lipschitz(network, method)
    same = lmikit.lipschitz(Network.from_arrays(unrolled(weights)), method)
    assert certificate.bound == pytest.approx(same.bound, rel=1e-9)
    assert certificate.bound >= lmikit.lower_bound(network).value
    certificate.save(tmp_path / "c.json")
    for exact in (False, True):
        assert lmikit.check(tmp_path / "c.json", network, exact=exact)
    other = [random_conv(7, 3, (2, 5, 5), 3, padding=1, stride=2), *weights[1:]]
    assert not lmikit.check(tmp_path / "c.json", Network.from_arrays(other))


def test_a_residual_network_with_pooling_is_proven_as_a_graph(tmp_path):
    g = GraphBuilder()
    stem = random_conv(0, 2, (1, 4, 4), 3, padding=1)
    s = g.relu(stem @ g.input(16))
    block = [random_conv(k, 2, (2, 4, 4), 3, padding=1) for k in (1, 2)]
    s = g.relu(s + block[1] @ g.relu(block[0] @ s))
    s = g.max_pool(s, pooling_windows((2, 4, 4), 2))
    s = average_pool2d((2, 2, 2), 2) @ s
    net = g.output(np.random.default_rng(3).standard_normal((2, 2)) @ s)
    certificate = lmikit.lipschitz(net)
    product = lmikit.lipschitz(net, lmikit.SpectralProduct())
    assert lmikit.lower_bound(net).value <= certificate.bound < product.bound
    certificate.save(tmp_path / "g.json")
    assert lmikit.check(tmp_path / "g.json", net, exact=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Convolution2d(np.ones((2, 3, 3)), (3, 4, 4)), "expected \\(out, in / groups"),
        (lambda: Convolution2d(np.ones((2, 3, 3, 3)), (4, 4, 4)), "expected \\(out, 4 / groups"),
        (lambda: Convolution2d(np.full((1, 1, 1, 1), np.nan), (1, 4, 4)), "NaN"),
        (lambda: Convolution2d(np.ones((1, 1, 5, 5)), (1, 4, 4)), "does not fit"),
        (lambda: Convolution2d(np.ones((1, 1, 1, 1)), (1, 4)), "channels, height, width"),
        (lambda: Convolution2d(np.ones((1, 1, 1, 1)), (1, 4, 4), stride=0), "at least 1"),
        (lambda: Convolution2d(np.ones((1, 1, 1, 1)), (1, 4, 4), padding=(1, 2, 3)), "one integer or two"),
        (lambda: convolution1d(np.ones((1, 1)), (1, 4)), "taps"),
        (lambda: transposed_convolution2d(np.ones((2, 1, 2, 2)), (1, 4, 4)), "input channels"),
        (
            lambda: transposed_convolution2d(np.ones((1, 1, 2, 2)), (1, 4, 4), output_padding=1),
            "less than the stride",
        ),
        (lambda: pooling_windows((1, 2, 2), 1, padding=1), "without a pixel"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
