"""The exact Lipschitz constant of small nets: two proven sides, coverage by cells, refusals."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import CellCertificate, InputError, Network, NotCertified, OptionError, check, exact_lipschitz
from lmikit import local_lipschitz as sdp_bound
from lmikit.certificates.cells import BOUND, EMPTY, CellTree, verify_cells
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.cli import main
from lmikit.network import LeakyReLU, PReLU

EXAMPLE = Network.from_arrays(
    [
        [[-1.7, -1.3], [-1.4, -0.4], [-2.3, -0.2], [-1.0, 0.9]],
        [[0.8, 1.1, 0.6, 0.0], [0.7, 1.2, -0.5, 0.5], [0.0, 1.2, -0.7, -0.2], [0.3, 0.2, -1.3, 0.3]],
        [[-0.1, -0.2, -0.2, 0.2], [-1.8, 1.6, -0.9, -2.2]],
    ],
    [[0.0, 0.4, -0.2, 0.5], [0.5, -0.3, -0.7, -0.4], [0.0, 0.0]],
)
REGION = Box([0.15, -0.85], [0.85, -0.15])
SHAPES = ((2, 6, 2), (2, 5, 4, 2), (3, 5, 4, 1), (1, 6, 4, 3), (2, 4, 3, 3, 2))
ACTIVATIONS = ("relu", LeakyReLU(0.2), "abs")


def random_network(seed):
    rng = np.random.default_rng(seed)
    sizes = SHAPES[seed % len(SHAPES)]
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
    biases = [0.5 * rng.standard_normal(b) for b in sizes[1:]]
    return Network.from_arrays(weights, biases, ACTIVATIONS[seed % 3 if seed % 2 else 0])


def random_region(network, seed):
    rng = np.random.default_rng(1000 + seed)
    n = network.input_dim
    center = rng.standard_normal(n)
    box = Box(center - rng.uniform(0.2, 1.0, n), center + rng.uniform(0.2, 1.0, n))
    return (box, Ball(center, 0.7), BallAndBox(Ball(center, 0.7), box))[seed % 3]


def inside(region, count, seed=0):
    """Points of the region."""
    rng = np.random.default_rng(seed)
    if region.ball is not None:
        steps = rng.standard_normal((count, region.dim))
        steps *= 0.999 * rng.uniform(0, 1, (count, 1)) ** (1 / region.dim)
        x = region.ball.x0 + region.ball.radius * steps / np.maximum(
            np.linalg.norm(steps, axis=1, keepdims=True), 1.0
        )
        return x if region.box is None else np.clip(x, region.box.lower, region.box.upper)
    return rng.uniform(region.box.lower, region.box.upper, (count, region.dim))


def sampled_norm(network, points):
    norms = [np.linalg.norm(network.jacobian(x), 2) for x in points]
    return np.nanmax(norms)


def lies_between(network, region):
    """sampled <= exact <= SDP, both sides of the result meeting."""
    found = exact_lipschitz(network, region, time_limit=60.0)
    assert found.exact
    assert found.lower <= found.upper <= found.lower * (1.0 + 1e-8)
    assert found.upper <= sdp_bound(network, region).bound * (1.0 + 1e-8)
    assert sampled_norm(network, inside(region, 300)) <= found.upper * (1.0 + 1e-12)
    x, y = inside(region, 300, 1), inside(region, 300, 2)
    rise = np.linalg.norm(network(x) - network(y), axis=1)
    assert (rise <= found.upper * np.linalg.norm(x - y, axis=1) * (1.0 + 1e-12)).all()
    return found


def test_known_example():
    """5.86952 on the box, where LipSDP on CROWN's slopes gives 5.87283; reached by a point inside a cell."""
    found = exact_lipschitz(EXAMPLE, REGION)
    assert found.exact
    assert abs(found.upper - 5.86952) < 5e-6
    assert found.upper < sdp_bound(EXAMPLE, REGION).bound
    assert REGION.contains(found.point)
    assert np.linalg.norm(EXAMPLE.jacobian(found.point), 2) == pytest.approx(found.lower, rel=1e-12)
    assert "exact" in str(found)


@pytest.mark.parametrize("seed", range(8))
def test_between_samples_and_sdp_on_random_networks(seed):
    network = random_network(seed)
    found = lies_between(network, random_region(network, seed))
    assert check(found.certificate, network).ok
    assert check(found.certificate, network, exact=True).ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_between_samples_and_sdp_on_a_hundred_networks(seed):
    network = random_network(seed)
    found = lies_between(network, random_region(network, seed))
    assert check(found.certificate, network, exact=seed % 5 == 0).ok


