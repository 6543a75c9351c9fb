"""Everything that the package writes is whole or not there, whatever fails, and an error names the path."""

import errno
import os
import stat

import numpy as np
import pytest

from lmikit import EclipseFast, InputError, Network, lipschitz
from lmikit.lmi import Problem, read_sdpa, write_cbf, write_sdpa
from lmikit.training import TrainingState

NETWORK = Network.from_arrays([[[1.0, 2.0]], [[3.0]]])


def sdp():
    problem = Problem()
    x = problem.scalar("x")
    problem.minimise(x)
    problem.subject_to(x >= 1.0)
    return problem.compile()


WRITERS = {
    "certificate.json": lambda path: lipschitz(NETWORK, EclipseFast()).save(path),
    "network.npz": NETWORK.save,
    "problem.dat-s": lambda path: write_sdpa(sdp(), path),
    "problem.cbf": lambda path: write_cbf(sdp(), path),
    "state.npz": lambda path: TrainingState("rs_lmi", 1, "", {"weights": (np.eye(2),)}).save(path),
}
writers = pytest.mark.parametrize("name", WRITERS)


@writers
def test_a_new_file_has_the_mode_that_the_user_asks_for(name, tmp_path):
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            WRITERS[name](tmp_path / name)
            assert os.umask(mask) == mask  # never changed on the way
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask
    assert [p.name for p in tmp_path.iterdir()] == [name]


@writers
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_names_the_path(name, failing, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match="No space left") as caught:
        WRITERS[name](path)
    assert name in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@writers
def test_an_interrupt_leaves_nothing_behind(name, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@writers
def test_paths_that_cannot_be_written_are_one_clear_error(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / name, tmp_path / "none" / name, tmp_path / "file" / name):
        with pytest.raises(InputError, match=name):
            WRITERS[name](path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file", name])


def test_what_is_written_is_read(tmp_path):
    write_sdpa(sdp(), tmp_path / "problem.dat-s")
    assert read_sdpa(tmp_path / "problem.dat-s").variables == 1
