"""from_torch on trained models: same outputs, same bound, refusal by name."""

import numpy as np
import pytest
from adapters_helpers import assert_same_bound, assert_same_function, importorskip, training_data

from lmikit import InputError
from lmikit.adapters import from_torch

torch = importorskip("torch")
nn = torch.nn


@pytest.fixture(scope="module", autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def trained(model, steps=25):
    x, y = (torch.as_tensor(a) for a in training_data())
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def outputs(model, x):
    with torch.no_grad():
        return model(x).numpy()


def test_a_trained_classifier():
    model = trained(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)))
    network = from_torch(model)
    x = torch.randn(50, 6)
    assert_same_function(network, outputs(model, x), x)
    assert_same_bound(network, [model[k].weight.detach().numpy() for k in (0, 2, 4)])
    assert network.layers[0].linear.source_dtype == "F32"


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6, 10), nn.BatchNorm1d(10), nn.LeakyReLU(0.2))
        self.body = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Linear(10, 7), nn.PReLU(7)))
        self.tail = nn.Linear(7, 3, bias=False)

    def forward(self, x):
        x = self.body(self.head(x.view(x.size(0), -1)))
        x = nn.functional.dropout(torch.tanh(x), 0.5, self.training)
        return self.tail(nn.functional.gelu(x, approximate="tanh").reshape(-1, 7)).sigmoid()


def test_nested_modules_functions_and_folded_normalisation():
    model = trained(Nested(), steps=60)
    network = from_torch(model)
    x = torch.randn(40, 6)
    assert_same_function(network, outputs(model, x), x)
    assert [layer.activation.name for layer in network.layers] == [
        "leaky_relu", "prelu", "tanh", "gelu", "sigmoid", "identity",
    ]  # fmt: skip


MODULES = [
    nn.ReLU6(), nn.ELU(0.7), nn.Softplus(2.0), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(),
    nn.Mish(), nn.Hardswish(), nn.Hardtanh(-0.5, 2.0), nn.PReLU(init=0.4), nn.LeakyReLU(1.5),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=lambda m: f"{type(m).__name__}")
def test_every_activation_module(module):
    model = nn.Sequential(nn.Linear(6, 9), module, nn.Linear(9, 2), module).double().eval()
    x = 3 * torch.randn(60, 6, dtype=torch.float64)
    assert_same_function(from_torch(model), outputs(model, x), x, rounding=1e-8)


F = nn.functional
FUNCTIONS = [
    torch.relu, F.relu, F.relu6, torch.tanh, F.tanh, torch.sigmoid, F.sigmoid, torch.abs, torch.sin, F.silu,
    F.mish, F.leaky_relu, F.elu, F.softplus, F.gelu, F.hardswish, F.hardtanh,
]  # fmt: skip


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight, self.bias = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(5))

    def forward(self, x):
        return self.function(F.linear(x, self.weight, self.bias))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_activation_function(function):
    model = Functional(function).double().eval()
    x = 3 * torch.randn(60, 6, dtype=torch.float64)
    assert_same_function(from_torch(model), outputs(model, x), x, rounding=1e-8)


def test_narrow_types_are_cast_exactly():
    for dtype in (torch.float16, torch.bfloat16):
        model = nn.Sequential(nn.Linear(4, 3)).to(dtype)
        assert np.array_equal(from_torch(model).weights[0], model[0].weight.detach().float().numpy())


def test_parametrised_weights_are_read_in_evaluation_mode():
    spectral_norm = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(spectral_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 3))
    with pytest.raises(InputError, match=r"layer 0 is a parametrised layer in training mode"):
        from_torch(model)
    model = trained(model)
    x = torch.randn(30, 6)
    assert_same_function(from_torch(model), outputs(model, x), x)
    assert np.linalg.norm(from_torch(model).weights[0], 2) < 1.1


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return x + self.fc(x)


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        self.a(x)
        return self.b(x)


class Subclassed(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def hooked():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_forward_hook(lambda module, given, result: 3 * result)
    return model


def replaced():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].forward = lambda x: 3 * x
    return model


REFUSED = {
    "conv": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), r"layer 0 is a torch.*Conv2d"),
    "attention": (
        nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2).eval()),
        r"layer 1 is a .*Tra",
    ),
    "norm": (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), r"layer 1 is a .*LayerNorm"),
    "unknown activation": (nn.Sequential(nn.Linear(4, 4), nn.SELU()), r"layer 1 is a .*SELU"),
    "dropout": (nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1)), r"layer 1 is a dropout in training mode"),
    "batch norm": (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), r"layer 1 is a BatchNorm1d"),
    "batch statistics": (
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval(),
        r"layer 1 is a BatchNorm1d",
    ),
    "softmax": (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), r"layer 1 is a softmax; leave it off"),
    "softplus": (nn.Sequential(nn.Linear(4, 4), nn.Softplus(1.0, 1.0)), r"softplus has threshold 1"),
    "flatten": (nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)), r"layer 0 is a flattening of dimensions 0"),
    "residual": (Residual(), r"_operator.*add"),
    "branch": (Split(), r"layer b is not on a chain"),
    "subclass": (nn.Sequential(Subclassed(2, 2)), r"layer \S*mul"),
    "decision": (Decides(), r"cannot be traced"),
    "hook": (hooked(), r"layer 0 is torch.*Linear with forward hooks"),
    "replaced": (replaced(), r"layer 0 is torch.*Linear with a replaced forward"),
    "old norm": (nn.Sequential(nn.Bilinear(2, 2, 2)), r"layer 0 is a .*Bilinear"),
    "no module": (lambda x: x, r"expected a torch.nn.Module"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_by_name(name):
    model, pattern = REFUSED[name]
    with pytest.raises(InputError, match=pattern):
        from_torch(model)


def test_a_softmax_at_the_end_is_left_off_on_request():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.LogSoftmax(1)).eval()
    x = torch.randn(20, 6)
    assert_same_function(from_torch(model, logits=True), outputs(model[:3], x), x)
    with pytest.raises(InputError, match="follows the softmax"):
        from_torch(nn.Sequential(model, nn.ReLU()), logits=True)
