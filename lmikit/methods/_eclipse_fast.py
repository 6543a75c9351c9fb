"""`EclipseFast`: one multiplier per layer in closed form, for every slope range."""

import dataclasses
from typing import ClassVar

from ._proposal import AbstractChainMethod, Run
from ._recursion import EliminatedChain, Evaluation

__all__ = ["EclipseFast"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EclipseFast(AbstractChainMethod):
    """ECLipsE-Fast, extended to any slopes: Lambda_k = 1/(kappa lambda_max(m G_k m)) per neuron.

    ||f(x) - f(x')||^2 <= rho ||x - x'||^2 with G_k = W_{k-1} X_{k-1}^-1 W_{k-1}' and
    rho = lambda_max(W_L X_L^-1 W_L'). Slopes [0, 1] give Lambda = 2/lambda_max(G) I, the published
    choice (Xu and Sivaranjani, ECLipsE, NeurIPS 2024, Theorem 4). Where alpha beta is not 0
    the term W'diag(alpha beta Lambda)W is kept, with its sign, and m = max(|alpha|, |beta|),
    kappa = (beta - alpha)/(2 m) replace 1 and 1/2 (Lemma 2 of `_recursion`): it never exceeds
    the product of spectral norms and largest slopes. Raises SolveFailed where entries leave
    the range of float64. Assumed, not checked: the slopes hold globally.
    """

    name: ClassVar[str] = "eclipse-fast"
    balances: ClassVar[bool] = False  # the published choice, nothing else

    def _improved(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> Evaluation:
        return fast
