"""Networks on a torus: the lemma, symbols, the certificate and everything that must be refused."""

import json
import pathlib
import runpy
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torus_helpers import conv, pooled_network, random_network

import lmikit
from lmikit import InputError, Network, NotCertified
from lmikit.certificates.graph import verify_graph
from lmikit.certificates.torus import TorusCertificate, verify_torus
from lmikit.certificates.torus._proofs import root_above
from lmikit.formulations.torus import fast_torus
from lmikit.graph import GraphBuilder, GraphWitness, Part, chain_graph
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.network import Slopes
from lmikit.torus import TorusWitness, torus_form
from lmikit.torus._roots import float_roots
from lmikit.torus._symbols import symbol_of

KERNEL = [[0.1, -0.5, -0.5], [2.4, 0.4, -0.1], [-0.2, -0.4, 1.1]]  # its circular norm of 4 is below its norm


def small(head=True):
    first = Convolution2d(np.array(KERNEL)[None, None], (1, 4, 4), padding=1)
    if not head:
        return Network.from_arrays([first])
    return Network.from_arrays([first, (np.arange(16.0)[None] - 7.5) / 8.0])


def form_or_none(graph, cells=None):
    try:
        return torus_form(graph, cells)
    except InputError:
        return None


@given(st.integers(0, 2**31), st.integers(0, 2))
@settings(max_examples=20)
def test_a_proof_on_the_torus_is_one_of_the_unrolled_network(seed, more):
    """The lemma: the tied multipliers, repeated over the positions, prove the same bound of the network."""
    tied_and_unrolled(random_network(seed), seed, more)


@given(st.integers(0, 2**31))
@settings(max_examples=8)
def test_pooling_of_any_windows_is_on_the_torus_what_it_is_unrolled(seed):
    """Windows that overlap, lie apart or leave an edge out, as trees whose taps have their stride."""
    tied_and_unrolled(pooled_network(seed), seed, seed % 2)


