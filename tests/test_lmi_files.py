"""SDPA and CBF files: exact round trips, every dialect of the headers, errors with file and line."""

import dataclasses
import gzip

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sdp_strategies import random_optimal, sdps_with_optimum

from lmikit import InputError, OptionError
from lmikit.lmi import SDP, Problem, read_cbf, read_sdpa, write_cbf, write_sdpa


def assert_same(a: SDP, b: SDP) -> None:
    """Bit for bit the same data, blocks of order 0 aside; LMIs compared through their coefficients."""
    for field in ("c", "h", "b"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    for field in ("G", "A"):
        assert (getattr(a, field) != getattr(b, field)).nnz == 0
    left, right = ([lmi for lmi in sdp.lmis if lmi.size] for sdp in (a, b))
    for one, other in zip(left, right, strict=True):
        for field in ("F0", "P", "Q", "E"):
            assert (getattr(one, field) != getattr(other, field)).nnz == 0
    for one, other in zip(a.socs, b.socs, strict=True):
        assert (one.C != other.C).nnz == 0
        np.testing.assert_array_equal(one.d, other.d)


def assert_same_functions(a: SDP, b: SDP, y: np.ndarray) -> None:
    left, right = ([lmi for lmi in sdp.lmis if lmi.size] for sdp in (a, b))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one.evaluate(y).toarray(), other.evaluate(y).toarray(), atol=1e-12)


@settings(max_examples=40)
@given(sdps_with_optimum(), st.integers(0, 2**32 - 1))
def test_cbf_round_trip(tmp_path_factory, known, seed):
    path = tmp_path_factory.mktemp("cbf") / "problem.cbf"
    write_cbf(known.sdp, path, comment="two\nlines")
    once = read_cbf(path)
    assert_same_functions(known.sdp, once, np.random.default_rng(seed).standard_normal(known.y.size))
    first = path.read_text()
    write_cbf(once, path, comment="two\nlines")
    assert path.read_text() == first
    assert_same(once, read_cbf(path))
    for field in ("c", "h", "b"):
        np.testing.assert_array_equal(getattr(known.sdp, field), getattr(once, field))
    assert (known.sdp.G != once.G).nnz == (known.sdp.A != once.A).nnz == 0


@settings(max_examples=40)
@given(sdps_with_optimum(), st.integers(0, 2**32 - 1))
def test_sdpa_round_trip(tmp_path_factory, known, seed):
    path = tmp_path_factory.mktemp("sdpa") / "problem.dat-s"
    m = known.sdp.variables
    sdp = dataclasses.replace(known.sdp, socs=(), A=sp.csc_array((0, m)), b=np.zeros(0))
    write_sdpa(sdp, path, comment="two\nlines")
    once = read_sdpa(path)
    assert_same_functions(sdp, once, np.random.default_rng(seed).standard_normal(m))
    np.testing.assert_array_equal(sdp.h, once.h)
    assert (sdp.G != once.G).nnz == 0
    first = path.read_text()
    write_sdpa(once, path, comment="two\nlines")
    assert path.read_text() == first
    assert_same(once, read_sdpa(path))


SDPA = """"A comment with numbers 1 2 3
* another
2 =mDIM
 3  = nBLOCK
 (2, {{3}}, -2) = bLOCKsTRUCT
{{10.0, 20.0}}
0 1 1 1 1.0
0 1 2 2 2.0
0 2 1 3 0.5{tail}
0 3 1 1 4
1 1 1 1 1.0
1 3 2 2 -1e0
2,1,2,1,3.0
2 2 1 1 +.5

"""


