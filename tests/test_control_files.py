"""Loops described by JSON files: read as they were meant, checked on the command line, or refused."""

import json

import numpy as np
import pytest

import lmikit
from lmikit import InputError, Network
from lmikit.cli import main
from lmikit.control import (
    Delay,
    Feedback,
    NetworkLoop,
    NormBlock,
    RepeatedGain,
    Sector,
    SlopeRestricted,
    System,
    UncertainLoop,
    load_loop,
    lyapunov,
    region_of_attraction,
    robust_gain,
)

PLANT = System([[1.0, 0.1], [0.2, 1.0]], [[0.0], [0.1]], dt=1.0)
POLICY = Network.from_arrays([[[1.0, 0.5], [0.5, 1.0]], [[-3.0, -3.0]]], activation="tanh")


@pytest.fixture
def folder(tmp_path):
    PLANT.save(tmp_path / "plant.npz")
    POLICY.save(tmp_path / "policy.npz")
    System(np.zeros((0, 0)), np.zeros((0, 2)), np.zeros((1, 0)), [[-1.5, -1.5]], 1.0).save(tmp_path / "k.npz")
    return tmp_path


def written(folder, **fields):
    (folder / "loop.json").write_text(json.dumps(fields))
    return folder / "loop.json"


def test_certificates_of_loops_are_checked_on_the_command_line(folder, capsys):
    path = written(folder, plant="plant.npz", network="policy.npz", control=[0])
    region_of_attraction(NetworkLoop(PLANT, POLICY, (0,)), 1.0).save(folder / "region.json")
    assert main(["check", str(folder / "region.json"), str(path), "--exact"]) == 0
    assert "accepted" in capsys.readouterr().out
    other = written(folder, plant="plant.npz", controller="k.npz", control=[0], measured=None)
    assert main(["check", str(folder / "region.json"), str(other)]) == 1
    loop = load_loop(other)
    assert isinstance(loop, Feedback)
    stable = lyapunov(loop)
    stable.save(folder / "stable.json")
    assert main(["check", str(folder / "stable.json"), str(other)]) == 0


def test_every_class_of_blocks_is_read(folder):
    rng = np.random.default_rng(0)
    system = System(np.diag([-1.0, -2.0]), rng.standard_normal((2, 7)), rng.standard_normal((7, 2)))
    system.save(folder / "big.npz")
    blocks = (
        Sector(0.0, 1.0, memoryless=True),
        SlopeRestricted([0.0, -0.5], [1.0, 0.5], odd=True),
        Delay(0.25, constant=False),
        NormBlock(0.1),
        RepeatedGain(0.5),
    )
    described = [
        {"block": "sector", "lower": 0, "upper": 1, "memoryless": True},
        {"block": "slope", "lower": [0, -0.5], "upper": [1, 0.5], "odd": True},
        {"block": "delay", "bound": 0.25, "constant": False},
        {"block": "norm", "bound": 0.1},
        {"block": "repeated", "bound": 0.5},
    ]
    loop = load_loop(written(folder, system="big.npz", blocks=described))
    assert loop.digest == UncertainLoop(system, blocks).digest
    small = UncertainLoop(System([[-1.0]], [[1.0, 1.0]], [[1.0], [1.0]]), NormBlock(0.5))
    small.system.save(folder / "small.npz")
    result = robust_gain(small)
    assert str(result).startswith("proven, at most ")
    path = written(folder, system="small.npz", blocks=[{"block": "norm", "bound": 0.5}])
    assert lmikit.check(result.certificate, load_loop(path)).ok


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"plant": "plant.npz", "control": [0]}, "expected {\"plant\", \"network\""),
        ({"plant": "plant.npz", "network": "policy.npz", "control": [0], "more": 1}, "has the fields"),
        ({"plant": "../plant.npz", "network": "policy.npz", "control": [0]}, "same folder or below"),
        ({"plant": "/plant.npz", "network": "policy.npz", "control": [0]}, "same folder or below"),
        ({"plant": 3, "network": "policy.npz", "control": [0]}, "name of a file"),
        ({"plant": "plant.npz", "network": "policy.npz", "control": [True]}, "list of indices"),
        ({"plant": "plant.npz", "network": "policy.npz", "control": 0}, "list of indices"),
        ({"plant": "plant.npz", "network": "policy.npz", "control": [4]}, "control"),
        ({"system": "plant.npz", "blocks": {"block": "norm"}}, "blocks is no list"),
        ({"system": "plant.npz", "blocks": [{"block": "magic"}]}, "one of"),
        ({"system": "plant.npz", "blocks": [{"block": "norm"}]}, "norm block has"),
        ({"system": "plant.npz", "blocks": [{"block": "norm", "bound": 1, "inputs": 1.5}]}, "an integer"),
        ({"system": "plant.npz", "blocks": [{"block": "norm", "bound": "much"}]}, "bound"),
        ({"system": "plant.npz", "blocks": [{"block": "delay", "bound": 1, "constant": 1}]}, "true"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(folder, fields, message):
    with pytest.raises(InputError) as error:
        load_loop(written(folder, **fields))
    assert message in str(error.value)


def test_files_that_are_no_objects_are_refused(folder):
    for text in ("[1]", "{", "\ufeff{}", "3"):
        (folder / "loop.json").write_text(text)
        with pytest.raises(InputError, match=r"loop\.json"):
            load_loop(folder / "loop.json")