def tied_and_unrolled(graph, seed, more):
    form = form_or_none(graph)
    if form is None:
        return
    form = torus_form(graph, (form.cells[0] + more, form.cells[1] + more))  # every larger torus is valid
    certificate = verify_torus(graph, fast_torus(form))
    witness, tied = certificate.witness, dict(zip(form.nodes, certificate.witness.multipliers, strict=True))
    tied |= dict(zip(form.head_nodes, witness.head, strict=True))
    same = form.graph  # max-pooling as trees of ReLU
    x = np.random.default_rng(seed).standard_normal((3, graph.input_dim))
    np.testing.assert_allclose(same(x), graph(x), atol=1e-12)
    full = tuple(np.repeat(tied[k], same.nodes[k].size // tied[k].size) for k in same.applied)
    part = Part(np.array([witness.d_in]), np.array([witness.d_out]), full)
    unrolled = verify_graph(same, GraphWitness("dissipation", parts=(part,)), repair=False)
    assert unrolled.bound == certificate.bound
    assert lmikit.check(certificate, graph, exact=True)
    assert certificate.bound >= lmikit.lower_bound(graph, starts=8, steps=5).value


@pytest.mark.parametrize(
    ("size", "stride", "fits"), [(3, 2, True), (2, 2, True), (3, 1, False), (2, 1, False)]
)
def test_a_convolution_reads_pooled_images_only_where_they_are_zero_outside(size, stride, fits):
    rng, g = np.random.default_rng(0), GraphBuilder()
    value = g.relu(conv(rng, 1, (1, 5, 5), 3, padding=1) @ g.input(25))
    value = g.max_pool(value, pooling_windows((1, 5, 5), size, stride=stride), tree=False)
    side = (5 - size) // stride + 1
    assert (form_or_none(g.output(conv(rng, 1, (1, side, side), 1) @ value)) is not None) == fits


def test_the_tree_of_overlapping_windows_shows_no_more_than_their_quadratic_constraint():
    """One multiplier per channel for |y|^2 <= sum of |u|^2 over the windows, solved by Clarabel."""
    path = pathlib.Path(__file__).parent.parent / "benchmarks" / "torus_pooling.py"
    bench = runpy.run_path(str(path))
    graph, first, second = bench["network"](1, 1)
    tree = lmikit.torus_lipschitz(graph)
    terms = bench["constraint_terms"](torus_form(graph), first, second)
    constraint = bench["optimum"](*terms, tree.bound**2)
    assert lmikit.lower_bound(graph, starts=8, steps=5).value <= tree.bound < 0.95 * constraint


def test_most_networks_with_pooling_lie_on_a_torus():
    assert sum(form_or_none(pooled_network(seed)) is not None for seed in range(40)) >= 20


def test_most_random_networks_lie_on_a_torus():
    assert sum(form_or_none(random_network(seed)) is not None for seed in range(40)) >= 25


@pytest.mark.parametrize("m", [1, 3, 8, 12, 29])
def test_roots_of_unity_are_the_nearest_floats(m):
    cos, sin = float_roots(m)
    angle = 2.0 * np.pi * np.arange(m) / m
    np.testing.assert_allclose(cos, np.cos(angle), atol=4e-16)
    np.testing.assert_allclose(sin, np.sin(angle), atol=4e-16)
    np.testing.assert_allclose(cos**2 + sin**2, 1.0, atol=4e-16)


@given(st.integers(0, 2**31), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
@settings(max_examples=25)
def test_symbols_are_those_of_circular_convolutions(seed, stride, dilation, groups):
    """S(w) times the transform of a random input is the transform of the circular output."""
    rng = np.random.default_rng(seed)
    phases, cells = (int(rng.integers(1, 3)), int(rng.integers(1, 3))), (3, 4)
    kernel = rng.standard_normal((2 * groups, 1, 2, 3))
    image = tuple(m * p * stride for m, p in zip(cells, phases, strict=True))
    layer = Convolution2d(kernel, (groups, *image), stride, 1, dilation, groups)
    x = rng.standard_normal((groups, *image))
    wide = 8  # wrapped far enough for every tap
    wrapped = np.pad(x, ((0, 0), (wide, wide), (wide, wide)), mode="wrap")
    direct = Convolution2d(kernel, wrapped.shape, 1, 0, dilation, groups)
    y = direct.matvec(wrapped.reshape(-1)).reshape(direct.output_shape)
    y = y[:, wide - 1 :: stride, wide - 1 :: stride][:, : image[0] // stride, : image[1] // stride]

    def transformed(image_values, parts):
        c = image_values.shape[0]
        split = image_values.reshape(c, cells[0], parts[0], cells[1], parts[1])
        return np.fft.fft2(split.transpose(0, 2, 4, 1, 3), axes=(3, 4)).reshape(-1, *cells)

    read = phases[0] * stride, phases[1] * stride
    points = np.array([(a, b) for a in range(cells[0]) for b in range(cells[1])])
    symbol = symbol_of(layer, phases, points, cells)
    x_hat, y_hat = transformed(x, read), transformed(y, phases)
    for j, (a, b) in enumerate(points):
        np.testing.assert_allclose(symbol.value[j] @ x_hat[:, a, b], y_hat[:, a, b], atol=1e-11)


def test_an_inadmissible_torus_is_refused():
    """The circular norm of size 4 is 3.471, below the norm 3.600 of the padded map."""
    network = small(head=False)
    graph = chain_graph(network)
    norm = np.linalg.norm(network.weights[0], 2)
    for m in (1, 4):
        with pytest.raises(InputError, match="not admissible"):
            torus_form(graph, (m, m))
        with pytest.raises(InputError, match="not admissible"):
            verify_torus(network, TorusWitness((m, m), 1.0, 3.5**2, ()))
    for m, expected in ((5, 4.24471), (6, 4.53982), (7, 4.52055), (8, 4.40057)):
        bound = verify_torus(network, fast_torus(torus_form(graph, (m, m)))).bound
        assert bound == pytest.approx(expected, abs=1e-5)
        assert bound >= norm


def test_slopes_above_zero_are_widened_and_groups_refused():
    network = Network.from_arrays(
        [conv(np.random.default_rng(0), 2, (1, 4, 4), 3, padding=1)] * 1, [None], []
    )
    leaky = Network.from_arrays(
        [network.layers[0].linear, np.ones((1, 32))], activation=lmikit.LeakyReLU(0.25)
    )
    form = torus_form(chain_graph(leaky))
    assert (form.slopes(form.nodes[0])[0] == 0.0).all()
    g = lmikit.GraphBuilder()
    layer = network.layers[0].linear
    grouped = g.output(layer.T @ g.maxmin(layer @ g.input(16)))
    with pytest.raises(InputError, match="groups"):
        torus_form(grouped)
    with pytest.raises(InputError, match="do not apply"):
        torus_form(chain_graph(Network.from_arrays([np.eye(3)])))


def test_linear_maps_that_spill_over_the_edge_are_refused():
    """Two padded convolutions without a nonlinearity between: the first is not zero outside its image."""
    rng = np.random.default_rng(0)
    g = lmikit.GraphBuilder()
    maps = [conv(rng, 1, (1, 4, 4), 3, padding=1) for _ in range(2)]
    with pytest.raises(InputError, match="not zero outside"):
        torus_form(g.output(maps[1] @ (maps[0] @ g.input(16))))


def saved(tmp_path):
    network = small()
    certificate = verify_torus(network, fast_torus(torus_form(chain_graph(network))))
    certificate.with_lower(1.0).save(tmp_path / "t.json")
    return network, certificate, tmp_path / "t.json"


def test_a_saved_certificate_is_checked_and_loaded(tmp_path):
    network, certificate, path = saved(tmp_path)
    assert lmikit.check(path, network)
    assert lmikit.check(path, chain_graph(network))
    loaded = TorusCertificate.load(path, network)
    assert (loaded.bound, loaded.lower) == (certificate.bound, 1.0)
    other = Network.from_arrays([network.layers[0].linear.scaled(1), network.layers[1].linear])
    assert not lmikit.check(path, other)
    with pytest.raises(NotCertified, match="another network"):
        TorusCertificate.load(path, other)
    with pytest.raises(TypeError):
        TorusCertificate(1.0, certificate.witness, "", 0.0, (), "")


def _smaller_bound(data):
    data["claim"]["L"] = (float.fromhex(data["claim"]["L"]) * (1.0 - 1e-12)).hex()


def _smaller_output(data):
    for field, factor in (("d_out", 0.81), ("L", 0.9)):
        part = data["proof" if field == "d_out" else "claim"]
        part[field] = (float.fromhex(part[field]) * factor).hex()


def _cells(m):
    def change(data):
        data["proof"]["cells"] = [m, m]

    return change


def _other_admissibility(data):
    data["proof"]["admissibility"][0]["size"] += 1


def _unknown_field(data):
    data["proof"]["note"] = ""


def _head_as_trunk(data):
    data["proof"]["multipliers"], data["proof"]["head"] = data["proof"]["head"], data["proof"]["multipliers"]


@pytest.mark.parametrize(
    "mutate",
    [
        _smaller_bound,
        _smaller_output,
        _cells(4),
        _cells(3),
        _other_admissibility,
        _unknown_field,
        _head_as_trunk,
    ],
)
def test_changed_certificates_are_refused(tmp_path, mutate):
    network, _, path = saved(tmp_path)
    data = json.loads(path.read_text())
    mutate(data)
    path.write_text(json.dumps(data))
    assert not lmikit.check(path, network)
    assert not lmikit.check(path, network, exact=True)


@pytest.mark.parametrize("head", [True, False])
def test_both_modes_agree_near_the_edge(tmp_path, head):
    """Outputs weights from too small to proven: accepted only where the spectrum allows it, and by both."""
    network = small(head)
    path = tmp_path / "c.json"
    certificate = lmikit.torus_lipschitz(network)
    certificate.save(path)
    text = path.read_text()
    d_out = certificate.witness.d_out
    for share, expected in ((1.0, True), (1.0 + 1e-8, True), (1.0 - 3e-8, False), (0.99, False)):
        changed = json.loads(text)
        changed["proof"]["d_out"] = (d_out * share).hex()
        changed["claim"]["L"] = (certificate.bound * 1.01).hex()
        path.write_text(json.dumps(changed))
        for exact in (False, True):
            assert bool(lmikit.check(path, network, exact=exact)) == expected, (share, exact)


@pytest.mark.parametrize("values", [np.array([-1.0]), np.array([np.nan]), np.array([1.0, 1.0])])
def test_multipliers_that_are_no_multipliers_are_refused(values):
    network = small()
    witness = fast_torus(torus_form(chain_graph(network)))
    bad = TorusWitness(witness.cells, 1.0, witness.d_out, (values,), witness.head)
    with pytest.raises((InputError, NotCertified)):
        verify_torus(network, bad, repair=False)


@pytest.mark.parametrize(("low", "high"), [(-2e-165, 1e-165), (-1e-165, 1e-165), (-1.0, 1.0)])
def test_a_head_of_slopes_of_both_signs_is_refused_even_where_their_product_underflows(low, high):
    builder = GraphBuilder()
    image = builder.relu(Convolution2d(np.ones((1, 1, 1, 1)), (1, 2, 2)) @ builder.input(4))
    head = builder.apply(Slopes(low, high), (1e100 * np.eye(4)) @ image)
    with pytest.raises(InputError, match="slopes of both signs"):
        lmikit.torus_lipschitz(builder.output((1e65 * np.eye(4)) @ head))


@pytest.mark.parametrize("d", [1e-170, 5e-324, 1.0, 1e300])
def test_the_root_of_weights_beyond_the_range_is_rounded_upwards(d):
    bound = root_above(TorusWitness((1, 1), d, d, (), ()))
    assert Fraction(bound) ** 2 >= Fraction(d) ** 2
    assert bound <= d * (1.0 + 1e-15) + 5e-324


@pytest.mark.parametrize(("kernel", "low", "high"), [(1.0, 0.0, 0.0), (1e200, 0.0, 1.0), (1e-171, 0.0, 1.0)])
def test_layers_beyond_the_range_end_in_a_bound_or_in_one_sentence(kernel, low, high):
    builder = GraphBuilder()
    image = builder.relu(Convolution2d(np.full((1, 1, 1, 1), kernel), (1, 2, 2)) @ builder.input(4))
    network = builder.output(np.eye(4) @ builder.apply(Slopes(low, high), np.eye(4) @ image))
    bound, message = np.inf, ""
    try:
        bound = lmikit.torus_lipschitz(network).bound
    except lmikit.LmikitError as error:
        message = str(error)
    assert bound >= kernel * high
    assert np.isfinite(bound) != bool(message)
    assert "\n" not in message
