"""State dicts as libraries of reinforcement learning and their users spell them, made here."""

import itertools
import re

import pytest
from adapters_helpers import assert_same_function, importorskip

from lmikit import InputError
from lmikit.adapters import from_state_dict

torch = importorskip("torch")
nn = torch.nn


def sequential(*sizes):
    torch.manual_seed(len(sizes))
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


ACTOR, CRITIC = sequential(4, 6, 6, 2), sequential(4, 6, 6, 1)
STATE = ACTOR.state_dict()


def under(prefix, model, last=None):
    """The tensors below a prefix; those of the last layer under a name of their own."""
    found = {f"{prefix}.{key}": value for key, value in model.state_dict().items()}
    if last is not None:
        for kind in ("weight", "bias"):
            found[f"{last}.{kind}"] = found.pop(f"{prefix}.{len(model) - 1}.{kind}")
    return found


def spread(name):
    return {f"{name}.weight": torch.ones(2, 6), f"{name}.bias": torch.ones(2)}


CRITICS = {"critic.": under("critic", CRITIC), "v.": under("v.v_net", CRITIC)}
AGENTS = {
    "CleanRL": under("actor_mean", ACTOR) | CRITICS["critic."] | {"actor_logstd": torch.ones(1, 2)},
    "rsl_rl": {
        "model_state_dict": under("actor", ACTOR) | CRITICS["critic."] | {"std": torch.ones(2)},
        "iter": 3,
    },
    "rl_games": {
        "model": under("a2c_network.actor_mlp", ACTOR, "a2c_network.mu")
        | under("a2c_network.critic_mlp", CRITIC, "a2c_network.value")
        | {"a2c_network.sigma": torch.zeros(2), "running_mean_std.running_mean": torch.zeros(4)},
        "epoch": 5,
    },
    "tianshou": under("actor.preprocess.model.model", ACTOR, "actor.mu.model.0")
    | under("critic.preprocess.model.model", CRITIC, "critic.last.model.0")
    | {"actor.sigma_param": torch.zeros(2, 1)},
    "Spinning Up": under("pi.mu_net", ACTOR) | CRITICS["v."] | {"pi.log_std": torch.zeros(2)},
    "SAC": under("pi.net", ACTOR, "pi.mu_layer") | spread("pi.log_std_layer") | under("q1.q", CRITIC),
    "without hidden layers": spread("value_net") | under("x", sequential(4, 2), "action_net"),
    "shared layers": {
        key.replace("policy_net.0", "shared_net.0"): value
        for key, value in under("mlp_extractor.policy_net", ACTOR, "action_net").items()
    },
}
del AGENTS["without hidden layers"]["value_net.weight"], AGENTS["without hidden layers"]["value_net.bias"]


@pytest.mark.parametrize("kind", AGENTS)
def test_actors_and_critics_by_name(kind):
    model = sequential(4, 2) if kind == "without hidden layers" else ACTOR
    x = torch.randn(7, 4)
    assert_same_function(
        from_state_dict(AGENTS[kind], "tanh", part="actor"), model(x).detach().numpy(), x.numpy()
    )
    if "hidden" not in kind and "shared" not in kind:
        found = from_state_dict(AGENTS[kind], "tanh", part="critic")
        assert_same_function(found, CRITIC(x).detach().numpy(), x.numpy())
        with pytest.raises(InputError, match="holds an agent; pass part="):
            from_state_dict(AGENTS[kind], "tanh")


def test_features_of_another_network_are_not_left_out():
    state = under("mlp_extractor.policy_net", ACTOR, "action_net")
    state |= {"features_extractor.cnn.0.weight": torch.ones(2, 1, 3, 3)}
    with pytest.raises(InputError, match="acts on features of a network of its own"):
        from_state_dict(state, "tanh", part="actor")
    deeper = under("actor.mu.model", ACTOR)  # no layer of stable-baselines3's actor.mu
    deeper = {key.replace("model.0", "first.0"): value for key, value in deeper.items()}
    x = torch.randn(7, 4)
    assert_same_function(from_state_dict(deeper, "tanh", part="actor"), ACTOR(x).detach().numpy(), x.numpy())


def numbered(key, weight, bias):
    layer, kind = key.split(".")
    return (weight if kind == "weight" else bias).format(int(layer) // 2 + 1)


SPELLINGS = {
    "W1": {numbered(k, "W{}", "b{}"): v for k, v in STATE.items()},
    "fc1_weight": {numbered(k, "fc{}_weight", "fc{}_bias"): v for k, v in STATE.items()},
    "weights.1": {numbered(k, "weights.{}", "biases.{}"): v for k, v in STATE.items()},
    "kernel": {
        numbered(k, "Dense_{}.kernel", "Dense_{}.bias"): v.T if v.ndim == 2 else v for k, v in STATE.items()
    },
    "list": list(STATE.values()),
    "pairs": [(STATE[f"{k}.weight"], STATE[f"{k}.bias"]) for k in (0, 2, 4)],
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_weights_under_other_names(kind, tmp_path):
    torch.save(SPELLINGS[kind], tmp_path / "net.pt")
    x = torch.randn(7, 4)
    network = from_state_dict(tmp_path / "net.pt", "tanh")
    assert_same_function(network, ACTOR(x).detach().numpy(), x.numpy())


@pytest.mark.parametrize(
    "content",
    [
        {"W1": torch.ones(3, 2), "b2": torch.ones(3)},
        {"W1": torch.ones(3, 2), "table": torch.ones(3)},
        [torch.ones(3), torch.ones(3, 2)],
        [torch.ones(3, 2), torch.ones(3), torch.ones(3)],
    ],
)
def test_names_that_do_not_pair_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(InputError, match=re.compile("expected (NAME.weight|a state dict)")):
        from_state_dict(tmp_path / "net.pt", "tanh")