def write(tmp_path, text, name="file.dat-s"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_sdpa_dialect(tmp_path):
    """SDPA: sum x_i F_i - F_0 PSD; commas, braces, words after numbers, a lower-triangle entry."""
    sdp = read_sdpa(write(tmp_path, SDPA.format(tail="")))
    x = np.array([2.0, 3.0])
    np.testing.assert_array_equal(sdp.c, [10, 20])
    np.testing.assert_array_equal(sdp.lmis[0].evaluate(x).toarray(), [[2 - 1, 9], [9, -2]])
    np.testing.assert_array_equal(
        sdp.lmis[1].evaluate(x).toarray(), [[1.5, 0, -0.5], [0, 0, 0], [-0.5, 0, 0]]
    )
    np.testing.assert_array_equal(sdp.h - sdp.G @ x, [-4, -2])


def test_sdpa_numbers_may_span_lines(tmp_path):
    text = "3\n2\n1\n1\n1\n2 3\n1 1 1 1 1\n2 2 1 1 1\n"
    sdp = read_sdpa(write(tmp_path, text))
    np.testing.assert_array_equal(sdp.c, [1, 2, 3])
    assert [lmi.size for lmi in sdp.lmis] == [1, 1]


DIALECTS = {
    "fortran": "2 \n1\n2\n1.0D+01 2d0\n0 1 1 1 1.0D+00\n1 1 1 2 -.5d-1\n2 1 2 2 3\n",
    "words": "2=mdim\n1=nblock\n2.0\n10.0 2\n0 1 1 1 1 = F0\n* a comment\nand words\n"
    "1 1 1 2 -0.05\n2 1 2 2 3 last\n",
    "mark": "\ufeff2\n1\n2\n10 2\n0 1 1 1 1\n1 1 1 2 -0.05\n2 1 2 2 3\n",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("case", DIALECTS)
def test_sdpa_files_as_programs_write_them(tmp_path, case, packed):
    data = DIALECTS[case].encode()
    path = tmp_path / ("file.dat-s.gz" if packed else "file.dat-s")
    path.write_bytes(gzip.compress(data) if packed else data)
    sdp = read_sdpa(path)
    np.testing.assert_array_equal(sdp.c, [10, 2])
    np.testing.assert_array_equal(sdp.lmis[0].evaluate([2.0, 1.0]).toarray(), [[-1, -0.1], [-0.1, 3]])
    if packed:
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(InputError, match="no complete gzip file"):
            read_sdpa(path)


def test_sdpa_duplicates_are_summed_or_overwritten_when_asked(tmp_path):
    path = write(tmp_path, "1\n1\n2\n1\n0 1 1 2 1\n1 1 1 2 1\n0 1 2 1 3\n")
    for duplicates, constant in (("sum", -4.0), ("last", -3.0)):
        F0 = read_sdpa(path, duplicates=duplicates).lmis[0].F0.toarray()
        np.testing.assert_array_equal(F0, [[0, constant], [constant, 0]])
    with pytest.raises(InputError, match='duplicates="sum"'):
        read_sdpa(path)
    with pytest.raises(OptionError, match="expected 'error', 'sum' or 'last'"):
        read_sdpa(path, duplicates="first")


MALFORMED_SDPA = {
    "empty": ("", "line 1: the file ends where the number of variables"),
    "m": ("x\n", "line 1: expected the number of variables, an integer, and got 'x'"),
    "no variables": ("0\n", "line 1: the number of variables is 0; expected 1 or more"),
    "no blocks": ("1\n", "ends where the number of blocks"),
    "sizes": ("1\n2\n3 x\n", "line 3: expected 2 block sizes and got 'x' after 1"),
    "zero size": ("1\n1\n0\n1\n", "line 3: a block has size 0"),
    "c": ("2\n1\n2\n1 nan\n", "line 4: expected finite objective"),
    "short c": ("2\n1\n2\n1\n", "ends where 2 objective"),
    "word": ("1\n1\n2\n1\n0 1 1 1 1\n1 1 1 x 1\n", "line 6: 'x' is not a number"),
    "few": ("1\n1\n2\n1\n0 1 1 1 1\n\n1 1 1 1\n", "line 7: got 4 numbers; expected 5"),
    "infinite": ("1\n1\n2\n1\n0 1 1 1 inf\n", "line 5: got 0 1 1 1 inf; expected"),
    "fraction": ("1\n1\n2\n1\n0 1 1.5 1 2\n", "line 5: got 0 1 1.5 1 2"),
    "matrix": ("1\n1\n2\n1\n0 1 1 1 1\n2 1 1 1 1\n", r"line 6: got 2 1 1 1 1; expected matrix in 0\.\.1"),
    "block": ("1\n1\n2\n1\n0 2 1 1 1\n", r"line 5: .*block in 1\.\.1"),
    "outside": ("1\n2\n2 3\n1\n0 1 3 1 1\n", r"line 5: entry \(1, 3\) lies outside block 1, of size 2"),
    "off diagonal": ("1\n1\n-2\n1\n\n0 1 1 2 1\n", r"line 6: entry \(1, 2\) is off the diagonal"),
    "twice": ("1\n1\n2\n1\n0 1 1 2 1\n1 1 1 2 1\n0 1 2 1 3\n", r"line 7: entry \(1, 2\).*comes twice"),
}


@pytest.mark.parametrize("case", MALFORMED_SDPA)
def test_malformed_sdpa(tmp_path, case):
    text, pattern = MALFORMED_SDPA[case]
    with pytest.raises(InputError, match=r"file\.dat-s, " if "line" in pattern else pattern) as caught:
        read_sdpa(write(tmp_path, text))
    caught.match(pattern)


CBF = """# max 2 x0 + 3 + <C, X>, X 2 x 2 PSD
VER
3  # version

OBJSENSE
MAX

PSDVAR
1
2

VAR
3 2
L+ 1
F 2

PSDCON
1
2

CON
5 3
L= 1
L- 1
Q 3

OBJFCOORD
2
0 0 0 1.0
0 1 0 0.5

OBJACOORD
1
0 2.0

OBJBCOORD
3.0

FCOORD
1
0 0 1 0 1.5

ACOORD
3
0 0 1.0
1 1 -2.0
2 2 1.0

BCOORD
2
1 4.0
3 0.25

HCOORD
2
0 0 1 0 1.0
0 1 1 1 1.0

DCOORD
1
0 0 0 7.0
"""


def test_cbf_means_what_the_format_says(tmp_path):
    """y = (x0, x1, x2, X00, X10, X11, 1): the constant of the objective is a variable fixed to 1."""
    sdp = read_cbf(write(tmp_path, CBF, "file.cbf"))
    y = np.array([2.0, 3, 5, 7, 11, 13, 1])
    assert sdp.objective(y) == -(2 * 2 + 3 + 7 + 2 * 0.5 * 11)
    np.testing.assert_array_equal(sdp.lmis[0].evaluate(y).toarray(), [[7, 11], [11, 13]])
    np.testing.assert_array_equal(sdp.lmis[1].evaluate(y).toarray(), [[7, 2], [2, 3]])
    np.testing.assert_array_equal(sdp.A @ y - sdp.b, [2 + 2 * 1.5 * 11, 0])
    np.testing.assert_array_equal(sdp.h - sdp.G @ y, [2 * 3 - 4, 2])
    np.testing.assert_array_equal(sdp.socs[0].C @ y + sdp.socs[0].d, [5, 0.25, 0])


MALFORMED_CBF = {
    "empty": ("", "line 1: the file is empty"),
    "no version": ("OBJSENSE\nMIN\n", "line 1: expected the section VER first"),
    "version": ("VER\n9\n", "line 2: version 9 is not supported; expected one of 1, 2, 3"),
    "section": ("VER\n1\nINT\n1\n0\n", "line 3: the section 'INT' is not supported"),
    "sense": ("VER\n1\nOBJSENSE\nmin\n", "line 4: OBJSENSE is 'min'"),
    "cone": ("VER\n1\nVAR\n3 1\nEXP 3\n", "line 5: the cone 'EXP' is not supported; expected one of F, L"),
    "rotated": ("VER\n1\nVAR\n3 1\nQR 3\n", "line 5: the cone 'QR'"),
    "total": ("VER\n1\nVAR\n3 1\nF 2\n", "line 5: the cones hold 2 variables; expected 3"),
    "twice": ("VER\n1\nVAR\n1 1\nF 1\nVAR\n1 1\nF 1\n", "line 6: the section VAR comes twice"),
    "range": (
        "VER\n1\nVAR\n2 1\nF 2\nOBJACOORD\n2\n0 1\n2 1\n",
        r"line 9: got 2 1; expected variable in 0\.\.1",
    ),
    "short": ("VER\n1\nVAR\n2 1\nF 2\nOBJACOORD\n2\n0 1\n", "ends before the 2 rows announced on line 7"),
    "repeated": ("VER\n1\nVAR\n2 1\nF 2\nOBJACOORD\n2\n0 1\n0 2\n", r"line 9: the entry \(0,\) comes twice"),
    "no variables": ("VER\n1\n", "no variables"),
    "outside": (
        "VER\n1\nVAR\n1 1\nF 1\nPSDCON\n2\n2\n3\nDCOORD\n2\n1 2 2 1\n0 2 2 1\n",
        r"line 13: entry \(2, 2\) lies outside its matrix",
    ),
    "both triangles": (
        "VER\n1\nVAR\n1 1\nF 1\nPSDCON\n1\n2\nDCOORD\n2\n0 0 1 1\n0 1 0 1\n",
        r"line 1[12]: entry \(.*\) is given in both triangles",
    ),
}


@pytest.mark.parametrize("case", MALFORMED_CBF)
def test_malformed_cbf(tmp_path, case):
    text, pattern = MALFORMED_CBF[case]
    with pytest.raises(InputError, match=r"file\.cbf, ") as caught:
        read_cbf(write(tmp_path, text, "file.cbf"))
    caught.match(pattern)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.dat-s.* cannot be read"):
        read_sdpa(tmp_path / "none.dat-s")


def test_what_a_format_has_not_is_refused(tmp_path):
    known = random_optimal(np.random.default_rng(0), quadratic=True)
    with pytest.raises(InputError, match=r"no equalities and no second-order cones and no H; use write_cbf"):
        write_sdpa(known.sdp, tmp_path / "x.dat-s")
    with pytest.raises(InputError, match="epigraph_form"):
        write_cbf(known.sdp, tmp_path / "x.cbf")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    sdp = random_optimal(np.random.default_rng(0), soc_sizes=(), q=0).sdp
    path = write(tmp_path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_sdpa(sdp, path, comment="\u2264")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.dat-s"]


def test_hand_written_problem_to_file_and_back(tmp_path):
    problem = Problem()
    P = problem.symmetric(2, "P")
    A = np.array([[-1.0, 2], [0, -3]])
    problem.add(P >> np.eye(2))
    problem.add(A.T @ P + P @ A << 0, margin=0.125)
    problem.add(P[0, 0] <= 7.5)
    problem.minimise(P.trace())
    sdp = problem.compile()
    for write_file, read_file, name in ((write_sdpa, read_sdpa, "a.dat-s"), (write_cbf, read_cbf, "a.cbf")):
        write_file(sdp, tmp_path / name)
        assert_same(sdp, read_file(tmp_path / name))


def test_the_collection_round_trips(data_dir, tmp_path):
    """Every problem of SDPLIB that is there: sizes as published, and bit for bit through both formats."""
    published = {"arch0": 174, "control1": 21, "maxG11": 800, "qap5": 136, "theta1": 104, "truss4": 12}
    for path in sorted((data_dir / "sdplib").glob("*.dat-s")):
        sdp = read_sdpa(path)
        assert sdp.variables == published.get(path.name.removesuffix(".dat-s"), sdp.variables)
        write_sdpa(sdp, tmp_path / "x.dat-s")
        assert_same(sdp, read_sdpa(tmp_path / "x.dat-s"))
        write_cbf(sdp, tmp_path / "x.cbf")
        assert_same(sdp, read_cbf(tmp_path / "x.cbf"))
