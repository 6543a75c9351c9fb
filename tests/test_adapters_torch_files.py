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


def normalised(*kinds, seed=3):
    """An nn.Sequential of layers by letter: Linear, BatchNorm, an Activation, Dropout."""
    torch.manual_seed(seed)
    layers, width = [], 4
    for kind in kinds:
        if kind == "L":
            layers.append(nn.Linear(width, 5))
            width = 5
        elif kind == "B":
            norm = nn.BatchNorm1d(width)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.data.normal_()
            layers.append(norm)
        else:
            layers.append(nn.Tanh() if kind == "A" else nn.Dropout(0.2))
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("kinds", ["LBAL", "LABL", "BLADLB", "LBADLAL", "LABLBAL", "BLAL", "LALB"])
def test_batch_normalisations_stand_where_the_numbers_leave_room(kinds, tmp_path):
    model = normalised(*kinds)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    check(from_state_dict(tmp_path / "net.pt", "tanh"), model)


@pytest.mark.parametrize("kinds", ["LBL", "LABDL", "BDLAL", "LALAB", "LADBAL"])
def test_batch_normalisations_whose_place_is_not_known_are_asked_for(kinds):
    model = normalised(*kinds)
    with pytest.raises(InputError, match=r"is not known: pass order= \(--order\) with the activations"):
        from_state_dict(model.state_dict(), "tanh")
    places = {"A": "tanh"}
    order = [places.get(kind, str(k)) for k, kind in enumerate(kinds) if kind != "D"]
    order += ["identity"] if "A" not in kinds else []  # no activation is said too
    check(from_state_dict(model.state_dict(), order=order), model)


def test_an_order_may_name_the_activations(tmp_path, capsys):
    model = normalised(*"LBAL")
    state = {}
    for (key, value), name in zip(
        model.state_dict().items(), ["fc1"] * 2 + ["bn1"] * 5 + ["fc2"] * 2, strict=True
    ):
        state[f"{name}.{key.partition('.')[2]}"] = value
    torch.save({"module." + key: value for key, value in state.items()}, tmp_path / "net.pt")
    check(load_network(tmp_path / "net.pt", order=["fc1", "bn1", "tanh", "fc2"]), model)
    with pytest.raises(InputError, match=r"such as fc1,bn1,relu,fc2"):
        load_network(tmp_path / "net.pt", "tanh")
    assert main(["inspect", str(tmp_path / "net.pt"), "--order", "fc1,bn1,tanh,fc2"]) == 0
    assert "tanh" in capsys.readouterr().out
    with pytest.raises(InputError, match="activation is 'fc9'"):
        load_network(tmp_path / "net.pt", order=["fc1", "bn1", "fc9", "fc2"])


def test_numbered_layers_between_others_keep_their_order():
    model = sequential(nn.Tanh, (4, 6, 6, 6, 3))
    linear = [m for m in model if isinstance(m, nn.Linear)]
    names = ("hidden.1.lin", "hidden.2.lin", "hidden.10.lin", "out")
    state = {
        f"{n}.{p}": getattr(m, p) for n, m in zip(names, linear, strict=True) for p in ("weight", "bias")
    }
    check(from_state_dict(dict(sorted(state.items())), "tanh"), model)
    state |= {"logstd.weight": torch.ones(3, 6), "logstd.bias": torch.ones(3)}
    with pytest.raises(InputError, match="whose order is not known"):
        from_state_dict(state, "tanh")
    check(from_state_dict(state, "tanh", part="hidden,out"), model)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")  # torch's own, of its older style
@pytest.mark.parametrize("old", [True, False])
def test_weight_and_spectral_normalisation(old):
    torch.manual_seed(1)
    first, second = nn.Linear(4, 6), nn.Linear(6, 3)
    if old:
        first, second = nn.utils.weight_norm(first), nn.utils.spectral_norm(second)
    else:
        first = nn.utils.parametrizations.weight_norm(first)
        second = nn.utils.parametrizations.spectral_norm(second)
    model = nn.Sequential(first, nn.ReLU(), second)
    model(torch.randn(8, 4))
    check(from_state_dict(model.eval().state_dict(), "relu"), model)


