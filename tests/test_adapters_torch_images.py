"""torch models of images: the same outputs, structure kept, everything else refused by name."""

import numpy as np
import pytest

import lmikit
from lmikit import InputError, Network
from lmikit.adapters import from_torch, graph_from_torch
from lmikit.maps import Convolution2d

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


def prepared(model):
    """In evaluation mode, with statistics other than 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.running_mean.normal_(generator=generator)
            module.weight.data.normal_(generator=generator)
    return model.double().eval()


def agrees(model, shape, network):
    x = np.random.default_rng(0).standard_normal((5, *shape))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy().reshape(5, -1)
    np.testing.assert_allclose(network(x.reshape(5, -1)), expected, atol=1e-11)


def plain():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.PReLU(4),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 2, groups=2, padding="same"),
        nn.ReLU(),
        nn.Dropout2d(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, dilation=2, bias=False), nn.BatchNorm2d(3)
        self.back, self.last = nn.ConvTranspose2d(3, 2, 2, stride=2), nn.Linear(18, 2)

    def forward(self, x):
        x = functional.relu(self.norm(self.conv(functional.avg_pool2d(x, 1))))
        x = functional.max_pool2d(torch.tanh(self.back(x)), 2, stride=2)
        return self.last(x.view(x.size(0), -1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.one = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.two, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        out = self.norm(self.two(functional.relu(self.one(x))))
        out += x
        out = functional.relu(out, inplace=True)
        out = torch.cat([out, self.norm(out)], dim=1)
        return self.head(torch.flatten(self.pool(out), 1))


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 4, stride=2, padding=1), nn.BatchNorm1d(3)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.head(x.reshape(x.shape[0], -1))


@pytest.mark.filterwarnings("ignore:Using padding")
def test_a_chain_of_convolutions_keeps_its_structure():
    model = prepared(plain())
    network = from_torch(model, input_shape=(2, 8, 8))
    assert isinstance(network, Network)
    kinds = [type(layer.linear) for layer in network.layers]
    assert kinds[:3] == [Convolution2d] * 3  # batch normalisation is folded, pooling is a convolution
    agrees(model, (2, 8, 8), network)


@pytest.mark.parametrize(
    ("make", "shape"), [(Functional, (1, 7, 7)), (Residual, (1, 4, 4)), (Signal, (2, 8))]
)
def test_functional_code_skips_and_pooling_give_the_same_outputs(make, shape):
    torch.manual_seed(0)
    model = prepared(make())
    agrees(model, shape, from_torch(model, input_shape=shape))
    agrees(model, shape, graph_from_torch(model, shape))


def test_a_residual_network_is_proven():
    torch.manual_seed(0)
    graph = from_torch(prepared(Residual()), input_shape=(1, 4, 4))
    certificate = lmikit.lipschitz(graph)
    assert lmikit.lower_bound(graph, starts=16, steps=10).value <= certificate.bound


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.Conv2d(1, 1, 3), None, "pass input_shape"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), (1, 4, 4), "padding mode 'circular'"),
        (
            nn.Conv2d(1, 1, 3),
            (9,),
            r"of shape \(9,\); expected \(channels, height, width\), as input_shape says",
        ),
        (nn.MaxPool2d(2, ceil_mode=True), (1, 5, 5), "ceil_mode"),
        (nn.MaxPool2d(2, dilation=2), (1, 5, 5), "dilation"),
        (nn.AvgPool2d(2, divisor_override=3), (1, 4, 4), "divisor"),
        (nn.AdaptiveAvgPool2d(2), (1, 5, 5), "does not divide"),
        (nn.Linear(4, 2), (1, 4, 4), "along one axis"),
        (nn.BatchNorm2d(1).train(), (1, 4, 4), "model.eval"),
        (nn.Conv2d(1, 1, 3), (1, -4, 4), "positive integers"),
        (nn.Softmax(dim=1), (1, 4, 4), "a softmax"),
    ],
)
def test_what_is_not_read_is_refused_by_name(model, shape, words):
    with pytest.raises(InputError, match=words):
        from_torch(nn.Sequential(model), input_shape=shape)
