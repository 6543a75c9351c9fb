"""Proofs of SDPs: sound with no tolerance, tight, refused when anything in the file is changed."""

import base64
import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit.certificates import DualSide, PrimalSide, SDPWitness, verify_sdp
from lmikit.cli import main as command_line
from lmikit.lmi import LMI, SDP, SOC, Problem, read_sdpa, write_sdpa
from lmikit.solvers import Dense
from lmikit.testing import exact_sdps, random_exact, sdps_with_optimum


def assert_agrees(known, result):
    """What is proven holds, exactly."""
    if result.status == "infeasible":
        assert known.optimum == math.inf
    elif result.status == "unbounded":
        assert known.optimum == -math.inf
    else:
        assert result.lower <= known.optimum <= result.upper


@settings(max_examples=24)
@given(exact_sdps())
def test_proofs_are_sound_and_both_checkers_accept_them(known):
    result = lmikit.prove(known.sdp)
    assert_agrees(known, result)
    if result:
        for exact in (False, True):
            verdict = lmikit.check(result.certificate, known.sdp, exact=exact)
            assert verdict, verdict.reason


@settings(max_examples=25)
@given(exact_sdps(kinds=("interior", "infeasible", "unbounded")))
def test_problems_with_interiors_are_decided_and_tight(known):
    result = lmikit.prove(known.sdp)
    wanted = {math.inf: "infeasible", -math.inf: "unbounded"}.get(known.optimum, "optimum")
    assert result.status == wanted, result.reasons
    if wanted == "optimum":
        assert result.width <= 1e-5


@settings(max_examples=10)
@given(sdps_with_optimum(quadratic=None))
def test_dense_float_data_with_radii(known):
    result = lmikit.prove(known.sdp)
    # the optimum of these is known up to the rounding of their data
    slack = 1e-7 * (1 + abs(known.optimum))
    assert result.lower <= known.optimum + slack
    assert result.upper >= known.optimum - slack
    if result:
        verdict = lmikit.check(result.certificate, known.sdp, exact=True)
        assert verdict, verdict.reason


def lovasz_theta_of_the_pentagon():
    problem = Problem()
    t = problem.scalar("t")
    y = problem.vector(5, "y")
    edges = [(i, (i + 1) % 5) for i in range(5)]
    matrices = []
    for i, j in edges:
        E = np.zeros((5, 5))
        E[i, j] = E[j, i] = 1.0
        matrices.append(E)
    problem.add(sum((y[k] * matrices[k] for k in range(5)), t * np.eye(5)) - np.ones((5, 5)) >> 0)
    problem.minimise(t)
    return problem


def test_the_theta_number_of_the_pentagon():
    result = lmikit.prove(lovasz_theta_of_the_pentagon())
    assert result.status == "optimum"
    assert Fraction(result.lower) ** 2 <= 5 <= Fraction(result.upper) ** 2
    assert result.width < 1e-6


def test_a_maximisation_with_a_constant_is_bounded_in_its_own_objective():
    problem = Problem()
    x = problem.scalar("x")
    problem.add(np.diag([2.0, 3.0]) - x * np.eye(2) >> 0)
    problem.maximise(x + 10)
    result = lmikit.prove(problem)
    assert result.lower <= 12 <= result.upper
    assert result.width < 1e-6
    assert "optimum in" in str(result)


def diagonal_sdp():
    """min y s.t. [[y, 1], [1, 1]] PSD: y = 1, X = [[1, -1], [-1, 1]]."""
    E = np.array([[1.0]])
    return SDP(np.ones(1), (LMI(np.array([[0.0, 1.0], [1.0, 1.0]]), np.eye(2)[:, :1], np.eye(2)[:, :1], E),))


def dual(X, **changes):
    side = DualSide((np.array(X, dtype=float),), np.zeros(0), (), np.zeros(0))
    return dataclasses.replace(side, **changes)


def test_a_singular_exact_witness_gives_the_exact_optimum():
    witness = SDPWitness(PrimalSide(np.ones(1)), dual([[1, -1], [-1, 1]]))
    certificate = verify_sdp(diagonal_sdp(), witness)
    assert (certificate.status, certificate.lower, certificate.upper) == ("optimum", 1.0, 1.0)
    assert lmikit.check(certificate, diagonal_sdp(), exact=True)


