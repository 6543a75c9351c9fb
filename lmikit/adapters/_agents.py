"""The layers of actors and critics in state dicts of reinforcement learning, by the names of libraries.

Of stable-baselines3 and its contrib, rl_games, tianshou, Spinning Up, CleanRL, rsl_rl. Hidden layers are
PREFIX.NUMBER of one prefix or several in turn, then perhaps a head.
"""

import re
from collections.abc import Iterable

__all__ = ["agents_in"]

_Layout = tuple[tuple[str, ...], str | None]  # prefixes of the hidden layers, name of the last or None

_LAYOUTS: dict[str, tuple[_Layout, ...]] = {
    "actor": (
        (("mlp_extractor.shared_net", "mlp_extractor.policy_net"), "action_net"),
        (("actor.latent_pi",), "actor.mu"),
        (("actor.mu",), None),
        (("a2c_network.actor_mlp",), "a2c_network.mu"),
        (("actor.preprocess.model.model",), "actor.mu.model.0"),
        (("actor.preprocess.model.model",), "actor.last.model.0"),
        (("pi.net",), "pi.mu_layer"),
        (("pi.mu_net",), None),
        (("pi.logits_net",), None),
        (("actor_mean",), None),
        (("actor",), None),
    ),
    "critic": (
        (("mlp_extractor.shared_net", "mlp_extractor.value_net"), "value_net"),
        (("q_net.q_net",), None),
        (("quantile_net.quantile_net",), None),
        (("critic.qf0",), None),
        (("a2c_network.critic_mlp",), "a2c_network.value"),
        (("a2c_network.actor_mlp",), "a2c_network.value"),
        (("critic.preprocess.model.model",), "critic.last.model.0"),
        (("v.v_net",), None),
        (("q1.q",), None),
        (("critic",), None),
    ),
}


def agents_in(layers: Iterable[str]) -> dict[str, list[str]]:
    """The layers of the actor and of the critic in order, where the names are those of one layout."""
    known = set(layers)
    found: dict[str, list[str]] = {}
    for kind, layouts in _LAYOUTS.items():
        chains = (_chain(known, *layout) for layout in layouts)
        first = next((chain for chain in chains if chain), None)
        if first is not None:
            found[kind] = first
    return found


def _chain(known: set[str], prefixes: tuple[str, ...], last: str | None) -> list[str]:
    """The layers of one layout; empty where a name is not of it."""
    if last is not None and last not in known:
        return []
    result: list[str] = []
    for prefix in prefixes:
        inside = {layer for layer in known if layer.startswith(prefix + ".")}
        if not all(re.fullmatch("[0-9]{1,6}", layer.removeprefix(prefix + ".")) for layer in inside):
            return []
        result += sorted(inside, key=lambda layer: int(layer.rpartition(".")[2]))
    whole = last in ("action_net", "value_net")  # a head without hidden layers is one of these alone
    if not result and not whole:
        return []
    return result if last is None else [*result, last]
