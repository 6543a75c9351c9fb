"""`lipschitz` returns the least bound that it has proven, and refuses in one line what it cannot prove."""

import contextlib
import dataclasses
import math
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg

from lmikit import InputError, Network, NotCertified, SolveFailed, Witness, lipschitz
from lmikit._api import default_methods
from lmikit.methods import AbstractMethod, ClosedForm, LipSDP, SpectralProduct
from lmikit.solvers import Clarabel
from lmikit.testing import demo_network

FLOAT_RANGE = [
    ([[[1e200, 5e-324]], [[1e-200]]], "abs"),
    ([[[1e200, 5e-324]], [[1e-200], [1e150]]], "relu"),
    ([[[1e300], [1e-300]], [[1e300, 1e-300]]], "abs"),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoiled(AbstractMethod):
    """Proposes multipliers that no repair brings near its claim."""

    name = "spoiled"

    @property
    def start(self):
        return ClosedForm()

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        spread = [np.geomspace(1e-6, 1e6, n) for n in network.dims[1:-1]]
        return Witness("lipsdp", 1.0, tuple(spread), produced_by=self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failing(AbstractMethod):
    """A method whose solver gives nothing."""

    name = "failing"
    uses_solver = True

    @property
    def start(self):
        return ClosedForm()

    def propose(self, network, *, solver=None, time_limit=None, progress=None):
        raise SolveFailed("nothing")


@pytest.mark.parametrize(("weights", "activation"), FLOAT_RANGE)
@pytest.mark.parametrize("method", [None, *default_methods()], ids=repr)
def test_layers_that_span_the_float_range_are_bounded_or_not_certified(weights, activation, method):
    network = Network.from_arrays([np.array(w) for w in weights], activation=activation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.suppress(NotCertified, SolveFailed):  # anything else is a defect
            assert math.isfinite(lipschitz(network, method).bound)


def test_the_start_is_returned_where_the_proposal_loses_in_its_proof():
    network = demo_network()
    certificate = lipschitz(network, Spoiled())
    assert certificate.bound <= lipschitz(network, ClosedForm()).bound
    assert certificate.produced_by == "closed-form"


def test_a_failed_default_solve_gives_the_start_and_a_named_solver_says_so():
    network = demo_network()
    assert lipschitz(network, Failing()).bound == lipschitz(network, ClosedForm()).bound
    with pytest.raises(SolveFailed, match="nothing"):
        lipschitz(network, Failing(), solver=Clarabel())


def test_the_method_that_gave_the_bound_is_named():
    assert lipschitz(demo_network(), LipSDP()).produced_by.startswith("LipSDP")


@pytest.mark.parametrize("method", [None, ClosedForm(), SpectralProduct()], ids=repr)
def test_a_huge_sparse_layer_is_bounded_or_refused_before_anything_dense_is_made(method):
    """10^5 x 10^5 with 10^5 entries: 80 GB as a dense matrix."""
    n = 100_000
    rng = np.random.default_rng(0)
    first = sp.csr_array((np.ones(n), (rng.integers(0, n, n), rng.integers(0, n, n))), shape=(n, n))
    last = sp.csr_array((np.ones(n), (rng.integers(0, 10, n), np.arange(n))), shape=(10, n))
    network = Network.from_arrays([first, last])
    tracemalloc.start()
    try:
        if isinstance(method, ClosedForm):
            with pytest.raises(InputError, match="dense matrix"):
                lipschitz(network, method)
        else:
            norms = [
                scipy.sparse.linalg.svds(w, k=1, return_singular_vectors=False)[0] for w in (first, last)
            ]
            assert np.prod(norms) * (1 - 1e-9) <= lipschitz(network, method).bound <= np.prod(norms) * 1.001
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
