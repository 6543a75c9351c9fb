"""A training run that is killed outright goes on from its last state to the same bits."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from lmikit import training

DIMS, STEPS, EVERY = (3, 6, 5, 2), 40, 7


def loss(at=None):
    """Minibatches of two classes of points; kills this process in call number `at`."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    X = rng.standard_normal((60, 3)) + 2.0 * y[:, None]
    inner = training.DenseLoss(X, y, training.CrossEntropy(2.0), batch=20, seed=0)
    calls = 0

    def run(weights):
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(weights)

    run.seek = inner.seek
    return run


def train(at=None, **files):
    options = training.RSLMIOptions(certify_every=16)
    return training.rs_lmi(
        loss(at), training.initial_weights(DIMS), steps=STEPS, target=2.0, options=options, **files
    )


@functools.cache
def uninterrupted():
    return train()


def killed(file, code):
    """Runs `code` in a process of its own, which must die by SIGKILL."""
    head = f"import os, signal, sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})\n"
    head += f"import test_training_killed as t\nfile = {str(file)!r}\n"
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr


WHERE = {
    "in a step": (25, f"t.train(25, save_to=file, save_every={EVERY})"),
    "while the state is written": (
        2 * EVERY,
        "replace, count = os.replace, [0]\n"
        "def last(*a):\n"
        "    count[0] += 1\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if count[0] == 2 else replace(*a)\n"
        "os.replace = last\n"
        f"t.train(save_to=file, save_every={EVERY})",
    ),
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("where", WHERE)
def test_a_killed_run_is_resumed_to_the_same_bits(where, tmp_path):
    file, (call, code) = tmp_path / "state.npz", WHERE[where]
    killed(file, code)
    state = training.TrainingState.load(file)
    assert 0 < state.step < call
    assert state.step % EVERY == 0
    whole, again = uninterrupted(), train(resume=file)
    assert all(np.array_equal(a, b) for a, b in zip(whole.weights, again.weights, strict=True))
    assert whole.certificate.bound == again.certificate.bound
    assert all(np.array_equal(whole.history[k], again.history[k], equal_nan=True) for k in whole.history)
