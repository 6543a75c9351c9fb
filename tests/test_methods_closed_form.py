"""Closed forms: the recursion against the LMI, its lemmas, known values, order, scales, slopes."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import demo_network, networks

from lmikit.certificates import verify
from lmikit.methods import ClosedForm, EclipseFast, LayerScaling, NeuronScaling, SpectralProduct
from lmikit.methods._eclipse_pass import dominated, fast_pass
from lmikit.methods._recursion import advance, chain_of, evaluate, first_gram, gradient
from lmikit.network import GELU, LeakyReLU, Network, ReLU, SiLU, Slopes

CHAIN_METHODS = (EclipseFast, ClosedForm, LayerScaling, NeuronScaling)
PAIRS = ((0.0, 1.0), (-0.1, 1.1), (-1.0, 1.0), (0.2, 0.9), (-0.9, -0.2), (0.0, 3.0), (-1.0, 0.25))


def gaussian_network(seed, dims=(3, 5, 4, 2), pairs=None):
    """A Gaussian net; slopes per neuron drawn from `pairs` (None: ReLU)."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    if pairs is None:
        return Network.from_arrays(weights)
    chosen = [np.array([pairs[i] for i in rng.integers(len(pairs), size=n)]) for n in dims[1:-1]]
    return Network.from_arrays(weights, activation=[Slopes(c[:, 0], c[:, 1]) for c in chosen])


def lmi(chain, rho, d, slopes):
    """M(rho, T) of `lmikit.Witness` with T = rho / (2 d), dense."""
    sizes = [chain.weights[0].shape[1], *(x.size for x in d)]
    ends = np.cumsum([0, *sizes])
    m = np.zeros((ends[-1], ends[-1]))
    m[: sizes[0], : sizes[0]] = rho * np.eye(sizes[0])
    for k, (x, (alpha, beta)) in enumerate(zip(d, slopes, strict=True)):
        w, t = chain.weights[k], 0.5 * rho / x
        before, here = slice(ends[k], ends[k + 1]), slice(ends[k + 1], ends[k + 2])
        m[here, here] += 2.0 * np.diag(t)
        m[before, before] += 2.0 * w.T @ np.diag(alpha * beta * t) @ w
        m[here, before] -= np.diag((alpha + beta) * t) @ w
        m[before, here] = m[here, before].T
    m[ends[-2] :, ends[-2] :] -= chain.weights[-1].T @ chain.weights[-1]
    return m


def vertex_maximum(network):
    """The largest Jacobian norm over all vertices of the slope box (exhaustive)."""
    slopes = [list(zip(a, b, strict=True)) for a, b in network.slopes]
    flat = [pair for layer in slopes for pair in layer]
    best = 0.0
    for vertex in itertools.product(*flat):
        product, start = network.weights[0], 0
        for k, layer in enumerate(slopes):
            part = np.array(vertex[start : start + len(layer)])
            start += len(layer)
            product = network.weights[k + 1] @ (part[:, None] * product)
        best = max(best, float(np.linalg.norm(product, 2)))
    return best


def proposed(method, network):
    witness = method.propose(network)
    return float(np.ldexp(np.sqrt(witness.rho), sum(witness.layer_pow2)))


@pytest.mark.parametrize("pair", [*PAIRS, None])
@given(seed=st.integers(0, 2**32 - 1), log_scale=st.floats(-3.0, 2.0))
@settings(max_examples=15)
def test_recursion_decides_the_lmi(pair, seed, log_scale):
    network = gaussian_network(seed, pairs=PAIRS if pair is None else [pair])
    chain = chain_of(network)
    rng = np.random.default_rng(seed)
    d = [np.exp(log_scale + 0.5 * rng.standard_normal(n)) for n in network.dims[1:-1]]
    at = evaluate(chain, d)
    if at is None:
        for rho in (1e-3, 1.0, 1e3, 1e6):
            assert np.linalg.eigvalsh(lmi(chain, rho, d, network.slopes))[0] < 1e-9 * rho
    else:
        scale = np.abs(lmi(chain, at.rho, d, network.slopes)).max()
        assert np.linalg.eigvalsh(lmi(chain, at.rho * (1 + 1e-6), d, network.slopes))[0] > 0.0
        assert np.linalg.eigvalsh(lmi(chain, at.rho * (1 - 1e-6), d, network.slopes))[0] < 1e-12 * scale