@pytest.mark.parametrize(
    "witness",
    [
        SDPWitness(PrimalSide(np.array([np.nextafter(1.0, 0.0)]))),
        SDPWitness(dual=dual([[1, -2], [-2, 1]])),
        SDPWitness(dual=dual([[-1, 0], [0, 1]])),
        SDPWitness(dual_ray=dual([[1, -1], [-1, 1]])),
        SDPWitness(primal_ray=PrimalSide(np.array([1.0]))),
        SDPWitness(primal_ray=PrimalSide(np.array([-1.0]))),
        SDPWitness(dual=dual([[2, -1], [-1, 1]], metric="paid")),
        SDPWitness(),
    ],
)
def test_wrong_witnesses_prove_nothing(witness):
    with pytest.raises(lmikit.NotCertified):
        verify_sdp(diagonal_sdp(), witness)


@pytest.mark.parametrize(
    ("witness", "status"),
    [
        (SDPWitness(PrimalSide(np.ones(1)), dual([[-1, 0], [0, 1]])), "feasible"),
        (SDPWitness(PrimalSide(np.zeros(1)), dual([[1, -1], [-1, 1]])), "bounded"),
        (
            SDPWitness(
                PrimalSide(np.ones(1)),
                dual([[1, -1], [-1, 1]]),
                PrimalSide(np.array([1.0])),
                dual([[1, -1], [-1, 1]]),
            ),
            "optimum",
        ),
    ],
    ids=["no lower", "no upper", "no rays"],
)
def test_a_certificate_keeps_what_it_proves_and_its_file_is_accepted(witness, status, tmp_path):
    certificate = verify_sdp(diagonal_sdp(), witness)
    assert certificate.status == status
    certificate.save(tmp_path / "c.json")
    for exact in (False, True):
        assert lmikit.check(tmp_path / "c.json", diagonal_sdp(), exact=exact)
    loaded = lmikit.SDPCertificate.load(tmp_path / "c.json", diagonal_sdp())
    assert (loaded.lower, loaded.upper) == (certificate.lower, certificate.upper)


def test_a_defect_is_paid_with_the_bounds_on_y():
    witness = SDPWitness(dual=dual([[2, -1], [-1, 1]], metric="paid"), bounds=np.array([3.0]))
    certificate = verify_sdp(diagonal_sdp(), witness)  # value 1, defect 1, |y| <= 3
    assert certificate.lower == pytest.approx(-2.0)
    assert certificate.lower <= -2.0
    assert "|y_i| <= bounds_i" in certificate.claim
    assert lmikit.check(certificate, diagonal_sdp(), exact=True)
    result = lmikit.prove(diagonal_sdp(), bounds=10.0)
    assert "|y_i| <= bounds_i" in str(result)
    assert result.lower <= 1.0 <= result.upper


@pytest.mark.parametrize("bound", [10.0, 1000.0])
def test_bounds_on_y_give_both_sides_where_the_optimum_is_not_attained(bound):
    """The least a with [a, 1; 1, b] PSD is 0 and never reached; with b <= B it is 1/B."""
    problem = Problem()
    a, b = problem.scalar("a"), problem.scalar("b")
    problem.add(lmikit.lmi.block([[a, 1.0], [1.0, b]]) >> 0)
    problem.minimise(a)
    result = lmikit.prove(problem, bounds=bound)
    assert result.status == "optimum"
    assert Fraction(result.lower) <= Fraction(1) / Fraction(bound) <= Fraction(result.upper)
    assert result.width < 1e-7
    assert np.abs(result.certificate.witness.primal.y).max() <= bound
    assert lmikit.check(result.certificate, problem, exact=True)


def test_a_thin_interior_gives_both_sides(data_dir):
    """hinf2's multipliers have eigenvalues of 3e-5 of the largest at most."""
    result = lmikit.prove(read_sdpa(data_dir / "sdplib" / "hinf2.dat-s"), Dense())
    assert result.status == "optimum"
    assert result.width < 1e-4
    assert result.lower <= 10.96705 <= result.upper


def test_a_concave_objective_has_no_proven_lower_bound():
    box = {"G": np.array([[1.0], [-1.0]]), "h": np.ones(2)}
    sdp = SDP(np.zeros(1), H=np.array([[-1.0]]), **box)
    witness = SDPWitness(dual=DualSide((), np.zeros(2), (), np.zeros(0), np.zeros(1)))
    with pytest.raises(lmikit.NotCertified, match="positive semidefinite"):
        verify_sdp(sdp, witness)


