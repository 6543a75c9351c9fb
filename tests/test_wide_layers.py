"""Sparse layers that are too large for dense blocks: bounded by weighted row sums, proven and checked."""

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import (
    ClosedForm,
    InputError,
    LipSDP,
    Network,
    NotCertified,
    SpectralProduct,
    Witness,
    check,
    lipschitz,
)
from lmikit.certificates import verify
from lmikit.certificates._check_wide import wide_margin
from lmikit.certificates._wide_layers import row_sums
from lmikit.network import SparseMap

N = 20_000


def wide_network(seed=0, nonzeros=3000):
    """A sparse map of 4e8 entries as a dense matrix, then a dense one."""
    rng = np.random.default_rng(seed)
    entries = (rng.standard_normal(nonzeros), rng.integers(0, N, (2, nonzeros)))
    wide = sp.csr_array(entries, shape=(N, N))
    return Network.from_arrays([wide, rng.standard_normal((2, N)) / 100.0])


@st.composite
def sparse_matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = rng.integers(1, 9, 2)
    dense = rng.standard_normal((m, n)) * (rng.random((m, n)) < draw(st.sampled_from([0.2, 0.6, 1.0])))
    dense *= 2.0 ** draw(st.integers(-40, 40))
    dense[0, 0] = dense[0, 0] or 1.0
    return sp.csr_array(dense)


@settings(max_examples=60)
@given(w=sparse_matrices())
def test_the_bound_holds_and_is_accepted_in_both_modes(w):
    tau = row_sums(SparseMap(w))
    norm = np.linalg.norm(w.toarray(), 2)
    assert tau >= norm**2 * (1.0 - 1e-14)
    largest = np.linalg.norm(abs(w).toarray(), 2) ** 2
    assert tau <= largest * (1.0 + 1e-3)
    roomy = Fraction(tau) * (1 + Fraction(1, 10**9))
    for exact in (False, True):
        assert wide_margin(w, roomy, exact) >= 0.0
        # row sums of |W|'|W| bound the norm of |W|, below which nothing is accepted
        assert wide_margin(w, Fraction(largest) * (1 - Fraction(1, 10**9)), exact) < 0.0
        assert wide_margin(w, Fraction(0), exact) < 0.0
        assert wide_margin(w, -roomy, exact) < 0.0


def test_trees_lose_nothing():
    """The signs of a matrix whose graph has no cycle can be scaled away: |W| has the norm of W."""
    w = sp.csr_array([[3.0, -4.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, -1.0]])
    assert row_sums(SparseMap(w)) == pytest.approx(np.linalg.norm(w.toarray(), 2) ** 2, rel=1e-8)


def test_no_entries_and_odd_ones():
    assert wide_margin(sp.csr_array((3, 4)), Fraction(1, 2**1000), True) >= 0.0
    assert row_sums(SparseMap(sp.csr_array([[1e300, 0.0]]))) == np.inf
    assert wide_margin(sp.csr_array([[1e300, 0.0]]), Fraction(10) ** 601, False) < 0.0
    assert wide_margin(sp.csr_array([[5e-324, 1.0]]), Fraction(1) + Fraction(1, 2**30), True) >= 0.0


@pytest.mark.parametrize("method", [None, LipSDP(), SpectralProduct()])
def test_a_wide_layer_is_bounded_proven_and_checked(method, tmp_path):
    network = wide_network()
    certificate = lipschitz(network, method)
    w, last = network.layers[0].linear.matrix, network.layers[1].linear.to_dense()
    product = scipy.sparse.linalg.svds(w, k=1, return_singular_vectors=False)[0] * np.linalg.norm(last, 2)
    assert product * (1.0 - 1e-9) <= certificate.bound <= product * 1.01
    path = tmp_path / "wide.json"
    certificate.save(path)
    assert check(path, network).ok
    assert check(path, network, exact=True).ok
    assert type(certificate).load(path, network).bound == certificate.bound


def test_smaller_claims_are_refused(tmp_path):
    network = wide_network()
    certificate = lipschitz(network)
    path = tmp_path / "wide.json"
    certificate.save(path)
    witness = certificate.witness
    for k in range(2):
        taus = [t * (0.999 if k == i else 1.0) for i, t in enumerate(witness.multipliers)]
        smaller = dataclasses.replace(witness, multipliers=tuple(taus))
        with pytest.raises(NotCertified, match="not proven to reach the squared norm"):
            verify(network, smaller, repair=False)
    document = json.loads(path.read_text())
    document["claim"]["L"] = float.hex(certificate.bound * 0.999)
    path.write_text(json.dumps(document))
    assert not check(path, network).ok
    other = wide_network(1)
    certificate.save(path)
    assert not check(path, other).ok


def test_witnesses_that_no_wide_network_can_have():
    network = wide_network()
    lipsdp = Witness("lipsdp", 1.0, (np.ones(N),))
    with pytest.raises(InputError, match="only a product of norms can be proven"):
        verify(network, lipsdp)
    with pytest.raises(InputError, match="bound such layers by products of norms"):
        lipschitz(network, ClosedForm())


def test_a_hundred_thousand_squared_in_little_memory():
    """1e5 x 1e5 with 1e5 nonzeros: 80 GB as a dense matrix, under 100 MB above what the imports hold."""
    script = """
import resource, numpy as np, scipy.sparse as sp, scipy.sparse.linalg, lmikit
lmikit.lipschitz(lmikit.Network.from_arrays([np.eye(3), np.ones((1, 3))]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n, rng = 100_000, np.random.default_rng(0)
w = sp.csr_array((rng.standard_normal(n), (rng.integers(0, n, n), rng.integers(0, n, n))), shape=(n, n))
bound = lmikit.lipschitz(lmikit.Network.from_arrays([w, np.ones((1, n))])).bound
truth = sp.linalg.svds(w, k=1, return_singular_vectors=False)[0] * n ** 0.5
print(bound / truth, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ratio, kilobytes = (float(v) for v in found.stdout.split())
    assert 1.0 - 1e-9 <= ratio <= 1.001
    assert kilobytes / (1024 if sys.platform == "darwin" else 1) < 100_000
