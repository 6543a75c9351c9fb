"""Slope bounds of activations: proven on the whole line, obeyed with zero tolerance, named as torch does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmikit import InputError
from lmikit.network import (
    CELU,
    ELU,
    GELU,
    SELU,
    Abs,
    Activation,
    Atan,
    Cos,
    Erf,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSigmoid,
    Mish,
    Network,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Sin,
    Slopes,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    resolve_activation,
)
from lmikit.network._activations import ACTIVATIONS

INSTANCES = (
    Identity(),
    ReLU(),
    *(LeakyReLU(s) for s in (0.01, -0.5, 0.0, 1.0, 1.7)),
    *(PReLU(w) for w in (0.25, -2.0, 3.0)),
    *(ELU(a) for a in (1.0, 0.3, 2.5, 0.0, -0.7)),
    *(Softplus(b) for b in (1.0, 0.1, 30.0)),
    Tanh(),
    Sigmoid(),
    GELU(),
    GELU("tanh"),
    SiLU(),
    Mish(),
    Hardswish(),
    Hardtanh(),
    Hardtanh(-0.5, 2.0),
    Hardtanh(1.0, 3.0),
    Abs(),
    Sin(),
    ReLU6(),
    SELU(),
    *(CELU(a) for a in (1.0, 0.3, 2.0)),
    Softsign(),
    Hardsigmoid(),
    LogSigmoid(),
    *(Softshrink(a) for a in (0.5, 0.0)),
    Tanhshrink(),
    Cos(),
    Atan(),
    Erf(),
)
KINKS = {"relu": (0,), "leaky_relu": (0,), "prelu": (0,), "elu": (0,), "abs": (0,), "hardswish": (-3, 3)} | {
    "relu6": (0, 6),
    "selu": (0,),
    "hardsigmoid": (-3, 3),
}


def label(activation: Activation) -> str:
    return f"{activation.name}-{'-'.join(map(str, activation.parameters().values()))}"


def kinks(activation: Activation) -> tuple[float, ...]:
    if isinstance(activation, Hardtanh):
        return (activation.min_val, activation.max_val)
    if isinstance(activation, Softshrink):
        return (-activation.lambd, activation.lambd)
    return KINKS.get(activation.name, ())


def exact(activation: Activation, x, mp):
    """phi(x) by its definition, in mpmath's precision."""
    p = {k: mp.mpf(v) if isinstance(v, float) else v for k, v in activation.parameters().items()}
    sigmoid = lambda t: 1 / (1 + mp.exp(-t))  # noqa: E731
    match activation.name:
        case "identity":
            return x
        case "relu":
            return max(x, mp.mpf(0))
        case "leaky_relu":
            return x if x >= 0 else p["negative_slope"] * x
        case "prelu":
            return x if x >= 0 else p["weight"] * x
        case "elu":
            return x if x > 0 else p["alpha"] * mp.expm1(x)
        case "softplus":
            return mp.log1p(mp.exp(p["beta"] * x)) / p["beta"]
        case "tanh":
            return mp.tanh(x)
        case "sigmoid":
            return sigmoid(x)
        case "gelu" if activation.approximate == "none":
            return x * mp.ncdf(x)
        case "gelu":
            return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(44715) / 10**6 * x**3)))
        case "silu":
            return x * sigmoid(x)
        case "mish":
            return x * mp.tanh(mp.log1p(mp.exp(x)))
        case "hardswish":
            return x * min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6
        case "hardtanh":
            return min(max(x, p["min_val"]), p["max_val"])
        case "abs":
            return abs(x)
        case "sin":
            return mp.sin(x)
        case "relu6":
            return min(max(x, mp.mpf(0)), mp.mpf(6))
        case "selu":
            s, a = mp.mpf(1.0507009873554804934193349852946), mp.mpf(1.6732632423543772848170429916717)
            return s * x if x > 0 else s * a * mp.expm1(x)
        case "celu":
            return x if x > 0 else p["alpha"] * mp.expm1(x / p["alpha"])
        case "softsign":
            return x / (1 + abs(x))
        case "hardsigmoid":
            return min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6
        case "logsigmoid":
            return -mp.log1p(mp.exp(-x))
        case "softshrink":
            return x - min(max(x, -p["lambd"]), p["lambd"])
        case "tanhshrink":
            return x - mp.tanh(x)
        case "cos":
            return mp.cos(x)
        case "atan":
            return mp.atan(x)
        case "erf":
            return mp.erf(x)
    raise AssertionError(f"no definition of {activation.name} in this test")


@pytest.fixture(scope="module")
def mp():
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(80):
        yield mpmath