class Odd:
    pass


def test_checkpoints_with_objects_beside_the_tensors(tmp_path):
    model = sequential()
    beside = {"args": Odd(), "best": np.float64(0.5), "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}}}
    for content in (
        {"state_dict": model.state_dict(), **beside},
        {"state_dict": [model.state_dict()], "acc": torch.tensor(0.9)},
        {"actor": model.state_dict(), "critic": sequential(sizes=(4, 3, 1)).state_dict(), **beside},
        {f"module.actor.{k}": v for k, v in model.state_dict().items()},
        {  # as Lightning lays out what its module holds as `self.net`
            "state_dict": {f"net.{k}": v for k, v in model.state_dict().items()},
            "pytorch-lightning_version": "2.4.0",
            "epoch": 3,
            "callbacks": {"ModelCheckpoint": Odd()},
            "hyper_parameters": {"lr": 1e-3},
            "lr_schedulers": [],
        },
    ):
        torch.save(content, tmp_path / "net.ckpt")
        part = "actor" if any("actor" in key for key in content) else None
        check(load_network(tmp_path / "net.ckpt", "relu", part=part), model)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_gives_its_tensors(tmp_path):
    model = sequential()
    torch.jit.script(model).save(tmp_path / "net.pt")
    check(load_network(tmp_path / "net.pt", "relu"), model)
    torch.jit.trace(model, torch.ones(1, 4)).save(tmp_path / "net.pt")
    check(load_network(tmp_path / "net.pt", "relu"), model)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_read_as_torch_reads_them(zipped, tmp_path):
    content = {
        "a.weight": torch.arange(12.0).reshape(3, 4).T[1:],
        "b.weight": torch.randn(3, 3, dtype=torch.bfloat16),
        "c.weight": nn.Parameter(torch.randn(2, 3).half()),
    }
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    found = from_state_dict(tmp_path / "net.pt", "relu", order=["a", "b", "c"])
    direct = from_state_dict(content, "relu", order=["a", "b", "c"])
    assert found.digest == direct.digest
    for mine, theirs in zip(found.weights, content.values(), strict=True):
        np.testing.assert_array_equal(mine, theirs.detach().double().numpy())


def test_an_agent_says_its_activation(tmp_path):
    actor = sequential(nn.ELU)
    state = {f"actor.latent_pi.{k}": v for k, v in actor[:4].state_dict().items()}
    state |= {f"actor.mu.{k}": v for k, v in actor[4].state_dict().items()}
    stream = io.BytesIO()
    torch.save(state, stream)
    policy = {"__module__": "stable_baselines3.sac.policies", ":serialized:": "gASVOwAAAA=="}
    for options, phi in (
        ({":type:": "<class 'dict'>", "activation_fn": "<class 'torch.nn.modules.activation.ELU'>"}, "elu"),
        ({"net_arch": [6, 5]}, "relu"),
    ):
        with zipfile.ZipFile(tmp_path / "agent.zip", "w") as file:
            file.writestr("data", json.dumps({"policy_class": policy, "policy_kwargs": options}))
            file.writestr("policy.pth", stream.getvalue())
        network = load_network(tmp_path / "agent.zip", part="actor")
        assert {layer.activation.name for layer in network.layers[:-1]} == {phi}


def test_files_of_others(data_dir):
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    found, reasons = {}, []
    for path in sorted([*folder.glob("*.pt"), *folder.glob("*.pth")]):
        part = "controller" if "lyaloss" in path.name else None
        try:
            found[path.name] = load_network(path, "tanh", part=part)
        except (InputError, OptionError) as error:
            reasons.append(str(error))
    assert all("their image's shape" in text or "order is not known" in text for text in reasons)
    assert len(found) >= 4
    for network in found.values():
        assert np.isfinite(lipschitz(network).bound)
