"""LipSDP as a method: references, every ready solver, degenerate networks, options, failures."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import demo_network, networks

from lmikit import InputError, Network, OptionError, SolveFailed
from lmikit.certificates import verify
from lmikit.lmi import Solution, Status
from lmikit.methods import EclipseFast, LipSDP
from lmikit.network import Slopes, vertex_maximum
from lmikit.reductions import reduce
from lmikit.solvers import SCS, AbstractSolver, Clarabel, available
from lmikit.solvers import __dict__ as solver_room

READY = [info.name for info in available() if info.ready]
REFERENCES = {
    "lyr2n80test1": 0.737256982,
    "mnist_weights": 24.3663489,
    "fnn2_seed0": 7.8814958,
    "fnn3_seed0": 15.5813983,
}


def from_data(data_dir, name):
    with np.load(data_dir / "networks" / f"{name}.npz") as file:
        count = sum(key.startswith("W") for key in file.files)
        return Network.from_arrays([file[f"W{k}"] for k in range(count)])


def proven(network, method=None, **options):
    return verify(network, (method or LipSDP()).propose(network, **options))


@pytest.mark.parametrize("multipliers", ["neuron", "layer"])
@pytest.mark.parametrize("name", READY)
def test_demo_through_every_ready_solver(name, multipliers):
    expected = {"neuron": 6.71755, "layer": 7.10232}[multipliers]
    certificate = proven(demo_network(), LipSDP(multipliers=multipliers), solver=solver_room[name]())
    assert certificate.bound == pytest.approx(expected, abs=7e-6)


def test_fnn2_through_the_default_solver(data_dir):
    network = from_data(data_dir, "fnn2_seed0")
    witness = LipSDP().propose(network)
    certificate = verify(network, witness)
    assert certificate.bound == pytest.approx(REFERENCES["fnn2_seed0"], rel=1e-6)
    assert witness.optimum_at_least <= certificate.bound * (1 + 1e-9)
    assert witness.optimum_at_least == pytest.approx(REFERENCES["fnn2_seed0"], rel=1e-5)


def test_scs_at_its_own_default_tolerance_is_proven(data_dir):
    """SCS's point is not feasible as returned; the proof is, and stays near the optimum."""
    certificate = proven(from_data(data_dir, "fnn2_seed0"), solver=SCS(tol=None))
    assert certificate.bound == pytest.approx(REFERENCES["fnn2_seed0"], rel=1e-5)
    assert certificate.bound >= REFERENCES["fnn2_seed0"] * (1 - 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("net", REFERENCES)
@pytest.mark.parametrize("name", READY)
def test_references_through_every_ready_solver(data_dir, net, name):
    certificate = proven(from_data(data_dir, net), solver=solver_room[name]())
    assert certificate.bound == pytest.approx(REFERENCES[net], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("net", REFERENCES)
def test_loose_scs_is_proven_on_every_reference(data_dir, net):
    certificate = proven(from_data(data_dir, net), solver=SCS(tol=None))
    assert REFERENCES[net] * (1 - 1e-7) <= certificate.bound <= REFERENCES[net] * 1.001


@settings(max_examples=25)
@given(networks(max_hidden=3, max_width=3, concrete=True, layer_pow2=8))
def test_proven_and_above_sampled_quotients(network):
    bound = proven(network).bound
    x = np.random.default_rng(5).standard_normal((2, 40, network.input_dim))
    dy = np.linalg.norm(network(x[0]) - network(x[1]), axis=1)
    assert (dy <= bound * np.linalg.norm(x[0] - x[1], axis=1) * (1 + 1e-12)).all()


@settings(max_examples=25)
@given(networks(max_hidden=3, max_width=3, kinds=("gaussian", "integers", "duplicate_rows", "dead_rows")))
def test_between_the_vertex_maximum_and_the_closed_form(network):
    """Any slopes: mixed, negative, linear neurons, dead neurons."""
    bound = proven(network).bound
    lowest, closed = vertex_maximum(network), verify(network, EclipseFast().propose(network)).bound
    assert lowest <= bound * (1 + 1e-12)
    assert bound <= closed * (1 + 2e-5) + 1e-9


@settings(max_examples=15)
@given(networks(min_hidden=2, max_hidden=3, max_width=3, kinds=("gaussian",)))
def test_chordal_option_changes_nothing(network):
    joint = proven(network).bound
    assert proven(network, LipSDP(chordal=True)).bound == pytest.approx(joint, rel=2e-5, abs=1e-9)


def test_linear_network_is_exact():
    weights = [np.random.default_rng(k).standard_normal((3, 3)) for k in range(3)]
    expected = np.linalg.norm(weights[2] @ weights[1] @ weights[0], 2)
    assert proven(Network.from_arrays(weights, activation="identity")).bound == pytest.approx(
        expected, rel=1e-6
    )
    assert proven(Network.from_arrays(weights[:1])).bound == pytest.approx(
        np.linalg.norm(weights[0], 2), rel=1e-8
    )


def test_partly_linear_layers_keep_the_accuracy():
    phis = [Slopes([0.0, -0.2], [1.0, 0.8]), Slopes([0.1, 0.3], [1.2, 0.3])]
    assert proven(demo_network(phis)).bound == pytest.approx(4.112517, rel=1e-6)


def test_a_constant_function_has_bound_zero():
    assert proven(Network.from_arrays([np.ones((2, 2)), np.zeros((1, 2))])).bound == 0.0


def test_deep_badly_scaled_network():
    """12 layers, L about 1e-14: solved in balanced units, not at the edge of absolute tolerances."""
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal((4, 4)) * 0.05 for _ in range(12)]
    network = Network.from_arrays(weights)
    witness = LipSDP().propose(network)
    certificate = verify(network, witness)
    assert certificate.bound < 1e-9
    assert witness.optimum_at_least == pytest.approx(certificate.bound, rel=1e-5)
    assert certificate.bound <= verify(network, EclipseFast().propose(network)).bound


@pytest.mark.parametrize("power", [-200, 3, 200])
def test_power_of_two_scaling_is_exact(power):
    network = demo_network()
    scaled = Network.from_arrays(
        [network.weights[0], np.ldexp(network.weights[1], power), network.weights[2]]
    )
    assert proven(scaled).bound == np.ldexp(proven(network).bound, power)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multipliers": "network"}, r"Pauli et al.*relu"),
        ({"multipliers": "full"}, "'neuron' or 'layer'"),
        ({"tol": 0.0}, "between 0 and 1"),
        ({"tol": 2.0}, "between 0 and 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        LipSDP(**options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stub(AbstractSolver):
    """Answers whatever it was made with."""

    module = "numpy"
    extra = ""
    status: Status = Status.FAILED
    answer: str = "none"

    def solve(self, sdp, *, warm_start=None, time_limit=None, progress=None):
        rng = np.random.default_rng(0)
        points = {
            "none": None,
            "nan": np.full(sdp.variables, np.nan),
            "zero": np.zeros(sdp.variables),
            "random": rng.uniform(0.0, 3.0, sdp.variables),
            "warm": warm_start,
        }
        return Solution(self.status, points[self.answer], None, 0.0, -np.inf, 0.0, 0, "Stub", "odd")


@pytest.mark.parametrize("status", [Status.INFEASIBLE, Status.UNBOUNDED, Status.FAILED])
def test_no_point_is_a_failed_solve(status):
    with pytest.raises(SolveFailed, match=f"Stub ended {status.name}"):
        LipSDP().propose(demo_network(), solver=Stub(status=status, answer="random"))


@pytest.mark.parametrize("answer", ["nan", "zero"])
def test_useless_points_are_failed_solves(answer):
    with pytest.raises(SolveFailed, match=r"NaN or infinity|bounds nothing"):
        LipSDP().propose(demo_network(), solver=Stub(status=Status.SOLVED, answer=answer))


@pytest.mark.parametrize("status", [Status.INACCURATE, Status.LIMIT, Status.SOLVED])
def test_any_point_leads_to_a_proven_bound(status):
    """A wrong answer costs tightness, never soundness."""
    network = demo_network()
    bound = proven(network, solver=Stub(status=status, answer="random")).bound
    assert vertex_maximum(network) <= bound


def test_the_start_is_feasible_and_inside():
    """What a solver with a warm start gets: F at half the closed form's, L at sqrt(2) times it."""
    network = demo_network()
    bound = proven(
        network, LipSDP(multipliers="layer"), solver=Stub(status=Status.LIMIT, answer="warm")
    ).bound
    assert bound <= verify(network, EclipseFast().propose(network)).bound * np.sqrt(2.0)


def test_time_limit_reaches_the_solver():
    limits = []

    class Watching(Stub):
        def solve(self, sdp, *, warm_start=None, time_limit=None, progress=None):
            limits.append(time_limit)
            return super().solve(sdp, warm_start=warm_start)

    solver = Watching(status=Status.LIMIT, answer="warm")
    started = time.perf_counter()
    assert proven(demo_network(), solver=solver, time_limit=5.0).bound > 0.0
    proven(demo_network(), solver=solver)
    proven(demo_network(), solver=solver, time_limit=1e-9)
    assert time.perf_counter() - started < 5.0
    assert 0.0 < limits[0] <= 5.0
    assert limits[1] is None
    assert 0.0 < limits[2] <= 0.5  # shorter limits count as half a second, start included


def test_interrupt_reaches_the_caller():
    class Interrupted(Stub):
        def solve(self, sdp, **_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LipSDP().propose(demo_network(), solver=Interrupted())


def test_the_witness_names_method_and_solver():
    witness = LipSDP(multipliers="layer").propose(demo_network(), solver=Clarabel())
    assert witness.produced_by.startswith("LipSDP (layer), Clarabel")


def test_layer_multipliers_are_one_per_layer():
    witness = LipSDP(multipliers="layer").propose(demo_network(), solver=Clarabel())
    assert all(np.ptp(t) <= 1e-9 * t.max() for t in witness.multipliers)


def test_reduction_is_used():
    """784 inputs, 3 neurons: the solver sees 6 rows."""
    seen = []

    class Watching(Stub):
        def solve(self, sdp, **options):
            seen.append(sdp.lmis[0].size)
            return Clarabel().solve(sdp, **options)

    rng = np.random.default_rng(0)
    network = Network.from_arrays([rng.standard_normal((3, 784)), rng.standard_normal((2, 3))])
    proven(network, solver=Watching())
    assert seen == [6]
    assert reduce(network).network.dims == (3, 3, 2)


def test_networks_only():
    with pytest.raises((InputError, AttributeError)):
        LipSDP().propose("not a network")


def test_one_multiplier_per_layer_above_the_size_of_dense_arithmetic():
    """Terms that share a variable over several levels: LowRank's Schur complement by levels."""
    rng = np.random.default_rng(0)
    sizes = [3, 64, 64, 64, 2]
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    network = Network.from_arrays([rng.standard_normal(shape) / shape[1] ** 0.5 for shape in shapes])
    found = LipSDP(multipliers="layer").propose(network)
    assert "LowRank" in found.produced_by
    bound = verify(network, found).bound
    assert found.optimum_at_least <= bound <= found.optimum_at_least * (1 + 1e-6)
    assert bound <= verify(network, EclipseFast().propose(network)).bound
    assert bound >= verify(network, LipSDP().propose(network)).bound * (1 - 1e-6)