def test_an_infeasible_equality_and_an_empty_cone_are_told():
    line = SDP(
        np.ones(2), A=np.array([[1.0, 1.0], [1.0, 1.0]]), b=np.array([1.0, 2.0]), G=np.eye(2), h=np.ones(2)
    )
    result = lmikit.prove(line)
    assert result.status == "infeasible", result.reasons
    cone = SDP(np.ones(1), socs=(SOC(np.array([[1.0], [0.0]]), np.array([0.0, 3.0])),))
    result = lmikit.prove(cone)
    assert result.lower <= 3 <= result.upper
    assert result.width < 1e-6


def equipartition(n):
    """max <C, X>, diag X = 1, <ee', X> = 0: every feasible X has X e = 0, none is positive definite."""
    rng = np.random.default_rng(3)
    C = rng.integers(-3, 4, (n, n)).astype(float)
    problem = Problem()
    y, t = problem.vector(n, "y"), problem.scalar("t")
    rows = sum((y[i] * np.outer(np.eye(n)[i], np.eye(n)[i]) for i in range(n)), t * np.ones((n, n)))
    problem.add(rows - (C + C.T) >> 0)
    problem.minimise(np.ones((1, n)) @ y)
    return problem.compile()


@pytest.mark.parametrize("exact", [False, True])
def test_multipliers_without_interior_are_proven_on_a_face(exact):
    sdp = equipartition(6)
    result = lmikit.prove(sdp)
    assert result.status == "optimum", result.reasons
    assert result.width < 1e-6
    face = result.certificate.witness.dual.faces[0]
    assert face.shape == (6, 5)
    assert not face.sum(axis=0).any()  # orthogonal to e
    assert lmikit.check(result.certificate, sdp, exact=exact)
    data = json.loads(result.certificate.to_text())
    data["dual"]["faces"][0]["entries"][0][2] += 1
    checker = lmikit.certificates._kinds._CHECKERS["lmikit-sdp-cert"]
    assert not checker(json.dumps(data), sdp, exact)
    data["dual"]["faces"][0]["entries"][0][2] -= 1
    data["dual"]["drop"] = []
    assert not checker(json.dumps(data), sdp, exact)


def test_own_steps_narrow_what_the_solver_left_open():
    known = random_exact(np.random.default_rng(0), "interior")
    rough = lmikit.prove(known.sdp, lmikit.solvers.Clarabel(tol=1e-5))
    assert rough.lower <= known.optimum <= rough.upper


@pytest.fixture(scope="module")
def proven():
    known = random_exact(np.random.default_rng(4), "interior", quadratic=True)
    result = lmikit.prove(known.sdp)
    assert result.status == "optimum"
    return known.sdp, result.certificate


