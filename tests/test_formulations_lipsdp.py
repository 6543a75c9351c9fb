"""The forms of LipSDP: known values, one optimum for all forms, and the LMI against its definition."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import demo_network, networks

from lmikit import InputError, Network, OptionError, SolveFailed
from lmikit.certificates import verify
from lmikit.formulations import (
    AbstractFormulation,
    BalancedLipSDP,
    ChordalLipSDP,
    JointLipSDP,
    LoopLipSDP,
    norm_product_witness,
    uniform_witness,
)
from lmikit.lmi import Solution, Status
from lmikit.network import Slopes, vertex_maximum
from lmikit.reductions import LayerPowers, as_stored, reduce, scale_witness
from lmikit.solvers import Clarabel

FORMS = {
    "joint": JointLipSDP,
    "chordal": ChordalLipSDP,
    "balanced": BalancedLipSDP,
    "loop": LoopLipSDP,
    "eliminated": lambda network, multipliers="neuron": LoopLipSDP(network, multipliers, centred=False),
}

# slopes: (LipSDP-Layer, LipSDP-Neuron, vertex maximum)
DEMO = {
    (0.0, 1.0): (7.10232, 6.71755, 6.70820),
    (-0.1, 1.1): (8.63573, 8.13161, 8.11693),
    (-1.0, 1.0): (7.49926, 6.78910, 6.70820),
    (0.2, 0.9): (5.68401, 5.43723, 5.43365),
}
MIXED = [Slopes([0.0, -0.2], [1.0, 0.8]), Slopes([0.1, 0.3], [1.2, 0.3])]


def proposed(form):
    return form.witness(Clarabel(tol=1e-9).solve(form.sdp()))


def full_lmi(network, rho, multipliers):
    """M(rho, T), straight from the definition in `lmikit.Witness`."""
    n0, hidden = network.input_dim, network.dims[1:-1]
    starts = np.concatenate([[0, n0], n0 + np.cumsum(hidden)]).astype(int)
    total = n0 + sum(hidden)
    M = np.zeros((total, total))
    M[:n0, :n0] = rho * np.eye(n0)
    last = slice(starts[-2], starts[-1])
    M[last, last] -= network.weights[-1].T @ network.weights[-1]
    for k, ((alpha, beta), t) in enumerate(zip(network.slopes, multipliers, strict=True)):
        v = np.zeros((hidden[k], total))
        v[:, starts[k] : starts[k + 1]] = network.weights[k]
        w = np.zeros((hidden[k], total))
        w[:, starts[k + 1] : starts[k + 2]] = np.eye(hidden[k])
        half = v.T @ np.diag((alpha + beta) * t) @ w
        M += 2 * v.T @ np.diag(alpha * beta * t) @ v - half - half.T + 2 * w.T @ np.diag(t) @ w
    return M


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("slopes", DEMO)
def test_demo_values_in_every_form(form, slopes):
    network = demo_network(Slopes(*slopes))
    layer, neuron, _ = DEMO[slopes]
    for multipliers, expected in (("layer", layer), ("neuron", neuron)):
        witness = proposed(FORMS[form](network, multipliers))
        assert np.sqrt(witness.rho) == pytest.approx(expected, abs=6e-6)
        assert verify(network, witness).bound == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("slopes", DEMO)
def test_demo_vertex_maximum_is_below(slopes):
    assert vertex_maximum(demo_network(Slopes(*slopes))) == pytest.approx(DEMO[slopes][2], abs=6e-6)


@pytest.mark.parametrize("form", ["loop", "eliminated"])
def test_linear_neurons_are_eliminated_exactly(form):
    network = demo_network(MIXED)
    witness = proposed(FORMS[form](network))
    assert np.sqrt(witness.rho) == pytest.approx(4.11252, abs=6e-6)
    assert all(np.isfinite(t).all() for t in witness.multipliers)
    assert verify(network, witness).bound == pytest.approx(4.112517, rel=1e-6)
    assert vertex_maximum(network) <= np.sqrt(witness.rho)


def test_multipliers_of_the_demo():
    witness = proposed(JointLipSDP(demo_network()))
    T = np.concatenate(witness.multipliers)
    assert pytest.approx((8.998, 1.2238, 3.3376, 1.4248), rel=1e-3) == T


@settings(max_examples=12)
@given(networks(min_hidden=1, max_hidden=3, max_width=3, kinds=("gaussian", "integers", "duplicate_rows")))
def test_all_forms_have_one_optimum(network):
    network = reduce(network).network
    bounds = {
        name: np.sqrt(proposed(form(network)).rho) for name, form in FORMS.items() if _fits(name, network)
    }
    for name, bound in bounds.items():
        assert bound == pytest.approx(bounds["loop"], rel=2e-5, abs=1e-7), (name, bounds)


def _fits(name, network):
    """A linear neuron has an infinite multiplier in the forms that do not eliminate it."""
    linear = any((alpha == beta).any() for alpha, beta in network.slopes)
    nonzero = any(w.any() for w in network.weights)
    return nonzero and (not linear or name in ("loop", "eliminated"))


@settings(max_examples=15)
@given(networks(min_hidden=1, max_hidden=2, max_width=3, kinds=("gaussian", "integers")))
def test_product_layer_neuron_vertices_are_in_order(network):
    network = reduce(network).network
    if not _fits("joint", network):
        network = demo_network()
    product, uniform = (np.sqrt(make(network).rho) for make in (norm_product_witness, uniform_witness))
    layer = verify(network, proposed(JointLipSDP(network, "layer"))).bound
    neuron = verify(network, proposed(JointLipSDP(network))).bound
    assert vertex_maximum(network) <= neuron * (1 + 1e-12)
    assert neuron <= layer * (1 + 1e-6)
    assert neuron <= product * (1 + 1e-6)
    assert layer <= uniform * (1 + 1e-6)
    if all(np.ptp(alpha) == np.ptp(beta) == 0.0 for alpha, beta in network.slopes):
        assert layer <= product * (1 + 1e-6)


@pytest.mark.parametrize("make", [norm_product_witness, uniform_witness])
@settings(max_examples=40)
@given(network=networks(min_hidden=1, max_hidden=3))
def test_closed_form_witnesses_are_feasible_at_any_slopes(make, network):
    witness = make(network)
    M = full_lmi(network, witness.rho, witness.multipliers)
    assert np.linalg.eigvalsh(M)[0] >= -1e-9 * max(np.abs(M).max(), 1e-300)


@settings(max_examples=30)
@given(networks(max_hidden=3))
def test_joint_lmi_is_the_definition(network):
    form = JointLipSDP(network)
    rng = np.random.default_rng(7)
    y = rng.uniform(0.1, 2.0, form.sdp().variables)
    solution = Solution(Status.SOLVED, y, None, -y[-1], -y[-1], 0.0, 1)
    witness = form.witness(solution)
    M = full_lmi(network, witness.rho, witness.multipliers) if network.hidden_layers else None
    if M is None:
        M = witness.rho * np.eye(network.input_dim) - network.weights[0].T @ network.weights[0]
    F = form.sdp().lmis[0].evaluate(y).toarray()
    np.testing.assert_allclose(F, y[-1] * M, atol=1e-12 * max(np.abs(F).max(), 1.0))
    np.testing.assert_allclose(form.point(witness), y, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12)
@given(
    network=networks(min_hidden=1, max_hidden=3, max_width=3, concrete=True, kinds=("gaussian", "integers"))
)
def test_proposals_are_proven_and_above_sampled_quotients(form, network):
    reduced = reduce(network).network
    if not _fits(form, reduced):
        return
    witness = proposed(FORMS[form](reduced))
    certificate = verify(reduced, witness)
    assert certificate.bound <= np.sqrt(witness.rho) * (1 + 1e-5)
    proven = verify(network, reduce(network).undo(witness)).bound
    x = np.random.default_rng(5).standard_normal((2, 50, network.input_dim))
    dy = np.linalg.norm(network(x[0]) - network(x[1]), axis=1)
    dx = np.linalg.norm(x[0] - x[1], axis=1)
    assert (dy <= proven * dx * (1 + 1e-12)).all()


@settings(max_examples=25)
@given(networks(max_hidden=3, concrete=True))
def test_quadratic_form_along_increments(network):
    """Along real increments the form of the LMI is at most |dx|^2 - F |dy|^2 (the theorem, sampled)."""
    rng = np.random.default_rng(3)
    y = rng.uniform(0.0, 2.0, network.hidden_neurons + 1)
    F = JointLipSDP(network).sdp().lmis[0].evaluate(y).toarray()
    states = [rng.standard_normal((network.input_dim, 2, 20))]
    for layer in network.layers:
        v = np.tensordot(layer.linear.to_dense(), states[-1], 1) + layer.bias[:, None, None]
        states.append(layer.activation(v, axis=0))
    increments = [s[:, 0] - s[:, 1] for s in states]
    z, dx, dy = np.concatenate(increments[:-1]), increments[0], increments[-1]
    supply = (dx**2).sum(axis=0) - y[-1] * (dy**2).sum(axis=0)
    scale = np.abs(F).max() * (z**2).sum(axis=0)
    assert (np.einsum("is,ij,js->s", z, F, z) <= supply + 1e-12 * scale).all()


@settings(max_examples=15)
@given(networks(min_hidden=2, max_hidden=3, max_width=3, kinds=("gaussian", "integers")))
def test_signs_left_out_are_implied(network):
    """The optimum is the same with every Lambda >= 0 written down."""
    network = reduce(network).network
    if not _fits("joint", network):
        network = demo_network(Slopes(0.2, 0.9))
    form = JointLipSDP(network)
    sdp = form.sdp()
    n = network.hidden_neurons
    G = np.hstack([-np.eye(n), np.zeros((n, 1))])
    everything = dataclasses.replace(sdp, G=G, h=np.zeros(n))
    solver = Clarabel(tol=1e-9)
    left, right = solver.solve(sdp), solver.solve(everything)
    assert left.objective == pytest.approx(right.objective, rel=1e-5, abs=1e-9)
    assert left.y[:n].min() >= -1e-6 * max(1.0, np.abs(left.y).max())


def test_signs_matter_where_slopes_are_positive():
    network = demo_network(Slopes(0.2, 0.9))
    assert JointLipSDP(network).sdp().G.shape[0] == 2  # the first layer's
    assert JointLipSDP(demo_network(Slopes(-0.1, 1.1))).sdp().G.shape[0] == 0


@pytest.mark.parametrize("form", FORMS)
def test_linear_maps_give_their_norm(form):
    W = np.random.default_rng(1).standard_normal((3, 5))
    network = Network.from_arrays([W])
    witness = proposed(FORMS[form](network))
    assert np.sqrt(witness.rho) == pytest.approx(np.linalg.norm(W, 2), rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_coupled_multipliers_are_refused(form):
    with pytest.raises(OptionError, match=r"Pauli et al.*relu"):
        FORMS[form](demo_network(), "network")


def test_the_counterexample_is_not_fooled():
    """f(x) = relu(x) - relu(x - 1) has constant 1; coupled multipliers would show 0."""
    network = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]], [[0.0, -1.0], [0.0]])
    assert verify(network, proposed(JointLipSDP(network))).bound == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [s for s in Status if not s.has_point])
def test_no_point_no_witness(form, status):
    solution = Solution(status, None, None, np.nan, np.nan, 0.0, 0, solver="X", native_status="odd")
    with pytest.raises(SolveFailed, match=f"X ended {status.name}.*odd"):
        FORMS[form](demo_network()).witness(solution)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_point_that_bounds_nothing(form, value):
    shape = FORMS[form](demo_network())
    y = np.full(shape.sdp().variables, 1.0)
    y[-1] = value
    with pytest.raises(SolveFailed, match=r"expected|NaN or infinity"):
        shape.witness(Solution(Status.INACCURATE, y, None, -value, -value, 0.0, 0))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_cites_its_theorem(form):
    shape = FORMS[form](demo_network())
    assert isinstance(shape, AbstractFormulation)
    assert "Theorem" in shape.theorem
    assert "assumes" in shape.theorem


@pytest.mark.parametrize("form", ["joint", "eliminated"])
@pytest.mark.parametrize("make", [norm_product_witness, uniform_witness])
@pytest.mark.parametrize("slopes", [*DEMO, (-0.9, -0.2), "mixed"])
def test_starts_are_strictly_inside(form, make, slopes):
    network = demo_network(MIXED if slopes == "mixed" else Slopes(*slopes))
    for multipliers in ("neuron", "layer") if make is uniform_witness else ("neuron",):
        shape = FORMS[form](network, multipliers)
        if slopes == "mixed" and form == "joint":
            continue
        y = shape.point(make(network), 0.5)
        F = shape.sdp().lmis[0].evaluate(y).toarray()
        assert np.linalg.eigvalsh(F)[0] > 1e-3 * y[-1]
        assert y[:-1].min() > 0


def test_optimum_at_least_is_below_the_bound():
    for form in FORMS.values():
        witness = proposed(form(demo_network()))
        assert witness.optimum_at_least == pytest.approx(np.sqrt(witness.rho), rel=1e-5)


def test_point_refuses_another_networks_witness():
    witness = norm_product_witness(demo_network())
    other = Network.from_arrays([np.eye(3), np.ones((1, 3))])
    with pytest.raises(InputError, match="expected 'lipsdp' with"):
        JointLipSDP(other).point(witness)


@settings(max_examples=30)
@given(networks(min_hidden=1, max_hidden=3, layer_pow2=40, kinds=("gaussian",)))
def test_scaled_witnesses_say_the_same(network):
    witness = norm_product_witness(network)
    levels = LayerPowers.to_levels(network, witness)
    scaled = scale_witness(witness, levels.powers)
    again = as_stored(levels.undo(scaled))
    assert again.rho == witness.rho
    for left, right in zip(again.multipliers, witness.multipliers, strict=True):
        np.testing.assert_array_equal(left, right)
    if witness.rho > 0:
        assert 0.2 < scaled.rho < 5.0
        M = full_lmi(levels.network, scaled.rho, scaled.multipliers)
        assert np.linalg.eigvalsh(M)[0] >= -1e-9 * np.abs(M).max()
