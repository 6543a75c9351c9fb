"""What a training run returns."""

import dataclasses
import types
from collections.abc import Mapping

import numpy as np

from ..certificates import Certificate
from ..network import Network
from ._state import TrainingState

__all__ = ["TrainingResult"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingResult:
    """Weights with a proven bound, and how they came about.

    `certificate.bound` <= `product` = prod_k sqrt(taus_k) m_k, both proven for `network`, the float64
    network of `weights`; taus_k >= |W_k|^2. `history` holds arrays of equal length by column, one row
    per record; only the columns "bound" and "product" are proven values (NaN where none was asked for).
    `events` says what was adapted and why, `reason` why the run stopped; `state` continues it.
    """

    weights: tuple[np.ndarray, ...]
    network: Network
    certificate: Certificate
    taus: np.ndarray
    product: float
    history: Mapping[str, np.ndarray]
    events: tuple[str, ...]
    reason: str
    state: TrainingState

    def __str__(self) -> str:
        return f"{self.state.method} after {self.state.step} steps: {self.reason}\n{self.certificate}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", types.MappingProxyType(dict(self.history)))
