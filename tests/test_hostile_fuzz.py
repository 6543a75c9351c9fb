"""Mutated files of every kind: each is read, or refused by one InputError (a certificate by CheckResult)."""

import json
import os
import pathlib
import time

import numpy as np
import pytest
from adapters_helpers import importorskip

SECONDS = float(os.environ.get("LMIKIT_FUZZ_SECONDS", "30"))  # for each kind of file
KINDS = ["npz", "mat", "onnx", "nnet", "vnnlib", "safetensors", "dat-s", "cbf", "state"]
KINDS += ["pt", "h5", "keras"]
KINDS += ["lipschitz", "point", "local", "graph", "sdp"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """(folder, valid files by kind, a child process that reads files under a limit of memory)."""
    importorskip("onnx")
    importorskip("safetensors")
    pytest.importorskip("resource")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parent.parent / "benchmarks"))
    from hostile_child import Child
    from hostile_seeds import write_seeds

    here = tmp_path_factory.mktemp("hostile")
    seeds = write_seeds(here)
    child = Child(here)
    yield here, seeds, child
    child.close()
    monkeypatch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kit, kind):
    from hostile_mutations import mutations

    here, seeds, child = kit
    if kind not in seeds:
        pytest.skip("what writes such a file is not installed")
    valid = seeds[kind].read_bytes()
    victim = here / f"victim{seeds[kind].suffix}"
    victim.write_bytes(valid)
    assert child.ask(kind, victim, "reader")["outcome"] == "loaded"
    seed = int(time.time())
    end, refused = time.monotonic() + SECONDS, 0
    for what, data in mutations(valid, np.random.default_rng(seed)):
        victim.write_bytes(data)
        answer = child.ask(kind, victim, "reader")
        assert answer["outcome"] in ("loaded", "refused"), (kind, seed, what, json.dumps(answer)[:500])
        refused += answer["outcome"] == "refused"
        if time.monotonic() > end:
            break
    assert refused >= 20
