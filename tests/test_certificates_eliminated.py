"""Linear neurons are eliminated exactly: the general assembly, version 2 of the file, and what it costs."""

import dataclasses
import itertools
import json
import math
import pathlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_standalone_checker import run as run_alone
from version_1_networks import stored_networks

from lmikit import Certificate, Network, NotCertified, Witness, check, lipschitz, pairwise_bounds, verify
from lmikit.certificates._assemble import assemble, grouped
from lmikit.certificates._check_eliminated import eliminated_blocks
from lmikit.certificates._check_integers import IntegerOperations, ScaledIntegers
from lmikit.certificates._dissipation import eliminate, nonlinear_neurons
from lmikit.certificates._lifted import lift, reduce_exact_zeros
from lmikit.certificates._rows import rows_proven
from lmikit.methods import ClosedForm, LipSDP
from lmikit.network import Identity, Slopes
from lmikit.testing import networks, witnesses

STORED = pathlib.Path(__file__).resolve().parent / "version_1"


def with_linear(network, share, seed):
    """The same weights; about `share` of the neurons of each hidden layer made linear."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in network.layers[:-1]:
        alpha, beta = np.array(layer.alpha), np.array(layer.beta)
        straight = rng.random(alpha.size) < share
        alpha[straight] = beta[straight] = rng.choice([1.0, -1.0, 0.3, 7.0], int(straight.sum()))
        layers.append(dataclasses.replace(layer, activation=Slopes(alpha, beta), alpha=alpha, beta=beta))
    return Network((*layers, network.layers[-1]), network.input_dim)


def random_network(dims, seed, activation="relu", gain=1.4):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((m, n)) * gain / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    return Network.from_arrays(weights, activation=activation)


def claimed(witness):
    return math.ldexp(math.sqrt(witness.rho), sum(witness.layer_pow2))


def dense(lifted, rho):
    """(value, radius) of the whole matrix."""
    blocks = lifted.at(rho)
    sizes = [d.shape[0] for d in blocks.diagonal]
    at = np.concatenate([[0], np.cumsum(sizes)])
    value, rad = np.zeros((at[-1], at[-1])), np.zeros((at[-1], at[-1]))
    for k, (d, r) in enumerate(zip(blocks.diagonal, blocks.diagonal_rad, strict=True)):
        place = np.s_[at[k] : at[k + 1], at[k] : at[k + 1]]
        value[place] = np.diag(d) if d.ndim == 1 else d
        rad[place] = 0.0 if r is None else np.diag(r) if r.ndim == 1 else r
    for k, (c, r) in enumerate(zip(blocks.lower, blocks.lower_rad, strict=True)):
        place = np.s_[at[k + 1] : at[k + 2], at[k] : at[k + 1]]
        value[place], rad[place] = c, 0.0 if r is None else r
    return np.tril(value), np.tril(rad)


@settings(max_examples=60)
@given(networks(max_hidden=4, layer_pow2=3), st.integers(0, 2**32 - 1))
def test_the_general_assembly_is_that_of_the_chain(network, seed):
    rng = np.random.default_rng(seed)
    slopes = [(a, np.maximum(b, a + 0.125)) for a, b in network.slopes]  # none linear
    chain = reduce_exact_zeros(network.weights, slopes)
    if chain is None or len(slopes) == 0:
        return
    multipliers = [10.0 ** rng.uniform(-2, 2, i.size) for i in chain.kept]
    a, a_rad = dense(lift(chain, multipliers), 3.0)
    b, b_rad = dense(assemble(eliminate(chain), multipliers), 3.0)
    assert (np.abs(a - b) <= a_rad + b_rad).all()
    assert (b_rad <= 4.0 * a_rad + 1e-300).all()


@settings(max_examples=60)
@given(networks(max_hidden=4, layer_pow2=3), st.floats(0.2, 0.9), st.integers(0, 2**32 - 1))
def test_the_radii_enclose_the_exact_matrix(network, share, seed):
    """The exact matrix is formed by the checker's own code, in integers."""
    network = with_linear(network, share, seed)
    chain = reduce_exact_zeros(network.weights, network.slopes)
    if chain is None:
        return
    rng = np.random.default_rng(seed)
    index = nonlinear_neurons(chain.slopes)
    multipliers = [10.0 ** rng.uniform(-2, 2, i.size) for i in index]
    diagonal, lower = eliminated_blocks(chain.weights, chain.slopes, multipliers, 3.0, IntegerOperations())
    found = assemble(eliminate(chain), [t for t in multipliers if t.size]).at(3.0)
    for exact, value, rad in (
        *zip(diagonal, found.diagonal, found.diagonal_rad, strict=True),
        *zip(lower, found.lower, found.lower_rad, strict=True),
    ):
        scale = 1 << exact.power if isinstance(exact, ScaledIntegers) else 1
        numbers = exact.values if isinstance(exact, ScaledIntegers) else exact
        if numbers.ndim > value.ndim:
            value = np.diag(value)
            rad = None if rad is None else np.diag(rad)
        assert numbers.shape == value.shape
        for at in np.ndindex(numbers.shape):
            difference = abs(_integer(value[at], scale) - _integer(numbers[at], 1))
            assert difference <= (0 if rad is None else math.ceil(_integer(rad[at], scale)))


