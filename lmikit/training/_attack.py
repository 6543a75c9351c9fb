"""Adversarial training: minibatches whose rows are attacked before the loss is taken."""

from typing import Any

from ..attacks import ascend, pgd_attack
from ..attacks._ascent import Norm
from ._callback import Weights
from ._reference import MLP, AbstractMinibatches

__all__ = ["AdversarialMinibatches", "pgd_attack"]


class AdversarialMinibatches(AbstractMinibatches):
    """`Minibatches` whose rows are attacked before the loss is taken: adversarial training.

    minimise over the weights the mean of max_{||e_i|| <= radius} loss(x_i + e_i, y_i), the inner
    maximum by `steps` steps of projected gradient ascent (Madry et al., ICLR 2018, eq. 2.1).
    """

    def __init__(
        self,
        model: MLP,
        X: Any,
        y: Any,
        radius: float,
        *,
        norm: Norm = "l2",
        steps: int = 7,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, X, y, batch_size=batch_size, seed=seed)
        self.radius, self.norm, self.steps = radius, norm, steps

    def __call__(self, weights: Weights) -> tuple[float, Weights]:
        rows = self.next_rows()
        y = self.y[rows]
        attacked = ascend(
            lambda x: self.model.input_gradients(weights, x, y),
            self.X[rows],
            self.radius,
            norm=self.norm,
            steps=self.steps,
        )
        return self.model.loss_and_grad(weights, attacked, y)
