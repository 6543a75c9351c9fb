"""State dicts, checkpoints and agents' archives made here: the module's function, nothing run."""

import io
import itertools
import json
import zipfile

import numpy as np
import pytest
from adapters_helpers import assert_same_function, importorskip

from lmikit import InputError, OptionError, lipschitz, load_network
from lmikit.adapters import from_state_dict
from lmikit.cli import main

torch = importorskip("torch")
nn = torch.nn


def sequential(act=nn.ReLU, sizes=(4, 6, 5, 3)):
    torch.manual_seed(0)
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def check(network, model):
    x = torch.randn(20, 4)
    assert_same_function(network, model(x).detach().numpy(), x.numpy())


@pytest.mark.parametrize("holder", [None, "state_dict", "model_state_dict", "model"])
def test_state_dicts_and_checkpoints(tmp_path, holder):
    model = sequential()
    state = model.state_dict()
    content = state if holder is None else {holder: state, "epoch": 3, "acc": 0.9}
    torch.save(content, tmp_path / "net.pt")
    check(from_state_dict(tmp_path / "net.pt", "relu"), model)
    check(load_network(tmp_path / "net.pt", "relu"), model)
    assert (
        main(["bound", str(tmp_path / "net.pt"), "--activation", "relu", "--method", "spectral-product"]) == 0
    )


def test_the_activation_is_asked_for(tmp_path):
    torch.save(sequential().state_dict(), tmp_path / "net.pt")
    with pytest.raises(OptionError, match=r"does not say its activations; pass activation="):
        load_network(tmp_path / "net.pt")


def test_order_by_names_by_shapes_or_asked_for():
    model = sequential(nn.Tanh)
    linear = [m for m in model if isinstance(m, nn.Linear)]

    def named(*names):
        return {
            f"{n}.{p}": getattr(m, p) for n, m in zip(names, linear, strict=True) for p in ("weight", "bias")
        }

    for names in (("fc1", "fc2", "fc10"), ("l.1.x", "l.2.x", "l.3.x"), ("z", "out", "a")):
        check(from_state_dict(named(*names), "tanh"), model)
    square = {f"{n}.weight": torch.eye(3) for n in ("first", "second")}
    with pytest.raises(InputError, match=r"whose order is not known; pass order="):
        from_state_dict(square, "relu")
    assert from_state_dict(square, "relu", order=["first", "second"]).dims == (3, 3, 3)


def test_one_of_several_networks():
    model = sequential()
    state = {f"controller.net.{k}": v for k, v in model.state_dict().items()}
    state |= {f"lyapunov.net.{k}": v for k, v in sequential(sizes=(4, 8, 1)).state_dict().items()}
    check(from_state_dict(state, "relu", part="controller"), model)
    assert from_state_dict(state, "relu", part="lyapunov").dims == (4, 8, 1)
    with pytest.raises(InputError, match=r"part="):
        from_state_dict(state, "relu")
    with pytest.raises(InputError, match="no tensors of the part 'actor'; expected one of cont"):
        from_state_dict(state, "relu", part="actor")


def archive(path, state):
    stream = io.BytesIO()
    torch.save(state, stream)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", json.dumps({"policy_class": "x"}))
        file.writestr("policy.pth", stream.getvalue())
        file.writestr("policy.optimizer.pth", b"not read")


def test_agents_by_part(tmp_path):
    actor, critic = sequential(nn.Tanh), sequential(nn.Tanh, (4, 7, 1))
    state = {"log_std": torch.zeros(3)}
    for prefix, last, model in (("policy", "action_net", actor), ("value", "value_net", critic)):
        for name, value in model.state_dict().items():
            layer, kind = name.split(".")
            head = int(layer) == len(model) - 1
            state[f"{last}.{kind}" if head else f"mlp_extractor.{prefix}_net.{name}"] = value
    path = tmp_path / "agent.zip"
    archive(path, state)
    check(load_network(path, "tanh", part="actor"), actor)
    check(load_network(path, "tanh", part="critic"), critic)
    with pytest.raises(InputError, match=r"holds an agent; pass part= \(--part\), one of actor, critic"):
        load_network(path, "tanh")
    archive(
        path,
        {f"actor.latent_pi.{k}": v for k, v in actor[:4].state_dict().items()}
        | {f"actor.mu.{k}": v for k, v in actor[4].state_dict().items()}
        | {"actor.log_std.bias": torch.ones(3)},
    )
    check(load_network(path, "tanh", part="actor"), actor)
    archive(path, {f"q_net.q_net.{k}": v for k, v in actor.state_dict().items()})
    check(load_network(path, "tanh", part="critic"), actor)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_pickled_objects_are_refused_and_nothing_runs(tmp_path):
    path = tmp_path / "net.pth"
    for content in (sequential(), {"state_dict": Evil()}):
        torch.save(content, path)
        with pytest.raises(InputError, match=r"torch.save\(model.state_dict\(\), 'net.pt'\)"):
            from_state_dict(path, "relu")


def test_tensors_that_state_more_than_they_hold_are_refused(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"fc.weight": torch.ones(1, 1).expand(2**20, 2**20)}, path)
    with pytest.raises(InputError, match="which its storage does not fill"):
        from_state_dict(path, "relu")
    path.write_bytes(b"nothing of torch")
    with pytest.raises(InputError, match="cannot be read"):
        from_state_dict(path, "relu")


def test_files_of_others(data_dir):
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    found, reasons = {}, []
    for path in sorted([*folder.glob("*.pt"), *folder.glob("*.pth")]):
        part = "controller" if "lyaloss" in path.name else None
        try:
            found[path.name] = load_network(path, "tanh", part=part)
        except InputError as error:
            reasons.append(str(error))
    assert all("a tensor of shape" in text or "order is not known" in text for text in reasons)
    assert len(found) >= 4
    for network in found.values():
        assert np.isfinite(lipschitz(network).bound)
