"""Networks of convolutions: which way `lipschitz` takes, norms on a torus, and everything that uses them."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import Network
from lmikit._image_api import image_plan
from lmikit.certificates import check
from lmikit.certificates.graph import GraphCertificate, verify_graph
from lmikit.certificates.graph._norms import norm_bound, norm_is_below
from lmikit.certificates.torus import TorusCertificate
from lmikit.graph import GraphBuilder, GraphWitness, chain_graph
from lmikit.maps import Convolution2d, average_pool2d, pooling_windows
from lmikit.network import SelectMap, SparseMap

K = np.array([[0.1, -0.5, -0.5], [2.4, 0.4, -0.1], [-0.2, -0.4, 1.1]])


def convolution(rng, out, shape, taps=3, **options):
    each = shape[0] // options.get("groups", 1)
    return Convolution2d(rng.standard_normal((out, each, taps, taps)) / taps, shape, **options)


def large(seed=0, channels=7, size=13):
    """More than 1500 neurons, small symbols."""
    rng = np.random.default_rng(seed)
    first = convolution(rng, channels, (2, size, size), padding=1)
    second = convolution(rng, channels, first.output_shape, padding=1)
    last = convolution(rng, 2, second.output_shape, padding=1)
    return Network.from_arrays([first, second, last])


def quotient(graph, seed=0):
    """A difference quotient along a leading direction; max-pooling of zeros has ties, where slopes do not."""
    rng, best = np.random.default_rng(seed), 0.0
    for _ in range(3):
        x, v = (rng.standard_normal((graph.input_dim, 1)) for _ in range(2))
        values = graph.values(x)
        for _ in range(6):
            v = np.nan_to_num(graph.vjp(values, np.nan_to_num(graph.jvp(values, v))))
            v /= np.linalg.norm(v)
        moved = (graph.values(x + 1e-4 * v)[-1] - values[-1]) / 1e-4
        best = max(best, float(np.linalg.norm(moved)))
    return best * (1.0 - 1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_no_convolution_exceeds_its_norm_on_a_torus(seed):
    from lmikit.certificates.graph._convolution_norms import convolution_is_below, convolution_norm

    rng = np.random.default_rng(seed)
    groups, taps = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    shape = groups * int(rng.integers(1, 3)), int(rng.integers(5, 8)), int(rng.integers(5, 8))
    options = {
        "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "dilation": tuple(int(v) for v in rng.integers(1, 3, 2)),
        "padding": tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (2, 2))),
        "groups": groups,
    }
    conv = convolution(rng, groups * int(rng.integers(1, 3)), shape, taps, **options)
    bound = convolution_norm(conv)
    assert np.linalg.norm(conv.to_dense(), 2) <= bound
    assert convolution_is_below(conv, bound)
    if bound > 0.0:
        assert not convolution_is_below(conv, bound * 0.5)


@pytest.mark.parametrize("size", [1e-300, 1e-308, 1e-310, 1e-318, 1e-322])
def test_norms_of_subnormal_kernels_are_rounded_upwards(size):
    from lmikit.certificates.graph._convolution_norms import convolution_norm

    for seed in range(10):
        kernel = np.random.default_rng(seed).standard_normal((1, 3, 1, 1)) * size
        square = sum(Fraction(float(v)) ** 2 for v in kernel.ravel())
        assert Fraction(convolution_norm(Convolution2d(kernel, (3, 4, 4)))) ** 2 >= square


def test_the_known_norms_of_one_kernel():
    from lmikit.certificates.graph._convolution_norms import convolution_is_below, convolution_norm
    from lmikit.certificates.graph._exact_balls import exact_convolution_margin

    conv = Convolution2d(K[None, None], (1, 4, 4), padding=1)
    assert convolution_norm(conv) == pytest.approx(4.244706, rel=1e-6)  # the torus of 5, the least of 5 to 8
    bound = convolution_norm(conv)
    assert exact_convolution_margin(conv, bound) >= 0.0
    assert exact_convolution_margin(conv, bound * (1.0 - 1e-9)) < 0.0
    assert not convolution_is_below(conv, 3.98)  # of 4, not admissible, it is 3.47
    assert np.linalg.norm(conv.to_dense(), 2) == pytest.approx(3.600219, rel=1e-6)


@pytest.mark.parametrize(
    ("linear", "square"),
    [
        (SelectMap([0, 2, 2, 1, 2], 3), 3),
        (SelectMap([0, 2, 2, 1, 2], 3).T, 3),
        (SparseMap(-2.0 * lmikit.maps.identity_map(5).to_sparse()), 4),
    ],
)
def test_norms_that_are_known_exactly(linear, square):
    bound = norm_bound(linear)
    assert bound == pytest.approx(math.sqrt(square), abs=1e-15)
    assert norm_is_below(linear, bound)
    assert not norm_is_below(linear, bound * (1.0 - 1e-15))
    assert bound >= np.linalg.norm(linear.to_dense(), 2) * (1.0 - 1e-15)


def test_the_least_of_product_and_torus_is_returned():
    network = large()
    certificate = lmikit.lipschitz(network, time_limit=60.0)
    product = lmikit.lipschitz(network, lmikit.SpectralProduct())
    assert isinstance(certificate, TorusCertificate)
    assert isinstance(product, GraphCertificate)
    assert lmikit.lower_bound(network, starts=8, steps=10).value <= certificate.bound < product.bound
    assert product.bound <= 1.1 * np.prod([np.linalg.norm(m.linear.to_dense(), 2) for m in network.layers])
    short = lmikit.lipschitz(network, time_limit=1e-3)
    assert certificate.bound <= short.bound
    small = lmikit.lipschitz(large(channels=2, size=5))
    assert isinstance(small, lmikit.Certificate)


@pytest.mark.parametrize("method", [None, lmikit.SpectralProduct()])
def test_files_of_both_kinds_are_checked_and_mutations_refused(tmp_path, method):
    network = large()
    certificate = lmikit.lipschitz(network, method, time_limit=1e-3)
    path = tmp_path / "c.json"
    certificate.save(path)
    assert check(path, network)
    assert type(certificate).load(path, network if method is None else chain_graph(network)).bound
    smaller = np.nextafter(certificate.bound, 0.0)
    path.write_text(path.read_text().replace(certificate.bound.hex(), float(smaller * 0.999).hex()))
    assert not check(path, network)
    assert not check(certificate, large(seed=1))
    assert certificate.outputs == 2 * 169
    assert "proven" in str(certificate)
    assert certificate.with_lower(0.5).lower == 0.5


def test_a_gain_below_the_norm_on_the_torus_is_refused():
    network = large()
    graph = chain_graph(network)
    certificate = verify_graph(graph, GraphWitness("norms"))
    for k in range(3):
        gains = list(certificate.witness.gains)
        gains[k] *= 1.0 - 1e-6
        with pytest.raises(lmikit.NotCertified, match="norm of a map"):
            verify_graph(graph, dataclasses.replace(certificate.witness, gains=tuple(gains)), repair=False)


def test_radii_batches_comparisons_and_pages(tmp_path):
    network = with_head = large()
    head = np.random.default_rng(3).standard_normal((3, network.layers[-1].linear.shape[1])) / 20.0
    network = Network((*network.layers[:-1], Network.from_arrays([head]).layers[0]), network.input_dim)
    certificate = lmikit.lipschitz(network, time_limit=1e-3)
    bounds = lmikit.pairwise_bounds(network, certificate=certificate)
    logits = np.random.default_rng(0).standard_normal((4, 3))
    radii = lmikit.certified_radius(bounds, logits)
    top = np.sort(logits, axis=1)
    expected = (top[:, -1] - top[:, -2]) / (math.sqrt(2.0) * certificate.bound)
    np.testing.assert_allclose(radii, expected, rtol=1e-12)
    np.testing.assert_array_equal(lmikit.certified_radius(certificate, logits), radii)
    with pytest.raises(lmikit.InputError, match="another network"):
        lmikit.pairwise_bounds(with_head, certificate=certificate)
    jobs = [lmikit.Job(network, time_limit=1e-3), lmikit.Job(network, lmikit.SpectralProduct())]
    done = lmikit.certify_many(jobs, folder=tmp_path)
    assert all(r.proven and not r.resumed for r in done)
    again = lmikit.certify_many(jobs, folder=tmp_path)
    assert all(r.resumed for r in again)
    assert [r.certificate.bound for r in again] == [r.certificate.bound for r in done]
    table = lmikit.compare(network, time_limit=1e-3, lower=False)
    assert {row.method for row in table.rows} == {"SpectralProduct", "default"}
    assert all(row.proven for row in table.rows)
    said = lmikit.reports.report(network, time_limit=1e-3, lower=False)
    assert said.description["default"].startswith("one multiplier per neuron, bounds on a torus and the")
    assert "default" in said.to_html()


def test_sums_along_paths_and_large_selections():
    """The triangle inequality over parents, also where nothing could be a matrix."""
    size = 200_000
    g = GraphBuilder()
    x = g.input(size)
    value = g.relu(x)[np.concatenate([np.arange(size), [7, 7]])]
    graph = g.output(value[:size] + (-value[2:]))
    bound = verify_graph(graph, GraphWitness("norms")).bound
    assert bound == pytest.approx(2.0 * math.sqrt(3.0), rel=1e-12)


def test_a_network_of_the_size_of_imagenet_does_not_unroll():
    rng = np.random.default_rng(0)
    seen = []
    first = Convolution2d(rng.standard_normal((4, 3, 7, 7)) / 7, (3, 224, 224), 8, 3)
    second = Convolution2d(rng.standard_normal((4, 4, 3, 3)) / 3, first.output_shape, 2, 1)
    network = Network.from_arrays([first, second, lmikit.maps.average_pool2d(second.output_shape, 14)])
    product = lmikit.lipschitz(network, lmikit.SpectralProduct(), progress=seen.append)
    assert len(seen) >= 3
    assert lmikit.lower_bound(network, starts=1, steps=2).value <= product.bound


def test_max_pooling_on_a_torus_and_beside_it():
    """Windows beside each other are trees on the torus; overlapping ones count in the product alone."""
    rng = np.random.default_rng(4)
    for size, options in ((2, {}), (3, {"stride": 2, "padding": 1})):
        g = GraphBuilder()
        first = convolution(rng, 2, (1, 26, 26), padding=1)
        value = g.max_pool(
            g.relu(first @ g.input(676)), pooling_windows((2, 26, 26), size, **options), tree=False
        )
        second = convolution(rng, 2, (2, 13, 13), padding=1)
        graph = g.output(rng.standard_normal((2, 338)) / 20.0 @ g.relu(second @ value))
        certificate = lmikit.lipschitz(graph, time_limit=1e-3)
        product = lmikit.lipschitz(graph, lmikit.SpectralProduct())
        if size == 2:
            torus = lmikit.torus_lipschitz(graph, time_limit=0.0)
            assert quotient(graph) <= torus.bound
            assert check(torus, graph)
        # norms may be left at the limit, so the two are in no order
        assert 0.05 < quotient(graph) <= min(certificate.bound, product.bound)
        plan = str(image_plan(graph))
        assert plan.startswith("bounds on a torus" if size == 2 else "the product of norms")
        assert check(certificate, graph)


def test_a_small_pooling_after_a_large_one_stays_on_the_torus():
    """Two poolings, as in LeNet: the second alone would be a tree of ReLU, which has no torus."""
    rng = np.random.default_rng(5)
    first, second = convolution(rng, 2, (1, 28, 28), padding=1), convolution(rng, 2, (2, 14, 14), padding=1)
    pools = [pooling_windows(m.output_shape, 2) for m in (first, second)]
    last = rng.standard_normal((2, 98)) / 20.0

    def net(*trees):
        g = GraphBuilder()
        v = g.max_pool(g.relu(first @ g.input(784)), pools[0], tree=trees[0])
        return g.output(last @ g.max_pool(g.relu(second @ v), pools[1], tree=trees[1]))

    graph, x = net(None, None), rng.standard_normal((3, 784))
    assert str(image_plan(graph)).startswith("bounds on a torus")
    assert str(image_plan(net(False, True))).startswith("the product of norms")
    np.testing.assert_allclose(graph(x), net(True, True)(x), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_residual_network_of_cifar_shape_is_proven_whole(data_dir):
    """resnet2b of VNN-COMP 2021: a stride in each block, convolutions on the shortcuts, two dense layers."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride, shortcut):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
            self.shortcut = nn.Sequential(*([nn.Conv2d(inputs, outputs, 1, stride)] if shortcut else []))

        def forward(self, x):
            return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
            self.layer1 = nn.Sequential(Block(8, 16, 2, True), Block(16, 16, 1, False))
            self.linear1, self.linear2 = nn.Linear(1024, 100), nn.Linear(100, 10)

        def forward(self, x):
            out = torch.flatten(self.layer1(torch.relu(self.conv1(x))), 1)
            return self.linear2(torch.relu(self.linear1(out)))

    model = Net().eval()
    state = torch.load(data_dir / "abcrown" / "resnet2b.pth", map_location="cpu")
    model.load_state_dict(state.get("state_dict", state))
    graph = lmikit.adapters.graph_from_torch(model, (3, 32, 32))
    certificate = lmikit.lipschitz(graph, time_limit=60.0)
    product = lmikit.lipschitz(graph, lmikit.SpectralProduct())
    assert lmikit.lower_bound(graph, starts=8, steps=10).value <= certificate.bound <= product.bound
    assert check(certificate, graph)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("cnn_C3_CH8", 3), ("cnn_C5_CH8", 5)])