def _integer(value, scale):
    return Fraction(value) * scale


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_all_checkers_agree_with_linear_neurons(data, seed, tmp_path_factory):
    network = with_linear(data.draw(networks(max_hidden=3, layer_pow2=3)), 0.5, seed)
    witness = data.draw(witnesses(network))
    if witness.kind != "lipsdp":
        return
    certificate = verify(network, witness)
    path = tmp_path_factory.mktemp("c") / "c.json"
    certificate.save(path)
    assert check(path, network).ok
    assert check(path, network, exact=True).ok
    assert run_alone(path, network) == certificate.bound
    assert Certificate.load(path, network).bound == certificate.bound
    if certificate.format_version == 2:
        smaller = dataclasses.replace(certificate.witness, rho=certificate.rho * (1.0 - 1e-3))
        least = verify(network, certificate.witness).rho
        if least >= certificate.rho * (1.0 - 1e-4):  # the multipliers have nothing to spare
            with pytest.raises(NotCertified):
                verify(network, smaller, repair=False)


@pytest.mark.parametrize(("name", "network"), list(stored_networks()), ids=lambda v: str(v)[:30])
def test_files_of_version_1_check_for_ever(name, network, tmp_path):
    for path in STORED.glob(f"{name}*.json"):
        if path.stem not in (name, f"{name}-layerwise"):
            continue
        text = path.read_text(encoding="utf-8")
        assert json.loads(text)["version"] == 1
        assert check(path, network).ok
        assert check(path, network, exact=True).ok
        loaded = Certificate.load(path, network)
        assert loaded.bound == float.fromhex(json.loads(text)["claim"]["L"])
        assert check(loaded, network).ok
        if loaded.witness.kind == "lipsdp":
            assert run_alone(path, network) == loaded.bound
        spoilt = text.replace('"version": 1', '"version": 2')
        with pytest.raises((NotCertified, ValueError)):
            Certificate.load(_written(tmp_path, path, spoilt), network)


def _written(folder, path, text):
    target = folder / path.name
    target.write_text(text, encoding="utf-8")
    return target


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_linear_neurons_cost_nothing_in_the_proof(share):
    network = with_linear(random_network((20, 60, 60, 60, 10), int(100 * share)), share, 0)
    witness = LipSDP().propose(network)
    certificate = verify(network, witness)
    assert certificate.format_version == 2
    assert certificate.bound <= claimed(witness) * (1.0 + 1e-6)
    assert check(certificate, network).ok


@pytest.mark.parametrize("scale", [1e-12, 1e-15])
def test_near_dead_neurons_and_linear_tails_cost_nothing(scale):
    """A near-dead row and two identity layers: proven 15 times above the proposal before."""
    rng = np.random.default_rng(1)
    dims = (4, 64, 64, 64, 16, 8, 8, 2, 1)
    weights = [rng.standard_normal((m, n)) * 2.0 / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    weights[0][3] *= scale
    network = Network.from_arrays(weights, activation=["relu"] * 5 + ["identity"] * 2)
    witness = LipSDP().propose(network)
    bound = verify(network, witness).bound
    assert 287.43 < bound <= claimed(witness) * (1.0 + 1e-6)
    assert bound < 287.45
    assert bound < lipschitz(network, ClosedForm()).bound


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_near_dead_neurons_do_not_loosen_the_repair(seed):
    """Scaling a neuron's row down, whatever the scale, never raises the proven bound of the same proposal."""
    rng = np.random.default_rng(seed)
    network = random_network((3, 5, 4, 2), seed, gain=2.0)
    weights = [np.array(w) for w in network.weights]
    k = int(rng.integers(2))
    weights[k][rng.integers(weights[k].shape[0])] *= 10.0 ** -rng.integers(5, 40)
    network = Network.from_arrays(weights)
    witness = LipSDP().propose(network)
    rough = dataclasses.replace(
        witness,
        multipliers=tuple(t * (1.0 + 1e-9 * rng.standard_normal(t.size)) for t in witness.multipliers),
    )
    for given_witness, loss in ((witness, 1e-6), (rough, 1e-5)):
        assert verify(network, given_witness).bound <= claimed(witness) * (1.0 + loss)


def test_a_linear_network_is_one_norm():
    network = random_network((784, 256, 10), 0, activation=Identity())
    norm = np.linalg.norm(network.weights[1] @ network.weights[0], 2)
    certificate = lipschitz(network)
    assert norm * (1.0 - 1e-12) <= certificate.bound <= norm * (1.0 + 1e-9)
    assert check(certificate, network).ok


def test_a_product_that_cancels_is_bounded_by_almost_nothing():
    network = Network.from_arrays(
        [np.array([[1.0], [1.0]]) / 3.0, np.array([[1.0, -1.0]])], activation=Identity()
    )
    certificate = verify(network, Witness("lipsdp", 1.0, (np.ones(2),)))
    assert 0.0 <= certificate.bound < 1e-12
    assert check(certificate, network, exact=True).ok


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3), max_size=8))
def test_groups_make_a_block_tridiagonal_pattern(supports):
    supports = [*([k, k + 1] for k in range(7)), *supports]
    where = {k: g for g, group in enumerate(grouped(supports, 8)) for k in group}
    assert sorted(where) == list(range(8))
    assert where[0] == 0
    assert where[1] == 1
    assert all(where[max(s)] - where[min(s)] <= 1 for s in supports)


