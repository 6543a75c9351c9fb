"""Networks of convolutions: which way `lipschitz` takes, norms on a torus, and everything that uses them."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import Network
from lmikit.certificates import check
from lmikit.certificates.graph import GraphCertificate, verify_graph
from lmikit.certificates.graph._norms import norm_bound, norm_is_below
from lmikit.certificates.torus import TorusCertificate
from lmikit.graph import GraphBuilder, GraphWitness, chain_graph
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.network import SelectMap, SparseMap

K = np.array([[0.1, -0.5, -0.5], [2.4, 0.4, -0.1], [-0.2, -0.4, 1.1]])


def convolution(rng, out, shape, taps=3, **options):
    each = shape[0] // options.get("groups", 1)
    return Convolution2d(rng.standard_normal((out, each, taps, taps)) / taps, shape, **options)


def large(seed=0, channels=2, size=20):
    """More than 1500 neurons, small symbols."""
    rng = np.random.default_rng(seed)
    first = convolution(rng, channels, (2, size, size), padding=1)
    second = convolution(rng, channels, first.output_shape, padding=1)
    last = convolution(rng, 2, second.output_shape, padding=1)
    return Network.from_arrays([first, second, last])


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
    certificate = lmikit.lipschitz(network, time_limit=30.0)
    product = lmikit.lipschitz(network, lmikit.SpectralProduct())
    assert isinstance(certificate, TorusCertificate)
    assert isinstance(product, GraphCertificate)
    assert lmikit.lower_bound(network, starts=8, steps=10).value <= certificate.bound < product.bound
    assert product.bound <= 1.1 * np.prod([np.linalg.norm(m.linear.to_dense(), 2) for m in network.layers])
    short = lmikit.lipschitz(network, time_limit=1e-3)
    assert certificate.bound <= short.bound <= product.bound
    small = lmikit.lipschitz(large(size=5))
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
    assert certificate.outputs == 2 * 400
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
    assert said.description["default"].startswith("bounds on a torus and the product of norms: 1600 neurons")
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
    first = Convolution2d(rng.standard_normal((4, 3, 7, 7)) / 7, (3, 224, 224), 4, 3)
    second = Convolution2d(rng.standard_normal((4, 4, 3, 3)) / 3, first.output_shape, 2, 1)
    network = Network.from_arrays([first, second, lmikit.maps.average_pool2d(second.output_shape, 28)])
    product = lmikit.lipschitz(network, lmikit.SpectralProduct(), progress=seen.append)
    assert len(seen) >= 3
    assert lmikit.lower_bound(network, starts=1, steps=2).value <= product.bound


def test_max_pooling_on_a_torus_and_beside_it():
    """Windows beside each other are trees on the torus; overlapping ones count in the product alone."""
    rng = np.random.default_rng(4)
    for size, options in ((2, {}), (3, {"stride": 2, "padding": 1})):
        g = GraphBuilder()
        first = convolution(rng, 3, (1, 22, 22), padding=1)
        value = g.max_pool(g.relu(first @ g.input(484)), pooling_windows((3, 22, 22), size, **options))
        second = convolution(rng, 3, (3, 11, 11), padding=1)
        graph = g.output(rng.standard_normal((2, 363)) / 20.0 @ g.relu(second @ value))
        certificate = lmikit.lipschitz(graph, time_limit=20.0)
        product = lmikit.lipschitz(graph, lmikit.SpectralProduct())
        assert lmikit.lower_bound(graph, starts=4, steps=5).value <= certificate.bound <= product.bound
        plan = lmikit.reports.report(graph, time_limit=1e-3, lower=False).description["default"]
        assert plan.startswith("bounds on a torus" if size == 2 else "the product of norms")
        assert check(certificate, graph)