NUMBERS = st.one_of(
    st.floats(-12.0, 12.0, allow_subnormal=False),
    st.sampled_from(
        (0.0, 3.0, -3.0, 1.0, -1.0, 0.5, math.sqrt(2.0), -math.sqrt(2.0), 2.3993572805154677, 2.0**-30)
    ),
)


def test_every_registered_activation_is_tested():
    assert {a.name for a in INSTANCES} | {"slopes"} == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", INSTANCES, ids=label)
def test_difference_quotients_lie_in_the_bounds(activation, mp):
    alpha, beta = (float(b) for b in activation.bounds())

    @given(NUMBERS, st.one_of(NUMBERS, st.integers(-45, 0).map(lambda k: 2.0**k)))
    def law(a, other):
        with mp.workdps(80):
            a_, b_ = mp.mpf(a), mp.mpf(a) + mp.mpf(other)
            if a_ == b_:
                return
            quotient = (exact(activation, a_, mp) - exact(activation, b_, mp)) / (a_ - b_)
            assert mp.mpf(alpha) <= quotient <= mp.mpf(beta)

    law()


@pytest.mark.parametrize("activation", INSTANCES, ids=label)
def test_values_and_derivatives_are_those_of_the_definition(activation, mp):
    points = np.array(
        [-700.0, -39.5, -8.0, -2.9, -1.3, -0.4, -1e-9, 1e-9, 0.6, 1.7, 2.9, 3.5, 9.0, 41.0, 700.0]
    )
    values, slopes = activation(points), activation.derivative(points)
    for x, value, slope in zip(points, values, slopes, strict=True):
        x_ = mp.mpf(float(x))
        assert abs(exact(activation, x_, mp) - mp.mpf(float(value))) <= 1e-14 * (1 + abs(x_))
        assert (
            abs(mp.diff(lambda t: exact(activation, t, mp), x_, h=mp.mpf(10) ** -25) - float(slope)) <= 1e-12
        )
    with np.errstate(over="ignore"):
        assert np.isfinite(activation(np.array([-1e200, 1e200]))).all()
        assert np.isfinite(activation.derivative(np.array([-1e200, 1e200]))).all()


@pytest.mark.parametrize("activation", INSTANCES, ids=label)
def test_derivative_is_nan_at_kinks_only(activation):
    smooth = np.nextafter(0.1, 1.0) + np.linspace(-5.0, 5.0, 101)
    assert not np.isnan(activation.derivative(smooth)).any()
    for kink in kinks(activation):
        left, right = activation.derivative(np.array([kink - 1e-9, kink + 1e-9]))
        at = activation.derivative(np.array([float(kink)]))[0]
        assert np.isnan(at) if abs(left - right) > 1e-6 else True


@pytest.mark.parametrize("activation", INSTANCES, ids=label)
def test_derivatives_lie_in_the_bounds(activation):
    alpha, beta = activation.bounds()
    slopes = activation.derivative(np.random.default_rng(0).normal(scale=3.0, size=10_000))
    assert slopes.min() >= alpha - 4e-16
    assert slopes.max() <= beta + 4e-16


TORCH = {
    "leaky_relu": lambda F, a, x: F.leaky_relu(x, a.negative_slope),
    "prelu": lambda F, a, x: F.prelu(x, x.new_tensor([a.weight])),
    "elu": lambda F, a, x: F.elu(x, a.alpha),
    "softplus": lambda F, a, x: F.softplus(x, a.beta),
    "gelu": lambda F, a, x: F.gelu(x, approximate=a.approximate),
    "hardtanh": lambda F, a, x: F.hardtanh(x, a.min_val, a.max_val),
    "abs": lambda F, a, x: x.abs(),
    "sin": lambda F, a, x: x.sin(),
    "identity": lambda F, a, x: x,
    "celu": lambda F, a, x: F.celu(x, a.alpha),
    "softshrink": lambda F, a, x: F.softshrink(x, a.lambd),
    "cos": lambda F, a, x: x.cos(),
    "atan": lambda F, a, x: x.atan(),
    "erf": lambda F, a, x: x.erf(),
}


@pytest.mark.parametrize("activation", INSTANCES, ids=label)
def test_values_agree_with_torch(activation):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    points = np.concatenate([np.linspace(-30.0, 30.0, 997), [0.0, 3.0, -3.0, 1.0]])
    call = TORCH.get(activation.name, lambda F, a, x: getattr(F, a.name)(x))
    expected = call(functional, activation, torch.from_numpy(points)).numpy()
    cut = 3e-9 / activation.beta if isinstance(activation, Softplus) else 0.0  # torch's threshold
    np.testing.assert_allclose(activation(points), expected, rtol=1e-13, atol=1e-14 + cut)