@given(network=networks(min_hidden=1, max_hidden=2), seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_domination_keeps_the_recursion_positive(network, seed):
    """Lemma 2: d = kappa E with diagonal E >= m G m gives K > 0 and W X^-1 W' <= W E W'."""
    chain = chain_of(network)
    rng = np.random.default_rng(seed)
    gram = first_gram(chain)
    for k in range(1, chain.hidden_layers + 1):
        m = chain.gain[k - 1]
        a = m[:, None] * gram * m
        shape = np.exp(rng.standard_normal(m.size))
        top = np.linalg.eigvalsh(a / np.sqrt(np.outer(shape, shape)))[-1]
        e = max(top, 1e-12) * shape
        result = advance(chain, k, gram, dominated(chain.kappa[k - 1], e))
        assert result is not None
        gram = result[1]
        w = chain.weights[k]
        ceiling = (w * e) @ w.T
        assert np.linalg.eigvalsh(ceiling - gram)[0] >= -1e-6 * max(1e-12, np.abs(ceiling).max())


@pytest.mark.parametrize("pair", [*PAIRS, None, (0.97, 1.0)])
def test_gradient_against_differences(pair):
    network = gaussian_network(3, (3, 6, 5, 4, 2), PAIRS if pair is None else [pair])
    chain, fast = fast_pass(chain_of(network))
    d = [1.2 * x * np.exp(0.1 * np.sin(np.arange(x.size))) for x in fast.d]
    at = evaluate(chain, d)
    exact = gradient(chain, at)
    for k, i in itertools.product(range(3), range(3)):
        values = []
        for h in (1e-5, -1e-5):
            moved = [x.copy() for x in d]
            moved[k][i] *= np.exp(h)
            values.append(np.log(evaluate(chain, moved).rho))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(exact[k][i], abs=1e-7, rel=1e-5)


def test_demo_values():
    network = demo_network()
    assert proposed(EclipseFast(), network) == pytest.approx(7.11599, abs=1e-5)
    assert proposed(SpectralProduct(), network) == pytest.approx(7.49926, abs=1e-5)
    for method in CHAIN_METHODS:
        certificate = verify(network, method().propose(network))
        assert certificate.proven
        assert 6.717554 <= certificate.bound <= 7.11600


@pytest.mark.parametrize(
    ("alpha", "beta", "lipsdp"),
    [
        (-0.1, 1.1, 8.13161),
        (-1.0, 1.0, 6.78910),
        (0.2, 0.9, 5.43723),
        ((0.0, -0.2, 0.1, 0.3), (1.0, 0.8, 1.2, 0.3), 4.11252),
    ],
)
def test_demo_slopes_are_sound_and_near_the_sdp(alpha, beta, lipsdp):
    alphas, betas = np.broadcast_to(alpha, 4), np.broadcast_to(beta, 4)
    network = demo_network([Slopes(alphas[i : i + 2], betas[i : i + 2]) for i in (0, 2)])
    reached = vertex_maximum(network)
    for method in (SpectralProduct, *CHAIN_METHODS):
        bound = verify(network, method().propose(network)).bound
        assert bound >= reached * (1 - 1e-14)
        if method is not SpectralProduct:
            assert bound >= lipsdp - 1e-5
    assert bound <= 1.01 * lipsdp  # the last one, NeuronScaling


@given(network=networks(min_hidden=1, max_hidden=3, max_width=3))
@settings(max_examples=60)
def test_bounds_cover_every_vertex_of_the_slope_box(network):
    reached = vertex_maximum(network)
    for method in (SpectralProduct, EclipseFast, ClosedForm, LayerScaling):
        assert verify(network, method().propose(network)).bound >= reached * (1 - 1e-13)


@given(network=networks(min_hidden=0, max_hidden=4, max_width=5))
@settings(max_examples=60)
def test_each_method_is_at_least_as_good_as_the_one_before(network):
    bounds = [proposed(m(), network) for m in (NeuronScaling, LayerScaling, ClosedForm, EclipseFast)]
    assert bounds == sorted(bounds)
    product = proposed(SpectralProduct(), network)
    assert bounds[-1] <= product * (1 + 1e-6) or product == 0.0


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_witnesses_are_proven_as_they_are(seed):
    """No repair: the multipliers are strictly feasible at the proposed rho."""
    network = gaussian_network(seed, (4, 6, 6, 3), PAIRS)
    for method in (SpectralProduct, *CHAIN_METHODS):
        witness = method().propose(network)
        certificate = verify(network, witness, repair=False)
        claimed = np.ldexp(np.sqrt(witness.rho), sum(witness.layer_pow2))
        assert certificate.bound == pytest.approx(claimed, rel=1e-14)


@pytest.mark.parametrize("activation", [GELU(), SiLU(), LeakyReLU(-0.3), LeakyReLU(0.3)])
def test_unit_weights_reach_the_largest_slope(activation):
    """v -> phi(v): the constant is max |slope|, where a rule made for [0, 1] would answer 1."""
    network = Network.from_arrays([np.eye(1), np.eye(1)], activation=activation)
    alpha, beta = network.slopes[0]
    largest = max(abs(alpha[0]), abs(beta[0]))
    for method in CHAIN_METHODS:
        assert verify(network, method().propose(network)).bound == pytest.approx(largest, rel=1e-7)


@pytest.mark.parametrize("method", CHAIN_METHODS)
def test_a_linear_map_gives_its_spectral_norm(method):
    w = np.random.default_rng(0).standard_normal((7, 4))
    bound = verify(Network.from_arrays([w]), method().propose(Network.from_arrays([w]))).bound
    assert bound == pytest.approx(np.linalg.norm(w, 2), rel=1e-8)


@pytest.mark.parametrize("method", [SpectralProduct, EclipseFast, ClosedForm, LayerScaling])
def test_extreme_scales_only_scale_the_bound(method):
    """Layers times 1e100 and 1e-100 in turn; norms from 1e-8 to 1e8."""
    rng = np.random.default_rng(5)
    weights = [rng.standard_normal((6, 6)) for _ in range(4)]
    plain = Network.from_arrays(weights)
    scaled = Network.from_arrays([w * f for w, f in zip(weights, (1e100, 1e-100, 1e-8, 1e8), strict=True)])
    expected = verify(plain, method().propose(plain)).bound
    assert verify(scaled, method().propose(scaled)).bound == pytest.approx(expected, rel=1e-6)


def test_a_hundred_layers():
    rng = np.random.default_rng(6)
    network = Network.from_arrays([rng.standard_normal((12, 12)) for _ in range(101)])
    bounds = [verify(network, m().propose(network)).bound for m in (ClosedForm, EclipseFast, SpectralProduct)]
    assert 0.0 < bounds[0] <= bounds[1] <= bounds[2] < np.inf


def test_one_neuron_layers_are_a_product():
    network = Network.from_arrays([np.full((1, 1), 3.0), np.full((1, 1), -0.5), np.full((1, 1), 2.0)])
    assert verify(network, EclipseFast().propose(network)).bound == pytest.approx(3.0, rel=1e-7)


@pytest.mark.parametrize(
    "name", ["lyr2n80test1", "mnist_weights", *(f"fnn{k}_seed{s}" for k in (2, 3) for s in range(5))]
)
def test_eclipse_fast_equals_the_published_implementation(data_dir, name):
    reference = json.loads((data_dir / "networks" / "reference.json").read_text())["nets"][name]
    values = {r["method"]: r["bound"] for r in reference["results"] if r.get("outputs") == "all"}
    arrays = np.load(data_dir / "networks" / f"{name}.npz")
    depth = sum(key.startswith("W") for key in arrays)
    network = Network.from_arrays([arrays[f"W{i}"] for i in range(depth)], activation=ReLU())
    witness = EclipseFast().propose(network)
    assert verify(network, witness, repair=False).bound == pytest.approx(values["eclipse_fast"], rel=1e-6)
    best = verify(network, NeuronScaling().propose(network)).bound
    assert best >= reference["sampled_lower_bound"]["bound"] * (1 - 1e-12)
    if "heinrich_CVXOPT" in values:
        assert values["heinrich_CVXOPT"] * (1 - 1e-7) <= best <= values["heinrich_CVXOPT"] * 1.005
