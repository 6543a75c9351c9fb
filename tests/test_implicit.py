"""Implicit networks: well posed and bounded by proof, equal to chains and graphs, refused when changed."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, LipSDP, NotCertified, OptionError, SolveFailed
from lmikit.certificates.graph import ImplicitCertificate, verify_implicit
from lmikit.network import LinearFractional, linear_fractional
from lmikit.testing import demo_network

SEEDS = st.integers(0, 10**6)


def contractive(seed, *, neurons=6, inputs=3, outputs=2, norm=0.7, slopes=(0.0, 1.0)):
    """w = phi(W w + U x), |W| < 1 against the slopes."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((neurons, neurons))
    W *= norm / np.linalg.norm(W, 2) / max(map(abs, slopes))
    alpha, beta = (np.full(neurons, s) for s in slopes)
    U, Y, direct = (
        rng.standard_normal(s) for s in ((neurons, inputs), (outputs, neurons), (outputs, inputs))
    )
    return LinearFractional(U, W, direct, Y, alpha, beta)


def outputs(form, x, phi):
    """y at the columns of x, by the fixed point."""
    w = np.zeros((form.neurons, x.shape[1]))
    for _ in range(400):
        w = phi(form.N_vx @ x + form.N_vw @ w)
    return form.N_yx @ x + form.N_yw @ w


@settings(max_examples=5)
@given(SEEDS, st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.1, 1.0)]))
def test_bounds_are_sound_below_the_formula_and_check_in_both_modes(seed, slopes):
    form = contractive(seed, slopes=slopes)
    certificate = lmikit.lipschitz(form)
    assert isinstance(certificate, ImplicitCertificate)
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 200))
    phi = {(0.0, 1.0): lambda v: np.maximum(v, 0.0), (-1.0, 1.0): np.abs}.get(
        slopes, lambda v: np.where(v > 0.0, v, 0.1 * v)
    )
    change = np.linalg.norm(outputs(form, x, phi) - outputs(form, y, phi), axis=0)
    assert (change <= certificate.bound * np.linalg.norm(x - y, axis=0) * (1.0 + 1e-12) + 1e-12).all()
    norms = {k: np.linalg.norm(getattr(form, k).toarray(), 2) for k in ("N_vx", "N_vw", "N_yx", "N_yw")}
    most = max(map(abs, slopes))
    formula = norms["N_yx"] + norms["N_yw"] * most * norms["N_vx"] / (1.0 - most * norms["N_vw"])
    assert certificate.bound <= formula * (1.0 + 1e-9)
    assert certificate.bound <= certificate.optimum_at_least * (1.0 + 1e-4)
    for exact in (False, True):
        found = lmikit.check(certificate, form, exact=exact)
        assert found.ok, found.reason


def test_a_chain_as_a_form_has_the_bound_of_the_chain():
    network = demo_network()
    found = lmikit.lipschitz(linear_fractional(network))
    assert found.bound == pytest.approx(lmikit.lipschitz(network).bound, rel=1e-5)


@settings(max_examples=5)
@given(SEEDS, st.floats(0.5, 10.0))
def test_a_bounded_equilibrium_network_has_its_gain(seed, gamma):
    """Revay, Wang, Manchester: W = I - P(G'G/(2 gamma) + P^-1 UU'P^-1/(2 gamma) + V'V + m I + S' - S)."""
    rng = np.random.default_rng(seed)
    n, inputs, out = 5, 3, 2
    G, U, V, S = (rng.standard_normal(s) for s in ((out, n), (n, inputs), (n, n), (n, n)))
    P = np.exp(rng.standard_normal(n))
    scaled = U / P[:, None]
    inner = (G.T @ G + scaled @ scaled.T) / (2.0 * gamma) + V.T @ V + 0.01 * np.eye(n) + S.T - S
    W = np.eye(n) - P[:, None] * inner
    form = LinearFractional(U, W, np.zeros((out, inputs)), G, np.zeros(n), np.ones(n))
    known = verify_implicit(form, gamma**2, gamma / P)
    assert known.bound <= gamma * (1.0 + 1e-6)
    assert lmikit.check(known, form, exact=True)
    assert lmikit.lipschitz(form).bound <= gamma * (1.0 + 1e-5)


def test_what_has_no_unique_solution_is_not_proven():
    """w = relu(2 w + x): no solution at x = 1, two at x = -1."""
    form = LinearFractional([[1.0]], [[2.0]], [[0.0]], [[1.0]], np.zeros(1), np.ones(1))
    with pytest.raises((SolveFailed, NotCertified)):
        lmikit.lipschitz(form)
    for t in (1e-3, 1.0, 1e3):
        with pytest.raises(NotCertified, match="not proven"):
            verify_implicit(form, 1e6, np.array([t]))


def test_every_mutation_is_refused(tmp_path):
    form = contractive(3)
    certificate = lmikit.lipschitz(form)
    path = tmp_path / "c.json"
    certificate.save(path)
    loaded = ImplicitCertificate.load(path, form)
    assert (loaded.bound, loaded.rho) == (certificate.bound, certificate.rho)
    text = path.read_text()

    def changed(*keys, value):
        data = json.loads(text)
        place = data
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place[keys[-1]]) if callable(value) else value
        return json.dumps(data)

    zeros = {"dtype": "F64", "data": "AAAAAAAA" * 8}
    for mutated in (
        changed("claim", "L", value=lambda x: (float.fromhex(x) * (1 - 1e-9)).hex()),
        changed("claim", "L", value="-0x1p+9"),
        changed("claim", "scope", value="local"),
        changed("proof", "rho", value=lambda x: (float.fromhex(x) * (1 - 1e-5)).hex()),
        changed("proof", "rho", value="-0x1p+0"),
        changed("proof", "multipliers", value=zeros),
        changed("network", "sha256", value="0" * 64),
        changed("network", "neurons", value=5),
        changed("version", value=True),
        changed("extra", value=1),
        text.replace('"claim"', '"clam"', 1),
        text.replace('"version"', '"version": 1, "version"', 1),
        text[: len(text) // 2],
    ):
        path.write_text(mutated)
        for exact in (False, True):
            assert not lmikit.check(path, form, exact=exact).ok
        with pytest.raises((InputError, NotCertified)):
            ImplicitCertificate.load(path, form)
    path.write_text(text)
    assert not lmikit.check(path, contractive(4))
    with pytest.raises(InputError, match="LinearFractional"):
        lmikit.check(path, demo_network())


def test_what_is_refused():
    form = contractive(0)
    with pytest.raises(TypeError, match="verify_implicit"):
        ImplicitCertificate(1.0, 1.0, np.ones(6), "", 0.0)
    with pytest.raises(InputError, match="multipliers for"):
        verify_implicit(form, 1.0, np.ones(3))
    with pytest.raises(InputError, match="not above 0"):
        verify_implicit(form, 1.0, np.zeros(6))
    with pytest.raises(NotCertified):
        verify_implicit(form, 1e-9, np.ones(6), repair=False)
    with pytest.raises(OptionError, match="l2 and global"):
        lmikit.lipschitz(form, norm=(1, 2))
    with pytest.raises(OptionError, match="need LipSDP"):
        lmikit.lipschitz(form, lmikit.SpectralProduct())
    with pytest.raises(InputError, match="no neurons"):
        lmikit.lipschitz(linear_fractional(lmikit.Network.from_arrays([[[1.0]]])))
    assert lmikit.lipschitz(form, LipSDP(tol=1e-4)).bound >= lmikit.lipschitz(form).bound * (1 - 1e-6)
