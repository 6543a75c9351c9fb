"""What a reduction is, and the one place where reductions are applied and undone."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Generic, Self, TypeVar

__all__ = ["AbstractReduction", "Prepared", "prepare"]

N = TypeVar("N")  # a network or a graph
W = TypeVar("W")  # its witness


class AbstractReduction(abc.ABC, Generic[N, W]):
    """A step to `network`, which has the same Lipschitz bounds as the one before, and the way back.

    `exact`: by powers of two and removals alone, so that what a witness proves for `network`, its undone one
    proves for the network before. Without it both hold up to the rounding of a matrix product or a QR
    factorisation, and the undone witness is a proposal like any other until it is proven.
    """

    exact: ClassVar[bool]
    network: N

    @classmethod
    @abc.abstractmethod
    def apply(cls, network: N, thorough: bool) -> Self | None:
        """The step from `network`; None where there is nothing to gain.

        Without `thorough` only what costs less to see than one evaluation of a closed form.
        """

    @abc.abstractmethod
    def undo(self, witness: W) -> W:
        """The witness for the network before that says what `witness` says for `network`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared(Generic[N, W]):
    """`network`, to be bounded in place of `original`, and the steps that led there.

    Where there are steps it is for bounds only, without a forward pass.
    """

    original: N
    network: N
    steps: tuple[AbstractReduction[N, W], ...]

    @property
    def exact(self) -> bool:
        """Whether every step is."""
        return all(step.exact for step in self.steps)

    def undo(self, witness: W) -> W:
        """The witness for `original`; raises InputError for one that does not fit `network`."""
        for step in reversed(self.steps):
            witness = step.undo(witness)
        return witness


def prepare(
    network: N, kinds: Sequence[type[AbstractReduction[N, W]]], thorough: bool = True
) -> Prepared[N, W]:
    """The network that the reductions lead to, one after the other; see `AbstractReduction.apply`."""
    here, steps = network, []
    for kind in kinds:
        step = kind.apply(here, thorough)
        if step is not None:
            steps.append(step)
            here = step.network
    return Prepared(network, here, tuple(steps))