def test_bounds_match_the_known_figures():
    known = {
        "relu": (0, 1), "tanh": (0, 1), "sigmoid": (0, 0.25), "softplus": (0, 1), "abs": (-1, 1),
        "sin": (-1, 1), "gelu": (-0.1289041, 1.1289041),
        "silu": (-0.0998393, 1.0998393), "mish": (-0.1125261, 1.0884982),
        "hardswish": (-0.5, 1.5), "hardtanh": (0, 1), "elu": (0, 1), "identity": (1, 1),
        "leaky_relu": (0.01, 1),
    }  # fmt: skip
    for name, pair in known.items():
        np.testing.assert_allclose(resolve_activation(name).bounds(), pair, atol=6e-8)
    np.testing.assert_allclose(GELU("tanh").bounds(), (-0.1289931, 1.1289931), atol=6e-8)


def test_parameters_outside_zero_one_widen_the_bounds():
    assert LeakyReLU(1.7).bounds() == (1.0, 1.7)
    assert LeakyReLU(-0.5).bounds() == (-0.5, 1.0)
    assert ELU(2.5).bounds() == (0.0, 2.5)
    assert ELU(-0.7).bounds() == (-0.7, 1.0)
    low, high = PReLU([0.25, -1.0, 2.0]).bounds()
    np.testing.assert_array_equal(low, [0.25, -1.0, 1.0])
    np.testing.assert_array_equal(high, [1.0, 1.0, 2.0])


@pytest.mark.parametrize("name", ["swish", "ReLU", "snake", "", "softmax", None, 3, [0.0, 1.0]])
def test_unknown_activations_are_refused(name):
    with pytest.raises(InputError, match="has no known slope bounds"):
        resolve_activation(name)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resolve_activation("prelu"), r"needs parameters; pass an instance: PReLU\(weight\)"),
        (lambda: resolve_activation("slopes"), r"pass an instance: Slopes\(alpha, beta\)"),
        (lambda: resolve_activation(ReLU), "expected an instance"),
        (lambda: LeakyReLU(math.nan), "NaN or infinity"),
        (lambda: LeakyReLU("0.1"), "dtype"),
        (lambda: LeakyReLU([0.1, 0.2]), "expected one number"),
        (lambda: PReLU([[0.1], [0.2]]), "one per neuron"),
        (lambda: PReLU([]), "one per neuron"),
        (lambda: ELU(math.inf), "NaN or infinity"),
        (lambda: Softplus(0.0), "expected beta > 0"),
        (lambda: Softplus(-1.0), "expected beta > 0"),
        (lambda: GELU("exact"), "expected 'none' or 'tanh'"),
        (lambda: Hardtanh(1.0, 1.0), "expected min_val < max_val"),
        (lambda: Slopes(1.0, 0.0), "expected alpha <= beta"),
        (lambda: Slopes([0.0, 0.5], [1.0, 0.4]), "expected alpha <= beta"),
        (lambda: Slopes([0.0, 0.5], [1.0, 1.0, 1.0]), "2 entries"),
        (lambda: Slopes(0.0, math.inf), "NaN or infinity"),
        (lambda: Slopes(1j, 2.0), "complex"),
        (lambda: PReLU([0.1, 0.2])(np.zeros((3, 3))), "one per neuron"),
        (lambda: Slopes(0, 1)(np.zeros(3)), "a class of functions"),
        (lambda: Slopes(0, 1).derivative(np.zeros(3)), "a class of functions"),
        (
            lambda: Network.from_arrays([np.eye(3)] * 2, activation=PReLU([0.1, 0.2])),
            "layer 0: alpha has shape",
        ),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_parameters_per_neuron_follow_the_axis():
    weight = np.array([0.1, -0.2, 3.0])
    v = np.array([[-1.0, -2.0], [-1.0, 2.0], [-4.0, 0.5]])
    expected = np.where(v >= 0, v, weight[:, None] * v)
    np.testing.assert_array_equal(PReLU(weight)(v, axis=0), expected)
    np.testing.assert_array_equal(PReLU(weight)(v.T), expected.T)
    kept = PReLU(weight).restricted(np.array([2, 0]))
    np.testing.assert_array_equal(kept.weight, [3.0, 0.1])
    assert Slopes(0.0, weight + 1.0).restricted(np.array([1])).beta == 0.8
    assert ReLU().restricted(np.array([1])).name == "relu"
