"""from_jax: flax, equinox and plain functions with convolutions and skips, against JAX; refusals by name."""

import functools

import numpy as np
import pytest
from adapters_helpers import importorskip
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import Graph, InputError, Network
from lmikit.adapters import from_jax

jax = importorskip("jax")
jnp, lax = jax.numpy, jax.lax


def assert_same(function, shape, kind=None, rtol=1e-5, double=True):
    """Inputs of sizes 0.1 to 10, one sample each."""
    read = from_jax(function, jnp.zeros(shape))
    assert kind is None or type(read) is kind
    rng = np.random.default_rng(0)
    spread, compiled = 0.0, jax.jit(lambda v: function(v))
    for size in (0.1, 1.0, 10.0):
        x = (size * rng.standard_normal(shape)).astype(np.float32)
        with jax.enable_x64(double):
            theirs = np.asarray(compiled(jnp.asarray(x, float)), np.float64).reshape(-1)
        ours = np.asarray(read(x.astype(np.float64).reshape(-1))).reshape(-1)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(1.0, np.abs(theirs).max()))
        spread = max(spread, np.ptp(theirs))
    assert spread > 1e-3 or theirs.size == 1
    return read


def matrix(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[-1]), jnp.float32)


def linen_model(module, shape, seed=0):
    """A linen module with arrays of its shapes; the variances among them are positive."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(seed), jnp.zeros(shape))
    variables = jax.tree.map(
        lambda v: jnp.asarray(rng.uniform(0.2, 1.0, v.shape) * rng.choice([-1, 1], v.shape), v.dtype), shapes
    )
    if "batch_stats" in variables:
        variables = {**variables, "batch_stats": jax.tree.map(jnp.abs, variables["batch_stats"])}
    return lambda x: module.apply(variables, x)


@pytest.mark.slow
def test_a_residual_linen_network():
    nn = importorskip("flax.linen")

    class Block(nn.Module):
        features: int
        strides: int

        @nn.compact
        def __call__(self, x):
            y = nn.Conv(self.features, (3, 3), self.strides, use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.Conv(self.features, (3, 3))(y)
            if x.shape != y.shape:
                x = nn.Conv(self.features, (1, 1), self.strides)(x)
            return nn.relu(x + nn.BatchNorm(use_running_average=True)(y))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Block(4, 2)(Block(3, 1)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.avg_pool(x, (2, 2), (1, 1), "SAME")
            x = nn.gelu(nn.Dense(5)(x.reshape(x.shape[0], -1)))
            return nn.softmax(nn.Dense(3)(x))

    model = linen_model(Net(), (1, 8, 6, 2))
    with pytest.raises(InputError, match="softmax; leave it off"):
        from_jax(model, jnp.zeros((1, 8, 6, 2)))
    read = from_jax(model, jnp.zeros((1, 8, 6, 2)), logits=True)
    x = np.random.default_rng(1).standard_normal((1, 8, 6, 2)).astype(np.float32)
    theirs = jax.jit(model)(x)[0]
    np.testing.assert_allclose(jax.nn.softmax(read(x.reshape(-1))), theirs, atol=1e-5)
    assert isinstance(read, Graph)
    bound = lmikit.lipschitz(read, lmikit.SpectralProduct()).bound
    assert bound >= lmikit.lower_bound(read, time_limit=2.0).value > 0.0


@pytest.mark.slow
def test_linen_convolutions_and_poolings_in_a_chain():
    nn = importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.leaky_relu(nn.Conv(4, (3, 3), 2, padding="SAME", feature_group_count=2)(x), 0.2)
            x = nn.silu(nn.ConvTranspose(4, (3, 3), (2, 2))(x))
            x = nn.tanh(nn.Conv(6, (3, 2), kernel_dilation=2, padding="VALID")(x))
            x = nn.avg_pool(x, (3, 3), (1, 2), ((1, 1), (0, 1)), count_include_pad=False)
            return nn.Dense(3)(nn.softplus(x).mean(axis=(1, 2)))

    assert_same(linen_model(Net(), (1, 8, 9, 2)), (1, 8, 9, 2), Network)


@pytest.mark.slow
def test_nnx_and_equinox_modules():
    nnx, eqx = importorskip("flax.nnx"), importorskip("equinox")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.norm.mean[...], self.norm.var[...] = matrix(4), 1.0 + matrix(4) ** 2
            self.inner, self.out = nnx.Linear(64, 64, rngs=rngs), nnx.Linear(64, 3, rngs=rngs)
            self.drop, self.slopes = nnx.Dropout(0.5, rngs=rngs), nnx.PReLU()

        def __call__(self, x):
            x = self.drop(self.slopes(self.norm(self.conv(x)))).reshape(x.shape[0], -1)
            return self.out(x + nnx.elu(self.inner(x)))

    model = Net(nnx.Rngs(0))
    model.eval()
    assert_same(model, (1, 8, 8, 2), Graph)
    keys = jax.random.split(jax.random.key(0), 4)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(2, 4, 3, padding=1, key=keys[0]),
            eqx.nn.Lambda(eqx.nn.PReLU(0.3)),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.MaxPool2d(3, 1, padding=1),
            eqx.nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1, groups=2, key=keys[1]),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(200, 3, key=keys[2]),
        ]
    )
    assert_same(model, (2, 8, 8), Graph, double=False)
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, axis_name="batch", mode="ema")
    norm = eqx.nn.inference_mode(norm)
    signal = eqx.nn.Conv1d(2, 4, 3, key=keys[3])
    assert_same(lambda x: jax.nn.relu(norm(signal(x), state)[0]), (2, 7), Network, double=False)


ACTIVATIONS = {
    "relu": jax.nn.relu, "relu6": jax.nn.relu6, "leaky": lambda x: jax.nn.leaky_relu(x, 0.3),
    "prelu": lambda x: jnp.where(x >= 0, x, matrix(5) * x), "where": lambda x: jnp.where(x > 0, x, 0),
    "elu": lambda x: jax.nn.elu(x, 0.7), "celu": lambda x: jax.nn.celu(x, 1.5), "selu": jax.nn.selu,
    "gelu": jax.nn.gelu, "gelu exact": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu, "mish": jax.nn.mish, "softplus": jax.nn.softplus, "soft_sign": jax.nn.soft_sign,
    "hard_tanh": jax.nn.hard_tanh, "hard_swish": jax.nn.hard_swish, "hard_sigmoid": jax.nn.hard_sigmoid,
    "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "log_sigmoid": jax.nn.log_sigmoid, "sin": jnp.sin,
    "clip": lambda x: jnp.clip(x, -0.5, 0.7), "clamp": lambda x: lax.clamp(-0.5, x, 0.7), "abs": jnp.abs,
    "erf": jax.scipy.special.erf, "erfc": jax.scipy.special.erfc, "cos": jnp.cos, "atan": jnp.arctan,
    "maximum": lambda x: jnp.maximum(0.3, x), "minimum": lambda x: jnp.minimum(x, -x / 3),
    "jitted": lambda x: jax.jit(lambda v: jax.nn.elu(2 * v))(x), "remat": jax.checkpoint(jax.nn.gelu),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name):
    w, v = matrix(5, 4), matrix(3, 5, seed=1)
    assert_same(lambda x: v @ ACTIVATIONS[name](w @ x + 0.1), (4,))


def test_what_looks_like_an_activation_is_read_as_what_it_is():
    """Each differs from a pattern in one constant or operand."""
    near = {
        "elu of another": lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.where(x > 0, 0.0, -x))),
        "softplus of base 2": lambda x: jnp.where(x > 0, x, jnp.log1p(jnp.exp(x))),
        "jump": lambda x: jnp.where(x > 0, x, 1.0),
        "other gelu": lambda x: 0.5 * x * (1.0 + jnp.tanh(0.7 * (x + 0.05 * x**3))),
        "threshold": lambda x: jnp.where(x > 0.5, x, 0.1 * x),
        "two arguments": lambda x: jnp.where(x[::-1] >= 0, x, 0.1 * x),
    }
    for function in near.values():
        with pytest.raises(InputError, match=r"a JAX (select_n|mul|integer_pow|exp|expm1|log1p)"):
            from_jax(function, jnp.ones(3))


MOVES = {
    "transposed product": (lambda x: matrix(2, 3) @ x.reshape(3, 4), (12,)),
    "from the right": (lambda x: x @ matrix(4, 2), (3, 4)),
    "batched": (lambda x: jnp.einsum("bij,bjk->bik", matrix(2, 3, 4), x), (2, 4, 5)),
    "batched right": (lambda x: jnp.einsum("bij,bjk->kib", x, matrix(2, 3, 4)), (2, 5, 3)),
    "outer": (lambda x: jnp.einsum("i,jk->kij", x, matrix(2, 3)), (4,)),
    "slices": (lambda x: jnp.concatenate([x[:, 1:3], 2 * x[::-1, ::2]], axis=0), (3, 4)),
    "indices": (lambda x: x[jnp.array([2, 0, 2]), 1] - x[0, jnp.array([3, 1, 0])], (3, 4)),
    "written": (lambda x: x.at[1].set(3.0).at[0, 2].set(x[2, 2]), (3, 4)),
    "padding": (lambda x: lax.pad(x, 0.5, ((1, 2, 1), (-1, 0, 0))), (3, 4)),
    "edges": (lambda x: jnp.pad(x, 1, "edge"), (3, 4)),
    "stack": (lambda x: jnp.stack([x, -x]).swapaxes(0, 1), (4,)),
    "tiled": (lambda x: jnp.tile(x[:, None], (1, 2, 2)), (3, 4)),
    "mask": (lambda x: jnp.where(jnp.arange(4) > 1, x, 2 * x + 1), (3, 4)),
    "sums": (lambda x: x.sum(0) + x.mean(1)[:1] - x.max(0), (3, 4)),
    "extremes": (lambda x: jnp.minimum(x.min(1), x[:, 0] / 2), (3, 4)),
    "running": (lambda x: jnp.cumsum(x, 1) - jnp.cumsum(x[::-1], 0), (3, 4)),
    "windows": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 3), (1, 2), "SAME"), (4, 5)),
    "window sums": (lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2, 2), (1, 1, 1), "SAME"), (3, 4, 5)),
    "vmapped": (jax.vmap(lambda x: jax.nn.relu(matrix(2, 4) @ x)), (3, 4)),
    "constant inside": (lambda x: x * jax.nn.softmax(matrix(4)) - jnp.exp(matrix(4)), (4,)),
    "half": (lambda x: (x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x) @ matrix(4, 2), (4,)),
}


@pytest.mark.parametrize("name", MOVES)
def test_operations_that_move_and_add_entries(name):
    assert_same(*MOVES[name])


@settings(max_examples=8)
@given(st.data())
def test_convolutions_of_any_numbers(data):
    """Strides, paddings, dilations of either side, groups and any order of axes."""
    draw = lambda least, most: data.draw(st.integers(least, most))  # noqa: E731
    pair = lambda least, most: (draw(least, most), draw(least, most))  # noqa: E731
    groups, taps, lhs = draw(1, 2), pair(1, 3), data.draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
    strides, dilation = (1, 1) if lhs != (1, 1) else pair(1, 2), pair(1, 2)
    reach = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    pads = [(draw(0, r), draw(0, r)) for r in reach] if lhs != (1, 1) else [pair(0, 2), pair(0, 2)]
    spec = data.draw(st.sampled_from([("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC"), ("CHWN",) * 3]))
    spec = ("CHWN", "IHWO", "NHCW") if spec[0] == "CHWN" else spec
    sizes = {"N": 1, "C": 2 * groups, "H": draw(5, 7), "W": draw(5, 7)}
    kernel = {"O": 2 * groups, "I": 2, "H": taps[0], "W": taps[1]}
    weight = matrix(*(kernel[k] for k in spec[1]))
    convolve = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=pads, lhs_dilation=lhs,
        rhs_dilation=dilation, dimension_numbers=spec, feature_group_count=groups,
    )  # fmt: skip
    assert_same(lambda x: convolve(x, weight.astype(x.dtype)), tuple(sizes[k] for k in spec[0]))


REFUSED = {
    "product": (lambda x: x * x[::-1], r"JAX mul of two values; a product of values has no global"),
    "matrices": (lambda x: jnp.outer(x, x), r"JAX mul of two values|JAX dot_general of two values"),
    "kernel": (lambda x: x[None] @ x[:, None], r"JAX dot_general of two values"),
    "exp": (lambda x: jnp.exp(x), r"layer exp \d+ is a JAX exp; its slope grows without limit: return a"),
    "sign": (jnp.sign, r"JAX sign; it jumps"),
    "floor": (lambda x: 2 * jnp.floor(x), r"JAX floor; it jumps"),
    "step": (lambda x: (x > 0).astype(jnp.float32), r"it jumps"),
    "inner softmax": (lambda x: 2 * jax.nn.softmax(x), r"softmax; leave it off"),
    "norm": (lambda x: x / jnp.sqrt((x**2).sum()), r"JAX (div|square|sqrt|integer_pow)"),
    "sort": (jnp.sort, r"JAX sort; sorting is not read .*GraphBuilder"),
    "var": (lambda x: (x - jnp.var(x))[:3], r"JAX (square|integer_pow)"),
    "loop": (lambda x: lax.fori_loop(0, 3, lambda _, v: v / 2, x), r"JAX (scan|while); control flow"),
    "choice": (lambda x: lax.cond(x[0] > 0, lambda v: v, lambda v: -v, x), r"JAX cond; control flow"),
    "random": (lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), r"random numbers; trace"),
    "places": (lambda x: x[jnp.argmax(x)], r"JAX (dynamic_slice|argmax|gather|lt|select_n)"),
    "filled": (
        lambda x: jnp.take(x, jnp.array([0, 9]), mode="fill", fill_value=2.0),
        r"JAX gather of entries beyond those there are",
    ),
    "several": (lambda x: (x, x), r"returns 2 arrays; expected one"),
    "constant": (lambda x: jnp.ones(3), r"does not depend on its input"),
    "batch": (
        lambda x: lax.conv(x, matrix(1, 1, 1, 1), (1, 1), "SAME"),
        r"JAX conv_general_dilated of values of shape \(3, 1, 2, 2\).*one sample",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_by_name(name):
    function, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        from_jax(function, jnp.ones((3, 1, 2, 2) if name == "batch" else 3))


def test_what_is_no_function_or_example():
    with pytest.raises(InputError, match="example is list"):
        from_jax(lambda x: x, [1.0])
    with pytest.raises(InputError, match="one array of floats"):
        from_jax(lambda x: x, jnp.ones(3, int))
    with pytest.raises(InputError, match="function is dict"):
        from_jax({}, jnp.ones(3))


@pytest.mark.slow
def test_a_trained_mlp_reads_as_from_equinox_does():
    eqx = importorskip("equinox")
    model = eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(0))
    assert from_jax(model, jnp.zeros(6)).digest == lmikit.adapters.from_equinox(model).digest
