"""State-space data enter at one seam; a closed loop keeps its parts."""

import types

import numpy as np
import pytest
import scipy.signal
from control_helpers import random_system

from lmikit import InputError
from lmikit.certificates.control._arithmetic import Floats, Integers
from lmikit.certificates.control._subjects import realised
from lmikit.control import Feedback, System, as_system, h_infinity_norm

ARRAYS = ([[0.0, 1.0], [-2.0, -3.0]], [[0.0], [1.0]], [[1.0, 0.0]], [[0.5]])


def same(system, dt):
    return (
        all(np.array_equal(getattr(system, name), a) for name, a in zip("ABCD", ARRAYS, strict=True))
        and system.dt == dt
    )


def test_every_description_of_a_system_gives_the_same():
    foreign = types.SimpleNamespace(A=np.array(ARRAYS[0]), B=ARRAYS[1], C=ARRAYS[2], D=ARRAYS[3], dt=0)
    assert same(as_system(ARRAYS), None)
    assert same(as_system(ARRAYS, dt=0.5), 0.5)
    assert same(as_system((*ARRAYS, True)), 1.0)
    assert same(as_system(foreign), None)
    assert same(as_system(scipy.signal.StateSpace(*ARRAYS)), None)
    assert same(as_system(scipy.signal.StateSpace(*ARRAYS, dt=0.1)), 0.1)
    assert as_system(np.eye(2)).inputs == 0
    transfer = as_system(scipy.signal.TransferFunction([1.0, 2.0], [1.0, 3.0, 2.0]))
    assert np.allclose(transfer.response(1.0), (1j + 2) / ((1j) ** 2 + 3j + 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: System(np.zeros((2, 3))), "square matrix"),
        (lambda: System(np.eye(2), B=np.zeros((3, 1))), r"B has shape \(3, 1\); expected \(2, m\)"),
        (lambda: System(np.eye(2), C=np.zeros((1, 3))), r"C has shape \(1, 3\); expected \(p, 2\)"),
        (lambda: System(np.eye(2), D=np.zeros((1, 1))), "the rows of C by the columns of B"),
        (lambda: System(np.eye(2), dt=-1.0), "seconds > 0"),
        (lambda: System([[np.nan]]), "NaN"),
        (lambda: as_system("plant"), r"python-control with control\.ss"),
        (lambda: as_system((1, 2)), "tuple of 2 entries"),
    ],
)
def test_what_is_no_system_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_loop_that_does_not_fit_is_refused():
    plant = System(*ARRAYS)
    with pytest.raises(InputError, match="depends directly on a control input"):
        Feedback.of_gain(plant, [[1.0]], control=(0,), measured=(0,))
    with pytest.raises(InputError, match="outputs and 1 inputs; expected 1 and 2"):
        Feedback.of_gain(plant, [[1.0]], control=(0,))
    with pytest.raises(InputError, match="different indices from 0 to 0"):
        Feedback.of_gain(plant, [[1.0, 1.0]], control=(1,))
    with pytest.raises(InputError, match="expected the same"):
        Feedback(plant, System([[0.5]], [[1.0, 1.0]], [[1.0]], dt=1.0), (0,))


@pytest.mark.parametrize("measured", [None, (1,)])
@pytest.mark.parametrize("order", [0, 2])
def test_the_closed_loop_is_that_of_the_parts(measured, order):
    rng = np.random.default_rng(0)
    plant = random_system(rng, 3, 2, 2)
    plant = System(plant.A, plant.B, plant.C, plant.D * [[1.0, 1.0], [0.0, 1.0]])
    seen = 3 if measured is None else 1
    controller = random_system(rng, order, seen, 1)
    loop = Feedback(plant, controller, (0,), measured)
    closed = loop.rounded()
    w = 0.7
    G, K = plant.response(w), controller.response(w)
    states = np.linalg.solve(1j * w * np.eye(3) - plant.A, plant.B)
    H = states if measured is None else G[list(measured)]
    z = [0, 1] if measured is None else [0]
    u = np.linalg.solve(np.eye(1) - K @ H[:, [0]], K @ H[:, [1]])
    assert np.allclose(closed.response(w), G[np.ix_(z, [1])] + G[np.ix_(z, [0])] @ u)
    for floats, exact, near in zip(
        realised(Floats(), loop),
        realised(Integers(), loop),
        (closed.A, closed.B, closed.C, closed.D),
        strict=True,
    ):
        assert np.allclose(exact.floats(), near)
        assert (np.abs(exact.floats() - floats.mid) <= floats.rad + 1e-16 * np.abs(floats.mid)).all()


def test_digests_tell_systems_apart():
    plant = System(*ARRAYS)
    others = [System(*ARRAYS, dt=1.0), System(ARRAYS[0], ARRAYS[1], ARRAYS[2]), System(ARRAYS[0])]
    loops = [Feedback.of_gain(plant, [[k, 1.0]], (0,)) for k in (0.0, 1.0)]
    assert len({s.digest for s in (plant, *others, *loops)}) == 6
    assert System(*ARRAYS).digest == plant.digest


def test_the_command_line_checks_systems(tmp_path, capsys):
    from lmikit.cli import main

    plant = System([[0.5, 0.1], [0.0, -0.3]], [[1.0], [1.0]], [[1.0, 0.0]], dt=0.5)
    plant.save(tmp_path / "plant.npz")
    assert System.from_file(tmp_path / "plant.npz").digest == plant.digest
    h_infinity_norm(plant).save(tmp_path / "gain.json")
    arguments = ["check", str(tmp_path / "gain.json"), str(tmp_path / "plant.npz"), "--exact"]
    assert main(arguments) == 0
    System(plant.A, plant.B, 2.0 * plant.C, dt=0.5).save(tmp_path / "plant.npz")
    assert main(arguments) == 1
    assert "checked with its own file" in capsys.readouterr().out
    np.savez(tmp_path / "plant.npz", A=plant.A, F=plant.A)
    assert main(arguments) == 2
    with pytest.raises(InputError, match=r"expected \.npz"):
        plant.save(tmp_path / "plant.mat")
