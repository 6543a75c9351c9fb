"""The retraction to orthogonal matrices as the last link of an optax chain."""

from typing import Any

from ..._errors import BackendMissing, InputError
from .._retraction import newton_schulz

__all__ = ["orthogonal_updates"]


def orthogonal_updates() -> Any:
    """An optax transformation after which every matrix of the parameters is orthogonal, as by `Orthogonal`.

    Updates u of p become r(p + u) - p, r one step of Newton and Schulz (the polar factor from afar), for
    arrays of two axes; others pass. It stands last: `optax.chain(optax.adam(1e-3), orthogonal_updates())`;
    `optax.masked` leaves out the last layer. `update` needs the parameters, and raises InputError without
    them. Raises BackendMissing without optax.
    """
    try:
        import jax
        import optax
    except ImportError as error:
        raise BackendMissing("this needs the modules 'jax' and 'optax'; pip install jax optax.") from error

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise InputError("orthogonal_updates got no params; expected update(updates, state, params).")
        return jax.tree.map(_retracted, updates, params), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _retracted(update: Any, weight: Any) -> Any:
    return newton_schulz(weight + update) - weight if weight.ndim == 2 else update