@pytest.mark.parametrize("activation", ["relu", LeakyReLU(0.3), PReLU(-0.5), "abs"], ids=str)
def test_one_input_is_a_piecewise_linear_curve(activation):
    """With one input the constant is the steepest slope between kinks, found here from the curve itself."""
    rng = np.random.default_rng(3)
    network = Network.from_arrays(
        [rng.standard_normal(s) for s in ((7, 1), (5, 7), (1, 5))],
        [rng.standard_normal(n) for n in (7, 5, 1)],
        activation,
    )
    x = np.linspace(-2.0, 2.0, 40001)
    steepest = np.abs(np.diff(network(x[:, None])[:, 0]) / np.diff(x)).max()
    found = exact_lipschitz(network, Box([-2.0], [2.0]))
    assert found.exact
    assert found.upper == pytest.approx(steepest, rel=1e-7)


def test_the_whole_space():
    found = exact_lipschitz(EXAMPLE)
    assert found.exact
    assert found.upper >= exact_lipschitz(EXAMPLE, REGION).lower
    assert sampled_norm(EXAMPLE, 3.0 * np.random.default_rng(0).standard_normal((1000, 2))) <= found.upper
    assert "in R^n" in found.certificate.claim
    assert check(found.certificate, EXAMPLE, exact=True).ok


@pytest.mark.parametrize("region", [None, Box([-1.0], [1.0]), Ball([0.0], 1.0)], ids=["all", "box", "ball"])
def test_patterns_on_sets_without_interior_do_not_count(region):
    """relu(x) - relu(x) = 0: the pattern (on, off) holds at x = 0 alone, with slope 1."""
    network = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]])
    found = exact_lipschitz(network, region)
    assert (found.lower, found.upper, found.exact) == (0.0, 0.0, True)
    assert check(found.certificate, network, exact=True).ok


def test_cones_duplicates_and_dead_neurons():
    """No biases: every cell is a cone with its tip at 0; copies, opposites and zero rows of neurons."""
    first = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [2.0, 4.0], [0.0, 0.0], [3.0, -1.0]])
    network = Network.from_arrays([first, np.array([[1.0, -0.5, 1.0, 0.25, 5.0, 1.0], [0, 1, 1, 0, 1, -1]])])
    for region in (None, Box([-1.0, -1.0], [1.0, 1.0])):
        found = exact_lipschitz(network, region)
        assert found.exact
        points = np.random.default_rng(1).standard_normal((500, 2)) / 5.0
        assert sampled_norm(network, points) == pytest.approx(found.upper, rel=1e-9)


def test_a_time_limit_leaves_a_stated_gap():
    rng = np.random.default_rng(7)
    network = Network.from_arrays([rng.standard_normal(s) / 3 for s in ((24, 9), (24, 24), (3, 24))])
    region = Box(-np.ones(9), np.ones(9))
    seen = []
    found = exact_lipschitz(network, region, time_limit=3.0, progress=seen.append)
    assert not found.exact
    assert found.lower < found.upper
    assert found.certificate.proven
    assert seen
    assert seen[-1].stage == "cells"
    assert sampled_norm(network, inside(region, 100)) <= found.upper


@pytest.fixture(scope="module")
def proof():
    network = random_network(1)
    region = random_region(network, 0)
    return network, region, exact_lipschitz(network, region).certificate


def test_files_are_read_again(proof, tmp_path):
    network, region, certificate = proof
    path = tmp_path / "cells.json"
    certificate.save(path)
    assert check(path, network).ok
    assert check(path, network, exact=True).ok
    again = CellCertificate.load(path, network)
    assert (again.lower, again.upper) == (certificate.lower, certificate.upper)
    assert again.to_text() == path.read_text()
    moved = Network.from_arrays(
        network.weights, [b.bias + 1e-9 for b in network.layers], network.layers[0].activation
    )
    assert "another network" in check(path, moved).reason
    data = json.loads(path.read_text())
    wider = json.loads(exact_lipschitz(network, Box(region.lower - 2, region.upper)).certificate.to_text())
    for claim in (
        {"upper": (0.999 * certificate.upper).hex()},
        {"lower": (1.001 * certificate.lower).hex()},
        {"region": wider["claim"]["region"]},
    ):
        path.write_text(json.dumps({**data, "claim": {**data["claim"], **claim}}))
        assert not check(path, network).ok
        assert not check(path, network, exact=True).ok


