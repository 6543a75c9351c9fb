"""Numbers come in exactly or not at all, and nothing that is kept can be changed from outside."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_certificates_environment import PREPARATIONS, in_thread, needs_x86_glibc

import lmikit
from lmikit import (
    InputError,
    Network,
    NotCertified,
    Witness,
    certified_accuracy,
    certified_radius,
    lipschitz,
    lmi,
    pairwise_bounds,
)
from lmikit._convert import as_csc, as_csr, as_number, floats
from lmikit.claims import Ball, Box, PointClaim
from lmikit.network import DenseMap, LeakyReLU, SparseMap
from lmikit.testing import demo_network

REFUSED = {
    "imaginary part": ([1.0, 1e-300j], "imaginary parts that are not zero"),
    "masked": (np.ma.array([1.0, 2.0], mask=[True, False]), "masked array"),
    "masked inside a list": ([np.ma.array([1.0, 2.0], mask=[True, False])], "masked array"),
    "text": (["1.0"], "dtype <U3"),
    "bytes": ([b"1.0"], "dtype .S3"),
    "objects": ([None, 1.0], "dtype object"),
    "dates": (np.array(["2020"], dtype="M8[Y]"), "dtype datetime64"),
    "large integer": ([2**53 + 1], r"2\*\*53"),
    "large integer beside a float": ([0.5, 2**53 + 1], r"2\*\*53"),
    "large unsigned integer": (np.array([2**64 - 1], dtype=np.uint64), r"2\*\*53"),
    "numpy integer beside a float": ([0.5, np.int64(2**53 + 1)], r"2\*\*53"),
    "integer beyond float64": ([10**400, 0.5], r"2\*\*53"),
    "ragged": ([[1.0], [1.0, 2.0]], "cannot be read as an array"),
    "sparse": (sp.eye_array(2), "sparse matrix"),
    "NaN": ([np.nan], "NaN or infinity"),
    "infinity": ([-np.inf], "NaN or infinity"),
}
if np.finfo(np.longdouble).nmant > 52:
    REFUSED["extended"] = (np.array([1.0], dtype=np.longdouble) / 3, "float64 does not hold")


@given(
    kind=st.sampled_from((sp.csr_array, sp.csc_array)),
    entries=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from((-1.0, 0.0, 2.0))), max_size=9
    ),
    lies=st.booleans(),
)
def test_sparse_matrices_come_out_canonical_whatever_their_flags_say(kind, entries, lies):
    rows, columns, values = (
        np.array([e[k] for e in entries], dtype=t) for k, t in ((0, "i4"), (1, "i4"), (2, float))
    )
    major, minor = (rows, columns) if kind is sp.csr_array else (columns, rows)
    order = np.argsort(major, kind="stable")  # within a row or column as they come, duplicates included
    count = 4 if kind is sp.csr_array else 5
    indptr = np.r_[0, np.cumsum(np.bincount(major, minlength=count))].astype("i4")
    given_ = kind((values[order], minor[order], indptr), shape=(4, 5))
    if lies:
        given_.has_canonical_format = True
    expected = np.zeros((4, 5))
    np.add.at(expected, (rows, columns), values)
    result = as_csr("matrix", given_) if kind is sp.csr_array else as_csc("matrix", given_)
    assert np.array_equal(result.toarray(), expected)
    assert result.nnz == np.count_nonzero(expected)
    assert not any(a.flags.writeable for a in (result.data, result.indices, result.indptr))
    assert all(
        (np.diff(result.indices[a:b]) > 0).all()
        for a, b in zip(result.indptr, result.indptr[1:], strict=False)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_float64_does_not_hold_is_refused_by_name(name):
    values, message = REFUSED[name]
    with pytest.raises(InputError, match=f"^gain .*{message}"):
        floats("gain", values)


@pytest.mark.parametrize(
    "values",
    [
        2**60,
        -(2**63),
        [True, 2],
        [1 + 0j],
        np.longdouble(0.1),
        np.float16(0.1),
        [[2**60, 1]],
        np.uint64(2**63),
    ],
)
def test_what_float64_holds_is_taken(values):
    result = floats("gain", values)
    assert (result.astype(object) == np.asarray(values).real.astype(object)).all()


@given(
    hnp.arrays(
        st.sampled_from(["<f8", ">f8", "<f4", ">f4", "<f2", "i1", "u2", "i4"]), hnp.array_shapes(min_dims=0)
    )
)
def test_the_cast_is_exact_and_the_result_is_nobody_elses(values):
    finite = np.isfinite(values).all() if values.dtype.kind == "f" else True
    before = values.copy()
    result = floats("x", values, finite=bool(finite))
    assert result.dtype == np.float64
    assert result.shape == values.shape
    assert np.array_equal(result, before.astype(float), equal_nan=True)
    values[...] = 7
    assert np.array_equal(result, before.astype(float), equal_nan=True)
    if result.size:
        with pytest.raises(ValueError, match="WRITEABLE"):
            result.setflags(write=True)


def test_one_number():
    assert as_number("x", [[3]]) == 3.0
    with pytest.raises(InputError, match="expected one number"):
        as_number("x", [1, 2])


def test_sparse_matrices_are_summed_in_float64_and_checked():
    twice = sp.coo_array((np.array([100, 100], dtype=np.int8), ([0, 0], [1, 1])), shape=(2, 2))
    assert as_csr("m", twice).toarray()[0, 1] == 200.0
    wrong = sp.csr_array((2, 2))
    wrong.data, wrong.indices, wrong.indptr = np.ones(1), np.array([7]), np.array([0, 1, 1])
    with pytest.raises(InputError, match="well-formed sparse"):
        SparseMap(wrong)


# ---------------------------------------------------------------- views do not reach what was proven


@pytest.mark.parametrize("make", [lambda v: v, lambda v: v.T.T, lambda v: v[:], lambda v: v.view()])
def test_read_only_views_are_copied(make):
    base = np.array([[1.0, 2.0], [-1.0, 1.0]])
    view = make(base)
    view.setflags(write=False)
    network = Network.from_arrays([view, DenseMap(view)], [view[0], None])
    digest, bound = network.digest, lipschitz(network).bound
    base.setflags(write=True)
    base *= 100.0
    again = Network.from_arrays(network.weights, [layer.bias for layer in network.layers])
    assert network.digest == again.digest == digest
    assert lipschitz(again).bound == bound
    assert network.layers[0].bias[0] == 1.0
    assert pairwise_bounds(network).bounds.max() < 30.0


def test_sparse_maps_own_all_their_arrays():
    given = sp.csr_array(np.array([[0.0, 2.0], [3.0, 0.0]]))
    linear = SparseMap(given)
    for array in (given.data, given.indices, given.indptr):
        array[:] = 0
    assert linear.to_dense().tolist() == [[0.0, 2.0], [3.0, 0.0]]
    for array in (linear.matrix.data, linear.matrix.indices, linear.matrix.indptr):
        assert not array.flags.writeable
    handed_out = linear.to_sparse()
    handed_out.data = handed_out.data * 7.0
    assert linear.to_dense().tolist() == [[0.0, 2.0], [3.0, 0.0]]


def test_problems_own_their_data():
    F0, c = sp.csc_array(np.eye(2)), np.array([1.0])
    eye, E = sp.eye_array(2, format="csc"), sp.csc_array(np.array([[1.0], [0.0]]))
    block = lmi.LMI(F0, eye, eye, E)
    problem = lmi.SDP(c, (block,))
    F0.data *= 9.0
    E.data *= 9.0
    c *= 9.0
    assert problem.c.tolist() == [1.0]
    assert block.evaluate(np.ones(1)).toarray().tolist() == [[2.0, 0.0], [0.0, 1.0]]


# ------------------------------------------------------------------------ complex data of a problem


def test_imaginary_parts_are_never_dropped():
    problem = lmi.Problem()
    t = problem.scalar("t")
    hermitian = np.array([[0, 1j], [-1j, 0]])
    for build in (
        lambda: lmi.SDP(c=[1j]),
        lambda: lmi.SDP(c=[1.0], G=[[1j]], h=[0.0]),
        lambda: problem.add(t >= 0, margin=1e-6j),
        lambda: Network.from_arrays([[[1j]]]),
        lambda: Witness("lipsdp", 1.0, ([1j],)),
    ):
        with pytest.raises(InputError, match="imaginary parts that are not zero"):
            build()
    with pytest.raises(InputError, match="complex"):
        problem.add(t * 1j >= 0)
    for right in (hermitian, hermitian.tolist(), sp.csc_array(hermitian)):
        own = lmi.Problem()
        own.add(own.scalar("s") * np.eye(2) >> right)
        assert own.compile().lmis[0].evaluate(np.array([2.0])).toarray().shape == (4, 4)  # [[A, -B], [B, A]]
    real = t * np.eye(2) >> np.array([[0, 1 + 0j], [1, 0]])
    problem.add(real)
    problem.minimise(t)
    assert problem.compile().lmis[0].evaluate(np.ones(1)).toarray().tolist() == [[1.0, -1.0], [-1.0, 1.0]]


# --------------------------------------------------------------------------------- certified radii


def test_logits_are_not_bent_into_numbers():
    certificate = lipschitz(Network.from_arrays([np.eye(2)]))
    for logits, message in (
        (np.ma.array([3.0, 1.0], mask=[True, False]), "masked"),
        ([3.0 + 1j, 1.0], "imaginary"),
        (["3", "1"], "dtype"),
        (np.array([1.0, 3.0], dtype=np.longdouble) / 3, "float64 does not hold"),
        ([2**60 + 1, 2**60], r"2\*\*53"),
        ([np.nan, 0.0], "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            certified_radius(certificate, logits)
        with pytest.raises(InputError, match=message):
            certified_accuracy(certificate, [logits], [0])
    with pytest.raises(InputError, match=r"pass \(bounds, logits\)|then the logits"):
        certified_radius([3.0, 1.0], certificate)
    with pytest.raises(InputError, match=r"pass \(bounds, logits\)"):
        certified_radius(certificate, certificate)
    with pytest.raises(InputError, match="logit_error"):
        certified_radius(certificate, [3.0, 1.0], logit_error=-1.0)


@needs_x86_glibc
@pytest.mark.parametrize("name", PREPARATIONS)
def test_radii_need_the_default_environment(name):
    """Where subnormal numbers are flushed a tiny L would be zero, and the radius infinite."""
    certificate = lipschitz(Network.from_arrays([[[5e-310], [0.0]]]))
    good = certified_radius(certificate, [1.0, 0.0])
    assert np.isfinite(good)
    outcome = in_thread(PREPARATIONS[name], lambda: certified_radius(certificate, [1.0, 0.0]))
    assert isinstance(outcome, NotCertified)


@needs_x86_glibc
def test_subnormal_float32_weights_are_not_flushed_away():
    weight = np.array([[1e-40]], dtype=np.float32)
    outcome = in_thread(PREPARATIONS["denormals are zero"], lambda: Network.from_arrays([weight]))
    assert isinstance(outcome, InputError)
    assert "subnormal float32" in str(outcome)
    assert Network.from_arrays([weight]).weights[0][0, 0] == float(weight[0, 0])


# ------------------------------------------------------------------------------- dropped activations


def test_an_activation_without_a_hidden_layer_is_refused():
    with pytest.raises(InputError, match=r"one weight makes a linear map.*identity matrix"):
        Network.from_arrays([[[1.0]]], activation=LeakyReLU(2.0))
    with pytest.raises(InputError, match="linear map"):
        Network.from_arrays([[[1.0]]], activation="tanh")
    assert Network.from_arrays([[[1.0]]]).hidden_layers == 0
    with_output = Network.from_arrays([[[1.0]], [[1.0]]], activation=LeakyReLU(2.0))
    assert lipschitz(with_output).bound >= 2.0
    assert demo_network().hidden_layers == 2


@pytest.mark.parametrize(
    "values",
    [[2**53 + 1, 0], [1j, 0.0], np.ma.masked_array([1.0, 2.0], [True, False]), [np.nan, 0.0], ["1", "2"]],
    ids=["integer", "complex", "masked", "nan", "text"],
)
def test_regions_claims_and_points_take_numbers_exactly_or_not_at_all(values):
    network = Network.from_arrays([np.eye(2), np.eye(2)])
    for build in (
        lambda: Ball(values, 1.0),
        lambda: Box(values, [9.0, 9.0]),
        lambda: PointClaim(Ball([0.0, 0.0], 1.0), [values], [0.0], [0.0]),
        lambda: lmikit.certify_point(network, values, eps=0.1),
        lambda: lmikit.certify_points(network, [values, values], [0, 1], eps=0.1),
    ):
        with pytest.raises(InputError):
            build()


def test_a_region_cannot_be_written_to():
    given = np.array([1.0, 2.0])
    ball = Ball(given, 1.0)
    given[0] = 5.0
    assert ball.x0[0] == 1.0
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        ball.x0.setflags(write=True)


def test_what_went_through_the_seam_is_known_again_only_as_it_was():
    """Taken again at once; a copy, a pickle or other arrays are looked at anew and own their memory."""
    once = as_csc("A", sp.csc_array(np.arange(6.0).reshape(2, 3)))
    again = as_csc("A", once)
    assert again is not once
    assert again.data is once.data
    once.data = np.array([np.nan, 1.0, 2.0, 3.0, 4.0])
    with pytest.raises(InputError, match="NaN or infinity"):
        as_csc("A", once)
    assert np.isfinite(again.data).all()
    for other in (again.copy(), copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        taken = as_csc("A", other)
        assert not np.shares_memory(taken.data, other.data)
        with pytest.raises(ValueError, match="WRITEABLE"):
            taken.data.setflags(write=True)
    wide = as_csc("A", sp.csc_array(([1.0], np.array([1], dtype=np.int64), np.array([0, 1])), shape=(3, 1)))
    assert wide.indices.dtype == wide.indptr.dtype == np.int32