def mutations(data):
    """Texts that claim more than is proven, or carry another witness, or are malformed."""

    def changed(path, value):
        copy = json.loads(json.dumps(data))
        *head, last = path
        target = copy
        for key in head:
            target = target[key]
        target[last] = value
        return json.dumps(copy)

    lower, upper = (float.fromhex(data["claim"][side]) for side in ("lower", "upper"))
    yield changed(("claim", "lower"), math.nextafter(upper, math.inf).hex())
    yield changed(("claim", "upper"), math.nextafter(lower, -math.inf).hex())
    yield changed(("claim", "status"), "infeasible")
    yield changed(("claim", "status"), "unbounded")
    yield changed(("claim", "statement"), "the optimum is zero")
    yield changed(("claim", "lower"), str(lower))
    yield changed(("problem", "sha256"), "0" * 64)
    yield changed(("format",), "lmikit-other")
    yield changed(("version",), 2)
    yield changed(("dual",), None)
    yield changed(("primal",), None)
    yield changed(("extra",), 1)
    yield changed(("dual", "metric"), "paid")
    yield changed(("dual", "drop"), [[0, []]])
    yield changed(("dual_ray",), data["dual"])
    yield changed(("bounds",), data["primal"]["y"])
    for path in (("primal", "y"), ("dual", "z"), ("dual", "X", 0)):
        entry = data
        for key in path:
            entry = entry[key]
        raw = np.frombuffer(
            base64.b64decode(entry["data"]), dtype={"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        )
        yield changed((*path, "data"), base64.b64encode((-raw - 1).tobytes()).decode())
    yield json.dumps(data)[:-5]
    yield json.dumps(data).replace('"version": 1', '"version": 1, "version": 1')


@pytest.mark.parametrize("exact", [False, True])
def test_mutated_files_are_refused(proven, tmp_path, exact):
    sdp, certificate = proven
    path = tmp_path / "p.json"
    certificate.save(path)
    assert lmikit.check(path, sdp, exact=exact)
    for text in mutations(json.loads(path.read_text())):
        path.write_text(text)
        verdict = lmikit.check(path, sdp, exact=exact)
        assert not verdict.ok, text[:200]
        assert verdict.reason


def resign(entry, values):
    """An array of the file with other numbers and the right hash."""
    import hashlib

    raw = np.asarray(values, dtype="<f8").tobytes()
    return {"dtype": "F64", "data": base64.b64encode(raw).decode(), "sha256": hashlib.sha256(raw).hexdigest()}


@pytest.mark.parametrize("exact", [False, True])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_changed_witness_with_right_hashes_never_proves_a_falsehood(proven, seed, exact):
    sdp, certificate = proven
    rng, data = np.random.default_rng(seed), json.loads(certificate.to_text())
    path = [("primal", "y"), ("dual", "z"), ("dual", "X", 0), ("dual", "v"), ("dual", "u")][rng.integers(5)]
    *head, last = path
    target = data
    for key in head:
        target = target[key]
    entry = target[last]
    values = np.frombuffer(
        base64.b64decode(entry["data"]), {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
    ).astype(float)
    target[last] = resign(entry, values + rng.choice([1e-9, 1e-3, 10.0]) * rng.standard_normal(values.size))
    gap = 1e-3 * (1 + abs(certificate.upper))
    data["claim"]["lower"] = (certificate.upper + gap).hex()
    data["claim"]["upper"] = (certificate.upper + 2 * gap).hex()
    words = lmikit.certificates.sdp._records.statement(
        "optimum", certificate.upper + gap, certificate.upper + 2 * gap, False
    )
    data["claim"]["statement"] = words
    assert not lmikit.certificates._kinds._CHECKERS["lmikit-sdp-cert"](json.dumps(data), sdp, exact)


def test_a_certificate_is_for_its_own_problem(proven, tmp_path):
    sdp, certificate = proven
    other = dataclasses.replace(sdp, c=sdp.c + 1)
    longer = Problem()
    x = longer.scalar("x")
    longer.minimise(x)
    longer.add(x >= 1.0)
    for changed in (other, longer):
        assert "another SDP" in lmikit.check(certificate, changed).reason
    path = tmp_path / "p.json"
    certificate.save(path)
    loaded = lmikit.SDPCertificate.load(path, sdp)
    assert (loaded.lower, loaded.upper, loaded.claim) == (
        certificate.lower,
        certificate.upper,
        certificate.claim,
    )
    with pytest.raises(lmikit.NotCertified, match="another SDP"):
        lmikit.SDPCertificate.load(path, other)
    with pytest.raises(lmikit.InputError):
        lmikit.check(certificate, lmikit.Network.from_arrays([np.ones((1, 1))]))


def test_messages_of_prove():
    with pytest.raises(lmikit.InputError, match=r"expected lmikit\.lmi\.SDP or Problem"):
        lmikit.prove(3)
    with pytest.raises(lmikit.OptionError, match="time_limit"):
        lmikit.prove(diagonal_sdp(), time_limit=0)
    with pytest.raises(lmikit.InputError, match="bounds"):
        lmikit.prove(diagonal_sdp(), bounds=-1.0)
    huge = SDP(np.array([1e200]), G=np.ones((1, 1)), h=np.ones(1))
    with pytest.raises(lmikit.InputError, match="Rescale"):
        lmikit.prove(huge)


def test_the_command_line_proves_and_checks(tmp_path, capsys):
    path, saved = tmp_path / "p.dat-s", tmp_path / "p.json"
    write_sdpa(diagonal_sdp(), path)
    assert command_line(["prove", str(path), "--save", str(saved)]) == 0
    assert "optimum in" in capsys.readouterr().out
    assert command_line(["check", str(saved), str(path), "--exact"]) == 0
    assert command_line(["prove", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert data["status"] == "optimum"
    assert data["lower"] <= 1.0 <= data["upper"]
    write_sdpa(dataclasses.replace(diagonal_sdp(), c=np.array([2.0])), path)
    assert command_line(["check", str(saved), str(path)]) == 1
    assert command_line(["prove", str(tmp_path / "none.dat-s")]) == 2


@pytest.mark.parametrize("name", ["truss1", "truss4", "infp1", "infd1", "control1"])
def test_sdplib(name, data_dir):
    sdp = read_sdpa(data_dir / "sdplib" / f"{name}.dat-s")
    result = lmikit.prove(sdp, lmikit.solvers.Clarabel(chordal=False))
    wanted = {"infp1": "infeasible", "infd1": "unbounded"}.get(name, "optimum")
    assert result.status == wanted, result.reasons
    if wanted == "optimum":
        assert result.width < 1e-5