def test_stacks_with_their_first_convolution_are_proven(data_dir, name, count):
    params = scipy.io.loadmat(data_dir / "glipsdp" / f"{name}.mat")["params"][0, 0]
    kernels = [params[f"conv_{k}_weight"].astype(float) for k in range(count)]
    network = Network.from_arrays([Convolution2d(K, (K.shape[1], 28, 28), padding=1) for K in kernels])
    certificate = lmikit.lipschitz(network)
    product = lmikit.lipschitz(network, lmikit.SpectralProduct())
    assert isinstance(certificate, TorusCertificate)
    assert lmikit.lower_bound(network, starts=4, steps=5).value <= certificate.bound < product.bound


@pytest.mark.slow
def test_a_residual_network_with_max_pooling_is_proven(data_dir):
    """C-R18 of GLipSDP: 18 layers, max and average pooling; the product of its norms is 150.7, Fast 200.2."""
    data = scipy.io.loadmat(data_dir / "glipsdp" / "C-R18.mat")
    g = GraphBuilder()

    def layer(name, shape, padding):
        conv = Convolution2d(data[f"{name}_conv_weight"], shape, padding=padding)
        return conv, np.repeat(data[f"{name}_conv_bias"].ravel(), conv.shape[0] // conv.output_shape[0])

    first, bias = layer("stem_0", (1, 28, 28), 3)
    s = g.relu(first @ g.input(784) + bias)
    s, shape = g.max_pool(s, pooling_windows((16, 28, 28), 2)), (16, 14, 14)
    for k in range(8):
        one, before = layer(f"blocks_{k}_conv1", shape, 1)
        two, after = layer(f"blocks_{k}_conv2", shape, 1)
        s = g.relu(s + (two @ g.relu(one @ s + before) + after))
    head = data["classifier_weight"] @ (average_pool2d(shape, 2) @ s)
    graph = g.output(head + data["classifier_bias"].ravel())
    certificate = lmikit.lipschitz(graph, time_limit=180.0)
    product = lmikit.lipschitz(graph, lmikit.SpectralProduct())
    assert isinstance(certificate, TorusCertificate)
    assert 16.3410 < certificate.bound < 55.0 < product.bound < 153.7  # 16.3410 is a published sampled bound
    assert 1.0 < quotient(graph) <= certificate.bound
