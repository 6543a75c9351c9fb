"""Float inference at a point: what its rounding costs, and when a counterexample counts for it too."""

import dataclasses
import logging
import math
from collections.abc import Callable

import numpy as np

from ._errors import NotCertified, OptionError
from .attacks import upper_values
from .certificates.point import PointCertificate, PointWitness, verify_point
from .claims import SEMANTICS, AbstractRegion, Ball, BallAndBox, Box
from .intervals import rounding_bound
from .network import Network

__all__ = ["Inference"]

_log = logging.getLogger("lmikit")
_ATTEMPTS = 6  # radii tried for a float inference, each further inside the real one


@dataclasses.dataclass(frozen=True)
class Inference:
    """Which function a verdict is about: the real one, or every forward pass in a format."""

    semantics: str

    def __post_init__(self) -> None:
        if self.semantics not in SEMANTICS:
            raise OptionError(f"semantics is {self.semantics!r}; expected one of {', '.join(SEMANTICS)}.")

    @property
    def real(self) -> bool:
        """Whether nothing is rounded."""
        return self.semantics == "real"

    def loss(self, network: Network, region: AbstractRegion, rows: np.ndarray) -> float:
        """The largest loss of a row: what a margin has to exceed."""
        return 0.0 if self.real else float(rounding_bound(network, region, rows, self.semantics).max())

    def refuted_at(self, network: Network, x: np.ndarray, row: np.ndarray) -> bool:
        """Whether row . f(x) <= 0 for every forward pass of these semantics, given that it is so in reals."""
        if self.real:
            return True
        loss = rounding_bound(network, Box(x, x), row[None], self.semantics)[0]
        value = upper_values(network, x, row[None])[0]
        return math.isfinite(loss) and value <= -type(value)(float(loss))

    def about(self, witness: PointWitness) -> PointWitness:
        """The same multipliers for the claim about these semantics."""
        return dataclasses.replace(
            witness, claim=dataclasses.replace(witness.claim, semantics=self.semantics)
        )

    def within(
        self,
        network: Network,
        radius: PointCertificate,
        propose: Callable[[AbstractRegion, float], PointWitness | None],
    ) -> PointWitness | None:
        """A margin of these semantics on a ball inside the one of a real radius; None where none is found.

        The margin of a ball of radius r R falls about linearly from its centre's to 0 at r = 1.
        """
        claim = radius.claim
        assert claim.region.ball is not None, "claims of radius have a ball"
        x0, whole = claim.region.ball.x0, claim.region.ball.radius
        least = float((claim.rows @ network(x0) + claim.offsets).min())
        share = 1.5 * self.loss(network, claim.region, claim.rows) / max(least, 1e-300)
        for _ in range(_ATTEMPTS):
            if not share < 1.0:
                return None
            ball = Ball(x0, whole * (1.0 - share))
            region = ball if claim.region.box is None else BallAndBox(ball, claim.region.box)
            found = propose(region, self.loss(network, region, claim.rows))
            if found is not None and self._safe(network, found):
                return self.about(found)
            share = max(2.0 * share, 1e-6)
        return None

    def _safe(self, network: Network, witness: PointWitness) -> bool:
        try:
            return verify_point(network, self.about(witness)).safe
        except NotCertified as error:
            _log.info("no %s margin on a smaller ball: %s", self.semantics, error)
            return False