@settings(max_examples=60)
@given(st.data())
def test_changed_trees_are_refused(proof, data):
    """Any other tree with as many proofs misses a part, or claims what does not hold."""
    network, region, certificate = proof
    witness = certificate.witness
    codes, empties = list(witness.tree.codes), list(witness.tree.empties)
    kind = data.draw(st.sampled_from(["leaf", "drop", "empty", "swap", "multiplier", "position"]))
    k = data.draw(st.integers(0, len(codes) - 1))
    e = data.draw(st.integers(0, len(empties) - 1))
    if kind == "leaf":  # a split becomes a leaf that is bounded, its subtree stays behind
        k = data.draw(st.sampled_from([i for i, c in enumerate(codes) if c >= 0]))
        codes[k] = BOUND
    elif kind == "drop":
        del codes[k]
    elif kind == "empty":  # a cell with points is called empty
        k = data.draw(st.sampled_from([i for i, c in enumerate(codes) if c == BOUND]))
        codes[k] = EMPTY
        empties.insert(sum(c == EMPTY for c in codes[:k]), empties[e])
    elif kind == "swap":
        k = data.draw(st.sampled_from([i for i, c in enumerate(codes) if c >= 0]))
        codes[k] = codes[k] + network.dims[-2]
    elif kind == "multiplier":
        empties[e] = dataclasses.replace(empties[e], multipliers=tuple(-m for m in empties[e].multipliers))
    else:
        empties[e] = dataclasses.replace(empties[e], positions=tuple(p + 40 for p in empties[e].positions))
    changed = dataclasses.replace(witness, tree=CellTree(tuple(codes), tuple(empties)))
    with pytest.raises(NotCertified):
        verify_cells(network, region, changed, certificate.upper)


def test_a_point_on_a_kink_or_outside_proves_nothing(proof):
    network, region, certificate = proof
    witness, point = certificate.witness, certificate.witness.point
    outside = dataclasses.replace(point, x=region.upper + 1.0)
    found = verify_cells(network, region, dataclasses.replace(witness, point=outside), certificate.upper)
    assert found.lower == 0.0
    kinked = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]])
    flat = exact_lipschitz(kinked, Box([-1.0], [1.0])).certificate
    at_zero = dataclasses.replace(
        flat.witness, point=dataclasses.replace(point, x=np.zeros(1), direction=np.ones(1))
    )
    assert verify_cells(kinked, flat.region, at_zero, flat.upper).lower == 0.0


def test_narrow_slopes_are_refused(proof):
    network, region, certificate = proof
    narrow = tuple((b, b) for _, b in certificate.witness.slopes)
    with pytest.raises(NotCertified, match="do not contain"):
        verify_cells(network, region, dataclasses.replace(certificate.witness, slopes=narrow), 1e6)
    with pytest.raises(TypeError, match="verify_cells"):
        dataclasses.replace(certificate, upper=0.0)


def test_what_cannot_be_exact_is_refused():
    with pytest.raises(InputError, match="tanh"):
        exact_lipschitz(Network.from_arrays([np.eye(2), np.eye(2)], activation="tanh"))
    with pytest.raises(InputError, match="no width in the coordinates"):
        exact_lipschitz(EXAMPLE, Box([0.0, 0.0], [1.0, 0.0]))
    with pytest.raises(InputError, match="dimension 3"):
        exact_lipschitz(EXAMPLE, Ball(np.zeros(3), 1.0))
    with pytest.raises(InputError, match="region is a list"):
        exact_lipschitz(EXAMPLE, [0, 1])
    with pytest.raises(OptionError, match="time_limit"):
        exact_lipschitz(EXAMPLE, REGION, time_limit=0.0)
    with pytest.raises(OptionError, match="tolerance"):
        exact_lipschitz(EXAMPLE, REGION, tolerance=1e-15)


def test_the_command(tmp_path, capsys):
    net, region, saved = tmp_path / "net.npz", tmp_path / "region.npz", tmp_path / "cells.json"
    EXAMPLE.save(net)
    np.savez(region, lower=REGION.lower, upper=REGION.upper)
    command = ["bound", str(net), "--region", str(region), "--json"]
    assert main([*command, "--exact", "--save", str(saved)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["exact"]
    assert abs(said["bound"] - 5.86952) < 5e-6
    assert main(["check", str(saved), str(net), "--exact"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert abs(json.loads(capsys.readouterr().out)["bound"] - 5.87283) < 1e-4
    assert main([*command, "--exact", "--method", "eclipse"]) == 2
    np.savez(region, lower=REGION.lower)
    assert main(command) == 2