def shared_pairs(network, witness):
    """Bounds of all pairs by the multipliers of this one witness."""
    return pairwise_bounds(network, certificate=verify(network, witness)).bounds


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_pairs_with_linear_layers_are_those_of_the_folded_chain(seed):
    """Layers of the identity, multiplied out by hand or eliminated: the same multipliers, the same bounds."""
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 4))
    dims = [*rng.integers(2, 8, depth + 1), int(rng.integers(2, 5))]
    kinds = [str(rng.choice(["relu", "identity", "leaky_relu"])) for _ in range(depth)]
    scales = 2.0 ** rng.integers(-20, 20, depth + 1)
    pairs = itertools.pairwise(dims)
    weights = [s * rng.standard_normal((m, n)) for s, (n, m) in zip(scales, pairs, strict=True)]
    folded = weights[:1]
    for w, kind in zip(weights[1:], kinds, strict=True):
        folded = [*folded[:-1], w @ folded[-1]] if kind == "identity" else [*folded, w]
    short = Network.from_arrays(folded, activation=[k for k in kinds if k != "identity"])
    witness = lipschitz(short).witness
    given, powers = iter(witness.multipliers), iter(witness.layer_pow2 or [0] * len(folded))
    multipliers = [
        np.zeros(n) if k == "identity" else next(given) for k, n in zip(kinds, dims[1:], strict=False)
    ]
    spread = [0 if kind == "identity" else next(powers) for kind in (*kinds, "")]
    longer = dataclasses.replace(witness, multipliers=tuple(multipliers), layer_pow2=tuple(spread))
    network = Network.from_arrays(weights, activation=kinds)
    np.testing.assert_allclose(shared_pairs(network, longer), shared_pairs(short, witness), rtol=1e-6)


@settings(max_examples=8)
@given(networks(max_hidden=3, layer_pow2=3, min_outputs=2), st.floats(0.2, 0.9), st.integers(0, 2**32 - 1))
def test_pairs_with_linear_neurons_are_no_less_than_a_solve_for_each(network, share, seed):
    """Also where linear neurons carry the input past a layer, so that outputs read every level."""
    network = with_linear(network, share, seed)
    certificate = lipschitz(network)
    shared = pairwise_bounds(network, certificate=certificate).bounds
    alone = pairwise_bounds(network, certificate=certificate, each_pair=True).bounds
    assert (alone <= shared * (1.0 + 1e-6)).all()
    row = Network(
        (*network.layers[:-1], Network.from_arrays([network.weights[-1][:1]]).layers[0]), network.input_dim
    )
    proven = lipschitz(row)
    if len(row.layers) > 1 and proven.bound > 0.0 and proven.witness.kind == "lipsdp":
        found = rows_proven(row, proven.witness, row.weights[-1])
        assert found[0] == pytest.approx(proven.bound, rel=1e-5)


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.integers(-(2**40), 2**40)] * 3), min_size=1, max_size=5), st.integers(-30, 30))
def test_rounding_of_folded_rows_is_covered(entries, power):
    """f_0 - f_1 = sum_i (a_i - b_i) v_i x exactly: the bound is no less, with any cancellation."""
    a, b, v = (np.array(column, dtype=float) for column in zip(*entries, strict=True))
    last = np.ldexp(np.array([a, b]), power)
    network = Network.from_arrays([v[:, None], last], activation=["identity"])
    exact = abs(sum((Fraction(p) - Fraction(q)) * Fraction(r) for p, q, r in zip(*last, v, strict=True)))
    assert Fraction(float(pairwise_bounds(network).bounds[0, 1])) >= exact
