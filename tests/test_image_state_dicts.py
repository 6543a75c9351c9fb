"""State dicts with convolutions: what they do not say is stated or asked for, and never guessed."""

import re

import numpy as np
import pytest
from adapters_helpers import assert_same_function, importorskip
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import Graph, InputError, Network, OptionError, lipschitz, load_network, lower_bound
from lmikit.adapters import from_state_dict, from_torch
from lmikit.cli import main
from lmikit.methods import SpectralProduct

torch = importorskip("torch")
nn = torch.nn


def check(network, model, shape):
    x = 3.0 * torch.randn(6, *shape)
    model = model.eval()
    with torch.no_grad():
        expected = model(x).flatten(1).numpy()
    assert_same_function(network, expected, x.flatten(1).numpy())


def sequential(*layers, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*layers)


def test_strides_and_paddings_are_asked_for_with_what_fits():
    model = sequential(nn.Conv2d(1, 3, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
    with pytest.raises(InputError, match=r"these fit the shapes: 0:stride=2:padding=1,relu,3[.] Where"):
        from_state_dict(model.state_dict(), "relu", input_shape=(1, 12, 12))
    order = ["0:stride=2:padding=1", "relu", "3"]
    network = from_state_dict(model.state_dict(), order=order, input_shape=(1, 12, 12))
    assert isinstance(network, Network)
    check(network, model, (1, 12, 12))
    with pytest.raises(
        OptionError, match=r"pass input_shape= \(--input-shape\), channels first, such as \(1, 2"
    ):
        from_state_dict(model.state_dict(), "relu")
    with pytest.raises(OptionError, match="does not say its activations"):
        from_state_dict(model.state_dict(), order=["0:stride=2:padding=1", "3"], input_shape=(1, 12, 12))
    with pytest.raises(InputError, match="not their strides"):
        from_state_dict(model.state_dict(), "relu", input_shape=(2, 12, 11))


def test_room_for_pooling_or_two_choices_are_asked_for():
    lenet = sequential(
        nn.Conv2d(1, 2, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip
    state = lenet.state_dict()  # stride 2 without pooling has the same shapes
    with pytest.raises(InputError, match="but not their strides, paddings and pooling") as caught:
        from_state_dict(state, "relu", input_shape=(1, 28, 28))
    listed = re.search("fit the shapes: (.*)[.] Where", str(caught.value)).group(1).split(" or ")
    assert "0:stride=2,relu,3:stride=2,relu,7" in listed
    pooled = "0,relu,maxpool:2,3,relu,maxpool:2,7"
    assert pooled in listed
    graph = from_state_dict(state, order=pooled.split(","), input_shape=(1, 28, 28))
    assert isinstance(graph, Graph)
    check(graph, lenet, (1, 28, 28))
    with pytest.raises(InputError, match="not their strides"):
        from_state_dict(
            state, "relu", order=["0", "maxpool:2", "3", "maxpool:2", "7"], input_shape=(1, 28, 28)
        )


def test_the_order_states_everything(tmp_path, capsys):
    model = sequential(
        nn.Conv2d(2, 4, 3, 2, 1, dilation=2), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2),
    )  # fmt: skip
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    order = "0:stride=2:padding=1:dilation=2,1,tanh,avgpool:2,4:padding=1x0,relu,avgpool:global,8,sigmoid,10"
    torch.save(model.state_dict(), tmp_path / "net.pt")
    network = load_network(tmp_path / "net.pt", order=order.split(","), input_shape=(2, 12, 10))
    check(network, model, (2, 12, 10))
    said = ["--order", order, "--input-shape", "2,12,10"]
    assert main(["bound", str(tmp_path / "net.pt"), *said, "--method", "spectral-product"]) == 0
    assert main(["inspect", str(tmp_path / "net.pt"), *said[:3], "two,12"]) == 2
    assert "expected integers such as 1,28,28" in capsys.readouterr().err


def test_signals():
    model = sequential(nn.Conv1d(2, 3, 5, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    order = ["0:stride=2:padding=1", "3"]
    check(from_state_dict(model.state_dict(), "relu", order=order, input_shape=(2, 9)), model, (2, 9))


@pytest.mark.parametrize(
    ("order", "match"),
    [
        ("0:strides=2,2", "expected NAME with stride=, padding= or dilation="),
        ("0:stride=two,2", "expected integers, such as stride=2"),
        ("0,relu,maxpool,2", "expected a size, such as maxpool:2 or maxpool:global"),
        ("0,relu,2:stride=2", "2 is a dense layer, which takes no options"),
        ("0:padding=1,relu,2", r"what comes before it gives 2 x 5 x 5 = 50: check input_shape="),
        ("0,relu", "expected each of"),
        ("2,relu,0", "takes an image, but what comes before it gives|takes 18 features"),
    ],
)
def test_what_does_not_fit_is_refused(order, match):
    state = sequential(nn.Conv2d(1, 2, 3), nn.Identity(), nn.Linear(18, 2)).state_dict()
    with pytest.raises((InputError, OptionError), match=match):
        from_state_dict(state, order=order.split(","), input_shape=(1, 5, 5))


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_random_sequentials(data):
    """What is read with an order is the module's function; without one it is asked for."""
    side, channels = data.draw(st.integers(6, 12)), data.draw(st.integers(1, 2))
    shape, layers, order, now = (channels, side, side), [], [], channels
    image = torch.zeros(1, *shape)
    for _ in range(data.draw(st.integers(1, 2))):
        k = data.draw(st.integers(1, min(4, image.shape[-1])))
        s, p = data.draw(st.integers(1, k)), data.draw(st.integers(0, (k - 1) // 2))
        order += [f"{len(layers)}:stride={s}:padding={p}", "relu"]
        layers += [nn.Conv2d(now, 2, k, s, p), nn.ReLU()]
        image, now = layers[-2](image), 2
    layers += [nn.Flatten(), nn.Linear(image.numel(), 2)]
    model = sequential(*layers, seed=data.draw(st.integers(0, 9)))
    order.append(str(len(layers) - 1))
    check(from_state_dict(model.state_dict(), order=order, input_shape=shape), model, shape)
    with pytest.raises(InputError, match="not their strides"):
        from_state_dict(model.state_dict(), "relu", input_shape=shape)


class Block(nn.Module):
    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Sequential(*([nn.Conv2d(into, out, 1, stride)] if stride > 1 else []))

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))


class Residual(nn.Module):
    """VNN-COMP's ResNet-2b, written from the names and shapes in its state dict."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1))
        self.linear1, self.linear2 = nn.Linear(1024, 100), nn.Linear(100, 10)

    def forward(self, x):
        x = torch.flatten(self.layer1(torch.relu(self.conv1(x))), 1)
        return self.linear2(torch.relu(self.linear1(x)))


def test_a_residual_state_dict_is_loaded_into_its_module(data_dir):
    path = data_dir / "abcrown" / "resnet2b.pth"
    with pytest.raises(InputError, match=r"Where it has skips, load it into its torch module and pass that"):
        load_network(path, "relu", input_shape=(3, 32, 32))
    model = Residual()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["state_dict"])
    network = from_torch(model.eval(), input_shape=(3, 32, 32))
    assert isinstance(network, Graph)
    check(network, model, (3, 32, 32))


PLAIN = ["0:stride=2", "2:stride=2", "5", "7", "9"]
CASES = {
    "abcrown/mnist_cnn_a_adv.model": (
        ["0:stride=2:padding=1", "2:stride=2:padding=1", "5", "7"], (1, 28, 28), 2, 1,
    ),
    "sdp_crown/mnist_convsmall.pth": (
        ["conv1:stride=2:padding=1", "conv2:stride=2:padding=1", "fc1", "fc2"], (1, 28, 28), 2, 1,
    ),
    "sdp_crown/cifar10_cnn_c.pth": (PLAIN, (3, 32, 32), 2, 0),
    "real/Verified-Intelligence__alpha-beta-CROWN__cifar_marabou_small.pth": (PLAIN, (3, 32, 32), 2, 0),
    "real/Verified-Intelligence__alpha-beta-CROWN__MadryCNN_no_maxpool_tiny.pt": (
        ["0:stride=2:padding=2", "2:stride=2:padding=2", "5", "7"], (1, 28, 28), 2, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("file", CASES)
def test_state_dicts_of_others(data_dir, file):
    order, shape, stride, padding = CASES[file]
    network = load_network(data_dir / file, "relu", order=order, input_shape=shape)
    content = torch.load(data_dir / file, weights_only=True, map_location="cpu")
    for holder in ("state_dict",):
        content = content.get(holder, content) if hasattr(content, "get") else content
        content = content[0] if isinstance(content, list) else content
    tensors = list(content.values())
    layers = []
    for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
        layer = (
            nn.Conv2d(*weight.shape[1::-1], weight.shape[2], stride, padding) if weight.ndim == 4 else None
        )
        if layer is None:
            layer = nn.Sequential(nn.Flatten(), nn.Linear(*weight.shape[::-1]))
        layer.load_state_dict(dict(zip(layer.state_dict(), (weight, bias), strict=True)))
        layers += [layer, nn.ReLU()]
    check(network, nn.Sequential(*layers[:-1]), shape)


@pytest.mark.slow
def test_a_proven_bound_above_the_sampled_one(data_dir):
    order, shape, _, _ = CASES["abcrown/mnist_cnn_a_adv.model"]
    network = load_network(data_dir / "abcrown/mnist_cnn_a_adv.model", "relu", order=order, input_shape=shape)
    assert lower_bound(network, time_limit=2.0).value <= lipschitz(network, SpectralProduct()).bound < np.inf
