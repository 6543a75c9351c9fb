"""Certificates of graphs: sound, tight, equal to those of chains, refused when changed."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from graph_helpers import dense, random_graph, residual_net
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, LipSDP, NotCertified, OptionError, SolveFailed, SpectralProduct
from lmikit.certificates._lifted import lift, reduce_exact_zeros
from lmikit.certificates.graph import GraphCertificate, verify_graph
from lmikit.certificates.graph._assemble import assemble
from lmikit.certificates.graph._check import check_graph
from lmikit.formulations.graph import GraphGain
from lmikit.graph import GraphBuilder, GraphWitness, Part, chain_graph, without_groups
from lmikit.graph._enclosure import EnclosedMatrix
from lmikit.graph._form import eliminate
from lmikit.graph._levels import levels
from lmikit.nonlinear import Reflect
from lmikit.solvers import Clarabel
from lmikit.testing import demo_network, networks

SEEDS = st.integers(0, 10**6)
W = np.array([[1.0, 0.5], [-1.0, 1.0], [0.0, 1.0]])
G = np.array([[0.5, 0.0, 1.0], [0.0, 0.7, -0.4]])


def residual_stack(copies, *, after):
    g = GraphBuilder()
    s = g.input(2)
    for _ in range(copies):
        s = s + G @ g.relu(W @ s)
        s = g.relu(s) if after else s
    return g.output(s)


@settings(max_examples=6)
@given(SEEDS)
def test_bounds_of_graphs_are_sound_and_their_files_check_in_both_modes(seed):
    graph = random_graph(seed)
    certificate = lmikit.lipschitz(graph)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 200, graph.input_dim))
    y[::2] = x[::2] + 1e-4 * y[::2]
    change = np.linalg.norm(graph(x) - graph(y), axis=1)
    assert (change <= certificate.bound * np.linalg.norm(x - y, axis=1) * (1.0 + 1e-12) + 1e-13).all()
    assert certificate.bound <= lmikit.lipschitz(graph, SpectralProduct()).bound * (1.0 + 1e-9)
    for exact in (False, True):
        found = lmikit.check(certificate, graph, exact=exact)
        assert found.ok, found.reason


@pytest.mark.parametrize(
    ("copies", "after", "value"),
    [
        (1, False, 2.0017593),
        (2, False, 3.8658084),
        (3, False, 7.4905464),
        (1, True, 2.0017593),
        (2, True, 3.8691086),
        (3, True, 7.5000657),
    ],
)
def test_stacks_of_residual_blocks_have_their_known_optima(copies, after, value):
    certificate = lmikit.lipschitz(residual_stack(copies, after=after))
    assert certificate.bound == pytest.approx(value, rel=1e-7)
    assert certificate.witness.optimum_at_least == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("after", "value"), [(True, 1.3311145), (False, 1.2448039)])
def test_random_residual_nets_of_four_blocks(after, value):
    certificate = lmikit.lipschitz(residual_net(4, 32, 0, after=after))
    assert certificate.bound == pytest.approx(value, abs=1e-6)


@settings(max_examples=10)
@given(networks(max_width=4))
def test_a_chain_as_a_graph_has_the_bound_of_the_chain(network):
    try:
        graph = chain_graph(network)
        chain = lmikit.lipschitz(network)
    except (InputError, NotCertified):
        return
    certificate = lmikit.lipschitz(graph)
    assert certificate.bound == pytest.approx(chain.bound, rel=1e-12)


@given(networks(max_width=4), SEEDS)
def test_the_general_matrix_is_that_of_the_chain_within_radii(network, seed):
    chain = reduce_exact_zeros(network.weights, network.slopes)
    if chain is None or any((a == b).any() for a, b in network.slopes):
        return  # the general form eliminates linear neurons
    rng = np.random.default_rng(seed)
    T = [rng.uniform(0.1, 2.0, n) for n in network.dims[1:-1]]
    theirs = lift(chain, [t[k] for t, k in zip(T, chain.kept, strict=True)]).at(3.0)
    part = Part(np.array([3.0]), np.ones(1), tuple(T))
    ours = assemble(eliminate(chain_graph(network)), part).at(part.d_in, part.d_out)
    for a, b in zip(_full(ours), _full(theirs), strict=True):
        assert a.shape == b.shape
    mid, rad = (a - b for a, b in zip(_full(ours), _full(theirs), strict=True))
    assert (np.abs(mid) <= _full(ours)[1] + _full(theirs)[1] + np.abs(rad)).all()


def _full(matrix):
    """(mid, rad) of a block-tridiagonal matrix."""
    sizes = [d.shape[0] for d in matrix.diagonal]
    ends = np.cumsum([0, *sizes])
    result = []
    for diagonal, lower in ((matrix.diagonal, matrix.lower), (matrix.diagonal_rad, matrix.lower_rad)):
        full = np.zeros((ends[-1], ends[-1]))
        for k, d in enumerate(diagonal):
            if d is not None:
                full[ends[k] : ends[k + 1], ends[k] : ends[k + 1]] = np.diag(d) if d.ndim == 1 else d
        for k, c in enumerate(lower):
            if c is not None:
                full[ends[k + 1] : ends[k + 2], ends[k] : ends[k + 1]] = c
        result.append(np.tril(full) + np.tril(full, -1).T)
    return result


def test_bounds_do_not_depend_on_how_a_graph_is_written():
    rng = np.random.default_rng(5)
    W0, W1, W2 = dense(rng, 5, 3), dense(rng, 3, 5), dense(rng, 2, 3)
    order, turn = rng.permutation(5), np.linalg.qr(rng.standard_normal((3, 3)))[0]

    def net(*, permuted=False, split=False, turned=False):
        g = GraphBuilder()
        x = g.input(3)
        z = turn @ x if turned else x
        h = g.relu(W0[order] @ z if permuted else W0 @ z)
        h = g.apply("identity", h) if split else h
        return g.output(W2 @ g.relu(z + (W1[:, order] if permuted else W1) @ h))

    plain = lmikit.lipschitz(net()).bound
    for change in ("permuted", "split", "turned"):
        assert lmikit.lipschitz(net(**{change: True})).bound == pytest.approx(plain, rel=3e-7)


@pytest.mark.parametrize("power", [60, -300, 300])
def test_units_of_hidden_values_do_not_matter(power):
    rng = np.random.default_rng(3)
    first, second, last, skip = (dense(rng, 4, 4) for _ in range(4))

    def net(power):
        g = GraphBuilder()
        x = g.input(4)
        h = g.relu(np.ldexp(first, power) @ x)
        return g.output(last @ g.relu(np.ldexp(second, -power) @ h) + skip @ x)

    assert lmikit.lipschitz(net(power)).bound == pytest.approx(lmikit.lipschitz(net(0)).bound, rel=1e-6)


def test_a_residual_net_with_a_branch_of_zeros_has_bound_one():
    g = GraphBuilder()
    x = g.input(3)
    graph = g.output(x + np.zeros((3, 4)) @ g.relu(np.ones((4, 3)) @ x))
    certificate = lmikit.lipschitz(graph)
    assert certificate.bound == 1.0
    assert lmikit.check(certificate, graph, exact=True)


def test_a_constant_output_has_bound_zero_by_the_zero_rule_only():
    g = GraphBuilder()
    x = g.input(2)
    graph = g.output(np.zeros((2, 2)) @ g.relu(x) + np.ones(2))
    for method in (LipSDP(), SpectralProduct()):
        certificate = lmikit.lipschitz(graph, method)
        assert certificate.bound == 0.0
        assert lmikit.check(certificate, graph)
        assert lmikit.check(certificate, graph, exact=True)
    other = GraphBuilder()
    moving = other.output(np.eye(2) @ other.relu(other.input(2)) + np.ones(2))
    assert not lmikit.check(certificate, moving)


def _maxmin(seed, widths=(3, 4, 4, 2)):
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    h = g.input(widths[0])
    for n in widths[1:-1]:
        h = g.maxmin(dense(rng, n, h.size) @ h)
    return g.output(dense(rng, widths[-1], h.size) @ h)


def test_a_net_of_pairs_without_weights_has_bound_one():
    g = GraphBuilder()
    h = g.maxmin(g.maxmin(g.input(4)))
    assert lmikit.lipschitz(g.output(h)).bound == pytest.approx(1.0, abs=1e-7)


@settings(max_examples=4)
@given(SEEDS)
def test_pairs_as_one_neuron_show_the_bound_of_their_constraint(seed):
    graph = _maxmin(seed)
    found = lmikit.lipschitz(graph)
    assert found.witness.rewritten
    neuron = lmikit.lipschitz(without_groups(graph))
    assert found.bound == pytest.approx(neuron.bound, rel=1e-9)
    problem = GraphGain(graph)
    special = verify_graph(graph, problem.witness(Clarabel().solve(problem.sdp()))).bound
    assert (
        neuron.bound * (1.0 - 1e-7) <= special <= neuron.bound * (1.0 + 1e-3)
    )  # its infimum may not be reached
    assert found.bound <= lmikit.lipschitz(graph, SpectralProduct()).bound * (1.0 + 1e-9)
    for exact in (False, True):
        assert lmikit.check(found, graph, exact=exact)
    text = found.to_text().replace('"rewritten": true', '"rewritten": false')
    assert not check_graph(text, graph, False)


def pooled(first, last):
    """x -> last max over two groups of four rows of first x."""
    g = GraphBuilder()
    return g.output(last @ g.max_pool(first @ g.input(4), [[0, 1, 2, 3], [4, 5, 6, 7]]))


def quadratic_bound(first, last):
    """The bound by tau_c (|y_c|^2 - sum of |u_i|^2) <= 0 for each pool, and tau."""
    problem = lmikit.lmi.Problem()  # rho I - V'tau V and tau - O'O positive semidefinite
    rho, tau = problem.scalar("rho"), problem.diagonal(2, "tau")
    gathered = sum(tau[c, c] * (first[4 * c : 4 * c + 4].T @ first[4 * c : 4 * c + 4]) for c in (0, 1))
    problem.add(rho * np.eye(4) >> gathered)
    problem.add(tau >> last.T @ last)
    problem.minimise(rho)
    values = problem.read(lmikit.solve(problem))
    return math.sqrt(values.objective), np.diag(values["tau"])


# The largest vertex, the tree, the quadratic constraint and the product: four nets of one generator.
POOLS = [
    (7.3703, 7.4021, 7.5547, 7.9298),
    (3.7775, 4.1870, 5.0664, 5.2745),
    (5.1432, 5.5177, 6.2721, 6.3033),
    (5.0272, 5.9833, 8.4007, 8.6162),
]


@settings(max_examples=3)
@given(SEEDS)
def test_the_tree_of_relu_is_never_above_the_constraint_on_the_pool(seed):
    rng = np.random.default_rng(seed)
    first, last = rng.standard_normal((8, 4)), rng.standard_normal((2, 2))
    bound = lmikit.lipschitz(pooled(first, last)).bound
    true = max(np.linalg.norm(last @ first[[i, j]], 2) for i in range(4) for j in range(4, 8))
    product = np.linalg.norm(last, 2) * np.linalg.norm(first, 2)
    quadratic = quadratic_bound(first, last)[0]
    assert true * (1.0 - 1e-9) <= bound <= quadratic * (1.0 + 1e-6) <= product * (1.0 + 2e-6)


def test_pools_of_a_table():
    """true <= tree <= constraint <= product on four nets, and the tree shows what the constraint does."""
    rng = np.random.default_rng(1)
    for row in POOLS:
        first, last = rng.standard_normal((8, 4)), rng.standard_normal((2, 2))
        graph = pooled(first, last)
        quadratic, tau = quadratic_bound(first, last)
        true = max(np.linalg.norm(last @ first[[i, j]], 2) for i in range(4) for j in range(4, 8))
        product = np.linalg.norm(last, 2) * np.linalg.norm(first, 2)
        found = true, lmikit.lipschitz(graph).bound, quadratic, product
        assert found == pytest.approx(row, abs=1e-4)
        # y = b + r: tau (y^2 - a^2 - b^2) + tau (a - r)^2 = 2 tau r (r - a + b), so T = tau on all neurons
        part = Part(np.array([quadratic**2]), np.ones(1), (np.repeat(tau, 2), tau))
        assert verify_graph(graph, GraphWitness("dissipation", parts=(part,))).bound <= quadratic * (1 + 1e-6)


@settings(max_examples=5)
@given(SEEDS)
def test_sorted_groups_and_reflections_lie_between_vertices_and_product(seed):
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    h = g.sort_groups(dense(rng, 8, 3) @ g.input(3), 4)
    h = g.apply(Reflect(rng.standard_normal(4)), dense(rng, 8, 8) @ h)
    graph = g.output(dense(rng, 2, 8) @ h)
    bound = lmikit.lipschitz(graph).bound
    assert lmikit.lower_bound(graph, starts=16, steps=10).value <= bound * (1.0 + 1e-9)
    assert bound <= lmikit.lipschitz(graph, SpectralProduct()).bound * (1.0 + 1e-9)


INF = math.inf
NORMS = {
    (2, 2): 7.49926,
    (INF, 1): 12.6471,
    (INF, 2): 9.51488,
    (INF, INF): 9.0,
    (1, 1): 10.0536,
    (1, 2): 7.21110,
    (1, INF): 6.05616,
}


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_seven_pairs_of_norms(norm):
    W2 = [[1.0, 1.0], [1.0, -1.0]]
    network = lmikit.Network.from_arrays([*demo_network().weights[:2], W2])
    certificate = lmikit.lipschitz(network, norm=norm)
    assert certificate.bound == pytest.approx(NORMS[norm], rel=2e-5)
    assert certificate.norm == norm
    graph = chain_graph(network)
    assert lmikit.check(certificate, graph)
    assert lmikit.check(certificate, graph, exact=True)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 500, 2))
    p, q = norm
    change = np.linalg.norm(network(x) - network(y), q, axis=1) / np.linalg.norm(x - y, p, axis=1)
    assert change.max() <= certificate.bound


def test_ends_that_are_single_channels_are_l2_gains():
    """q = infinity is the largest gain of one output, p = 1 that of one input; a constant output counts 0."""
    rng = np.random.default_rng(4)
    first, last, skip = dense(rng, 5, 3), dense(rng, 3, 5), dense(rng, 3, 3)
    last[2], skip[2] = 0.0, 0.0

    def net(rows, columns):
        g = GraphBuilder()
        x = g.input(len(columns))
        return g.output(last[rows] @ g.relu(first[:, columns] @ x) + skip[np.ix_(rows, columns)] @ x)

    every = [0, 1, 2]
    by_row = max(lmikit.lipschitz(net([i], every)).bound for i in (0, 1))
    by_column = max(lmikit.lipschitz(net(every, [j])).bound for j in every)
    assert lmikit.lipschitz(net(every, every), norm=(2, INF)).bound == pytest.approx(by_row, rel=1e-6)
    assert lmikit.lipschitz(net(every, every), norm=(1, 2)).bound == pytest.approx(by_column, rel=1e-6)


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(sorted(set(itertools.product((1, 2, INF), repeat=2)) - {(2, 2)}))
)
def test_layers_scaled_apart_change_bounds_in_any_norms_by_their_factors_alone(seed, norm):
    rng = np.random.default_rng(seed)
    dims = rng.integers(1, 6, rng.integers(3, 6))
    plain = [dense(rng, m, n) for n, m in itertools.pairwise(dims)]
    factors = 10.0 ** rng.uniform(-4, 4, len(plain))
    expected = lmikit.lipschitz(lmikit.Network.from_arrays(plain), norm=norm).bound
    scaled = lmikit.Network.from_arrays([f * W for f, W in zip(factors, plain, strict=True)])
    found = lmikit.lipschitz(scaled, norm=norm)
    assert found.bound == pytest.approx(factors.prod() * expected, rel=1e-4)
    assert lmikit.check(found, chain_graph(scaled), exact=True)


@pytest.mark.parametrize("norm", [(INF, 1), (INF, INF), (1, 2), (1, 1)], ids=str)
def test_an_l2_gain_stands_in_for_other_norms(norm, monkeypatch):
    network = demo_network()
    best = lmikit.lipschitz(network, norm=norm).bound
    gain = lmikit.lipschitz(network).bound
    propose = LipSDP.propose_graph

    def useless(method, graph, *, norm=(2.0, 2.0), **options):
        if norm == (2.0, 2.0):
            return propose(method, graph, norm=norm, **options)
        raise SolveFailed("nothing found")

    monkeypatch.setattr(LipSDP, "propose_graph", useless)
    found = lmikit.lipschitz(network, norm=norm)
    assert found.norm == norm
    assert (
        best * (1.0 - 1e-6)
        <= found.bound
        <= math.sqrt(network.dims[0] * network.dims[-1]) * gain * (1.0 + 1e-6)
    )
    assert lmikit.check(found, chain_graph(network), exact=True)


def test_norms_and_options_that_are_refused():
    network = demo_network()
    for norm in ((2, 3), 2, (2,), ("2", 2)):
        with pytest.raises(InputError, match="expected \\(p, q\\)"):
            lmikit.lipschitz(network, norm=norm)
    with pytest.raises(InputError, match="l2 gains only"):
        lmikit.lipschitz(network, SpectralProduct(), norm=(1, 2))
    with pytest.raises(OptionError, match="neuron"):
        lmikit.lipschitz(residual_stack(1, after=False), LipSDP(multipliers="layer"))


def _mutations(text):
    def changed(path, value):
        data = json.loads(text)
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return json.dumps(data)

    def lower(x):
        return (float.fromhex(x) * (1.0 - 1e-6)).hex()

    part = ["proof", "parts", 0]
    yield "a smaller L", changed(["claim", "L"], lower)
    yield "a negative L", changed(["claim", "L"], lambda x: "-" + x)
    yield "another norm", changed(["claim", "p"], "linf")
    yield "another claim", changed(["claim", "scope"], "local")
    yield "another hash", changed(["graph", 1, "maps", 0, "sha256"], "0" * 64)
    yield "other parents", changed(["graph", 3, "parents"], lambda p: p[::-1])
    yield "another kind", changed(["graph", 2, "kind"], "groups")
    yield "a node less", changed(["graph"], lambda nodes: nodes[:-1])
    yield "no parts", changed(["proof", "parts"], [])
    yield "a part twice", changed(["proof", "parts"], lambda parts: parts * 2)
    yield "a row", changed([*part, "row"], 0)
    yield "a smaller D", changed([*part, "d_in"], lambda d: _array(d, lambda x: x * (1.0 - 1e-3)))
    yield "a negative D", changed([*part, "d_out"], lambda d: _array(d, lambda x: -x))
    yield "negative T", changed([*part, "multipliers", 0], lambda d: _array(d, lambda x: -x))
    yield "no T", changed([*part, "multipliers", 0], lambda d: _array(d, lambda x: 0.0 * x))
    yield "huge T", changed([*part, "multipliers", 0], lambda d: _array(d, lambda x: 1e6 * x))
    yield "NaN", changed([*part, "multipliers", 0], lambda d: _array(d, lambda x: x * np.nan))
    yield "another size", changed([*part, "multipliers", 0, "size"], 1)
    yield "gains", changed(["proof", "gains"], ["0x1p+0"])
    yield "another proof", changed(["proof", "kind"], "norms")
    yield "an unknown proof", changed(["proof", "kind"], "faith")
    yield "an unknown field", changed(["extra"], 1) if False else text.replace('"claim"', '"clam"', 1)
    yield "a key twice", text.replace('"version"', '"version": 1, "version"', 1)
    yield "half a file", text[: len(text) // 2]
    yield "a decimal", text.replace('"margin": "', '"margin": 0.5, "m": "', 1)
    yield "another version", changed(["version"], 9)


def _array(entry, change):
    from lmikit.certificates._strict_json import array_of as read
    from lmikit.certificates._strict_json import array_out

    values = read({"dtype": entry["dtype"], "data": entry["data"]}, "x", entry["size"])
    return {"size": entry["size"], **array_out(change(values))}


def test_every_mutation_of_a_file_is_refused(tmp_path):
    graph = residual_stack(2, after=True)
    certificate = lmikit.lipschitz(graph)
    text = certificate.to_text()
    path = tmp_path / "certificate.json"
    certificate.save(path)
    assert lmikit.check(path, graph)
    loaded = GraphCertificate.load(path, graph)
    assert loaded.bound == certificate.bound
    for name, mutated in _mutations(text):
        path.write_text(mutated)
        for exact in (False, True):
            assert not lmikit.check(path, graph, exact=exact).ok, name
        with pytest.raises((InputError, NotCertified)):
            GraphCertificate.load(path, graph)
    certificate.save(path)
    assert not lmikit.check(path, residual_stack(2, after=False))
    assert not lmikit.check(path, demo_network())
    with pytest.raises(InputError, match="Graph"):
        lmikit.check(path, object())


def test_certificates_and_witnesses_of_the_wrong_shape_are_refused():
    graph = residual_stack(1, after=False)
    with pytest.raises(TypeError, match="verify_graph"):
        GraphCertificate(1.0, (2.0, 2.0), GraphWitness("norms"), "", 0.0, "", ())
    with pytest.raises(InputError, match="does not fit"):
        verify_graph(graph, GraphWitness("norms", gains=(1.0,)), repair=False)
    with pytest.raises(NotCertified):
        verify_graph(graph, GraphWitness("norms", gains=(1.0, 0.1, 1.0)), repair=False)
    bad = Part(np.array([1.0]), np.ones(1), (np.ones(3),))
    with pytest.raises(NotCertified):
        verify_graph(graph, GraphWitness("dissipation", parts=(bad,)), repair=False)


@given(SEEDS)
def test_enclosures_hold_the_exact_result(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((3, 3)) * 10.0 ** rng.integers(-3, 4, (3, 3)) for _ in range(2))
    A, B = EnclosedMatrix(a), EnclosedMatrix(b)
    C = (A @ B + A).rows_times(b[0], np.full(3, 0.0)) @ B.T
    exact = _product(_scaled(b[0], _sum(_product(_exact(a), _exact(b)), _exact(a))), _exact(b.T))
    for i in range(3):
        for j in range(3):
            assert abs(exact[i][j] - Fraction(C.mid[i, j])) <= Fraction(C.rad[i, j])


def _exact(a):
    return [[Fraction(x) for x in row] for row in a]


def _product(a, b):
    return [
        [sum((x * y for x, y in zip(row, col, strict=True)), Fraction(0)) for col in zip(*b, strict=True)]
        for row in a
    ]


def _sum(a, b):
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def _scaled(f, a):
    return [[Fraction(s) * x for x in row] for s, row in zip(f, a, strict=True)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.data())
def test_levels_put_what_meets_side_by_side(sizes, data):
    count = len(sizes)
    index = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(index, index), max_size=12))
    found = levels(sizes, pairs)
    assert [i for level in found for i in level] == list(range(count))
    place = {i: k for k, level in enumerate(found) for i in level}
    assert all(abs(place[a] - place[b]) <= 1 for a, b in pairs)
