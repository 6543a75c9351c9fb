"""torch models with skips: the same outputs, in place only where it is safe, everything else refused."""

import numpy as np
import pytest

import lmikit
from lmikit import InputError
from lmikit.adapters import graph_from_torch
from lmikit.certificates.graph import verify_graph
from lmikit.graph import OneLipschitz

torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    def __init__(self, width, *, in_place=True):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.relu = nn.BatchNorm1d(width), nn.ReLU(inplace=in_place)
        self.drop = nn.Dropout()

    def forward(self, x):
        out = self.relu(self.first(x))
        out = self.drop(self.norm(self.second(out)))
        out += x
        return self.relu(out)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(7, 5)

    def forward(self, x):
        h = torch.cat([torch.tanh(self.first(x)), x], dim=1)
        y = self.second(h).relu()
        return torch.softmax(y - torch.nn.functional.leaky_relu(y, 0.1), dim=1)


@pytest.mark.parametrize("in_place", [True, False])
def test_residual_blocks_give_the_same_outputs_and_a_proven_bound(in_place):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), Block(4, in_place=in_place), Block(4, in_place=in_place), nn.Linear(4, 2)
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_()
    model = model.double().eval()
    graph = graph_from_torch(model, 3)
    x = np.random.default_rng(0).standard_normal((20, 3))
    expected = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(graph(x), expected, atol=1e-12)
    certificate = lmikit.lipschitz(graph)
    assert lmikit.lower_bound(graph, starts=16, steps=10).value <= certificate.bound


def test_concatenations_differences_and_a_softmax_left_off():
    torch.manual_seed(0)
    model = Dense().double().eval()
    graph = graph_from_torch(model, 3, logits=True)
    x = np.random.default_rng(0).standard_normal((20, 3))
    expected = model(torch.from_numpy(x)).detach().numpy()
    ours = np.exp(graph(x))
    np.testing.assert_allclose(ours / ours.sum(axis=1, keepdims=True), expected, atol=1e-12)
    with pytest.raises(InputError, match="logits=True"):
        graph_from_torch(model, 3)


class Changed(nn.Module):
    """relu_ changes x itself, under another name."""

    def __init__(self):
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x):
        return self.same(x).relu_() + x


class Product(nn.Module):
    def forward(self, x):
        return x * x


class Twice(nn.Module):
    def forward(self, x):
        return torch.add(x, x, alpha=2.0)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (Changed(), "in place"),
        (Product(), "without a counterpart"),
        (Twice(), "without a counterpart"),
        (nn.Sequential(nn.Conv1d(3, 3, 1)), "Conv1d"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "batch at hand"),
        (nn.Sequential(nn.Dropout()), "training mode"),
        (nn.Linear(4, 3), "expected \\(out, 3\\)"),
        (3, "torch.nn.Module"),
    ],
)
def test_what_is_not_read_is_refused(model, what):
    with pytest.raises(InputError, match=what):
        graph_from_torch(model, 3)


def almost_orthogonal(n, m):
    """AOL as training code has it: what is stored is W, what the layer uses W D."""

    class AlmostOrthogonal(torch.nn.Module):
        def forward(self, W):
            return W * (W.T @ W).abs().sum(1).rsqrt()

    linear = torch.nn.Linear(n, m)
    torch.nn.utils.parametrize.register_parametrization(linear, "weight", AlmostOrthogonal())
    return linear


def test_parametrised_layers_of_torch_prove_one():
    torch.manual_seed(0)
    layers = [almost_orthogonal(n, m) for n, m in ((4, 6), (6, 5), (5, 3))]
    stored, used = OneLipschitz(4), OneLipschitz(4)
    for layer in layers:
        bias = layer.bias.detach().numpy()
        stored.aol(layer.parametrizations.weight.original.detach().numpy(), bias)
        used.contraction(layer.weight.detach().numpy(), bias)
    (graph, witness), (other, its_own) = stored.finish(), used.finish()
    x = np.random.default_rng(0).standard_normal((20, 4))
    np.testing.assert_allclose(graph(x), other(x), atol=1e-5)
    assert verify_graph(graph, witness).bound <= 1.0 + 1e-9
    assert verify_graph(other, its_own).bound <= 1.0 + 1e-5  # W D was rounded to float32
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.ReLU()))).eval()
    network = lmikit.adapters.from_torch(model)
    np.testing.assert_allclose(network(x), other(x), atol=1e-5)
    assert lmikit.lipschitz(network).bound <= verify_graph(other, its_own).bound
