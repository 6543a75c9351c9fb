"""Random proposals near the edge of what is true: no proof may hold where samples refute it."""

import itertools
import json

import numpy as np
import pytest

import lmikit
from lmikit import Network, Witness
from lmikit.certificates import verify
from lmikit.certificates.point import CURVE_TERMS
from lmikit.network import ELU, GELU, Hardswish, Hardtanh, Mish, Sigmoid, SiLU, Slopes, Softplus, Tanh

CURVED = (Tanh(), Sigmoid(), GELU(), GELU("tanh"), SiLU(), Softplus(7.3), ELU(-0.7), ELU(2.5), Mish())
CURVED += (Hardtanh(-0.2, 5.0), Hardswish(), Softplus(0.01))
_AWAY = 10.0 ** np.linspace(-8, 8, 1001)
GRID = np.unique(np.concatenate([np.linspace(-60, 60, 8001), np.linspace(-3, 3, 8001), _AWAY, -_AWAY]))


def random_chain(rng):
    """Weights with zeros, equal rows and distant scales; slopes of every sign, some with alpha = beta."""
    sizes = [int(n) for n in rng.integers(1, 4, rng.integers(2, 6))]
    weights = []
    for a, b in itertools.pairwise(sizes):
        w = rng.standard_normal((b, a)) * (rng.random((b, a)) > 0.2)
        if b > 1 and rng.random() < 0.2:
            w[1] = w[0]
        weights.append(np.ldexp(w, int(rng.integers(-60, 60))) if rng.random() < 0.3 else w)
    slopes = []
    for n in sizes[1:-1]:
        alpha = rng.choice([0.0, 0.0, -1.0, -0.3, 0.2, 1.0], n)
        beta = np.maximum(alpha, rng.choice([0.0, 1.0, 0.2, -0.3, 2.0], n))
        slopes.append(Slopes(alpha, np.where(rng.random(n) < 0.4, alpha, beta)))
    return Network.from_arrays(weights, None, slopes)


def largest_corner(network):
    """max ||W_L D_L .. D_1 W_0||_2 over diagonals of extreme slopes, which some function attains."""
    ends = [itertools.product(*map(set, zip(a, b, strict=True))) for a, b in network.slopes]
    best = 0.0
    for diagonals in itertools.islice(itertools.product(*ends), 2048):
        product = network.weights[0]
        for d, w in zip(diagonals, network.weights[1:], strict=True):
            product = w @ (np.array(d)[:, None] * product)
        best = max(best, float(np.linalg.norm(product, 2)))
    return best


def attack_a_chain(seed, tmp_path):
    rng = np.random.default_rng(seed)
    network = random_chain(rng)
    true = largest_corner(network) * (1.0 - 1e-12)
    kind = "layerwise" if rng.random() < 0.2 else "lipsdp"
    sizes = network.dims[1:-1] if kind == "lipsdp" else (1,) * len(network.layers)
    multipliers = tuple(10.0 ** rng.uniform(-3, 3, n) for n in sizes)
    certificate = verify(network, Witness(kind, 1.0, multipliers))
    assert certificate.bound >= true
    assert lmikit.check(certificate, network)
    assert lmikit.check(certificate, network, exact=True)
    data = json.loads(certificate.to_text())
    for factor in (0.999999, 0.7, 0.1):
        smaller = certificate.bound * factor
        data["claim"].update(L=smaller.hex(), rho=(certificate.rho * factor**2).hex())
        path = tmp_path / "smaller.json"
        path.write_text(json.dumps(data))
        for exact in (False, True):
            assert smaller >= true or not lmikit.check(path, network, exact=exact)


def test_no_multipliers_prove_less_than_a_corner_of_the_slopes_attains(tmp_path):
    for seed in range(40):
        attack_a_chain(seed, tmp_path)


@pytest.mark.slow
def test_many_multipliers_prove_no_less_than_a_corner_of_the_slopes_attains(tmp_path):
    for seed in range(1000, 3000):
        attack_a_chain(seed, tmp_path)


def attack_curves(seed, neurons=30):
    """How many inequalities near touching were proven; none that a sample on the line refutes."""
    rng = np.random.default_rng(seed)
    phi = CURVED[rng.integers(len(CURVED))]
    point = rng.standard_normal(neurons) * rng.choice([0.1, 1.0, 5.0, 30.0])
    value, slope = phi(point), np.nan_to_num(phi.derivative(point), nan=0.5)
    slope = slope + (rng.random(neurons) < 0.3) * rng.standard_normal(neurons) * 1e-6
    step, rise = GRID - point[:, None], phi(GRID) - value[:, None]
    off = np.abs(step) > 1e-3
    with np.errstate(all="ignore"):
        if rng.random() < 0.5:
            sign = rng.choice([1.0, -1.0])
            bend = np.where(off, sign * (rise - slope[:, None] * step) / step**2, 0.0).max(axis=1)
            bend *= 1.0 + rng.choice([0.0, 1e-9, -1e-6, -1e-3, 1e-3, 0.1], neurons)
            moved = sign * rng.choice([0.0, 1e-12, 1e-9, 1e-6, 1e-3, -1e-9], neurons)
            term = CURVE_TERMS["curve_above" if sign > 0 else "curve_below"]
            parameters = {"point": point, "value": value + moved, "slope": slope, "curvature": bend}
        else:
            quotient = np.where(off, rise / step, slope[:, None])
            low, high = np.minimum(quotient.min(axis=1), slope), np.maximum(quotient.max(axis=1), slope)
            low = low + rng.choice([0.0, 1e-9, 1e-6, 1e-3, -1e-9], neurons)
            slack = rng.choice([0.0, 1e-12, 1e-9, 1e-6, 1e-3], neurons)
            term = CURVE_TERMS["curve_chord"]
            parameters = {"point": point, "value": value, "low": low, "high": high, "slack": slack}
    good = term.proven(phi, parameters)
    v, w = GRID - point[:, None], phi(GRID)
    p = {name: array[:, None] for name, array in parameters.items()}
    w = w - p["value"]
    if term.kind == "curve_chord":
        found, size = (w - p["low"] * v) * (p["high"] * v - w) + p["slack"], (np.abs(w) + np.abs(v)) ** 2
    else:
        side = 1.0 if term.kind == "curve_above" else -1.0
        bent = p["curvature"] * v**2
        found, size = side * (p["slope"] * v - w) + bent, np.abs(w) + np.abs(v) + bent
    refuted = (found < -1e-12 * (1.0 + size + np.abs(p["value"]))).any(axis=1)
    assert not (good & refuted).any(), (phi, term.kind, np.flatnonzero(good & refuted))
    return int(good.sum())


def test_no_curve_inequality_is_proven_where_a_sample_refutes_it():
    assert sum(attack_curves(seed) for seed in range(12)) >= 10


@pytest.mark.slow
def test_many_curve_inequalities_are_not_proven_where_a_sample_refutes_them():
    assert sum(attack_curves(seed) for seed in range(100, 600)) >= 1000
