"""Shared fixtures: where the optional data lives, hypothesis profiles."""

import os
import pathlib

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers share the cores, and NumPy comes later
os.environ.setdefault("OMP_NUM_THREADS", "1")  # which torch goes by

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("LMIKIT_HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder with real networks and problem collections, or a skip that says where it is sought."""
    root = pathlib.Path(__file__).resolve().parent.parent
    path = pathlib.Path(os.environ.get("LMIKIT_DATA", root.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data folder at {path}; set LMIKIT_DATA to run this test")
    return path
