"""The inputs of a table of points, validated, and the folder that keeps what has been proven of them."""

import hashlib
import logging
import os
import pathlib
from typing import Any

import numpy as np

from ._convert import floats
from ._errors import InputError, LmikitError
from ._point_semantics import Inference
from ._points import PointResult, class_rows, region_of
from .certificates.point import PointCertificate, point_digest, point_network
from .claims import AbstractRegion, Ball, BallAndBox, Box, PointClaim
from .margins import CurvedChain, PieceChain, problem_of

__all__ = ["ResultsFolder", "TabledPoints"]

_log = logging.getLogger("lmikit")


class TabledPoints:
    """The inputs, their labels and regions, validated."""

    def __init__(
        self, network: Any, X: Any, y: Any, eps: float | None, norm: str, box: tuple[Any, Any] | None
    ) -> None:
        network = point_network(network)
        if network.output_dim < 2:
            raise InputError("the network needs at least 2 outputs.")
        data = floats("X", X)
        labels = np.asarray(y)
        data = data.reshape(len(data), -1) if data.ndim >= 2 and len(data) else np.zeros((0, 0))
        if data.shape[1:] != (network.input_dim,):
            raise InputError(f"X has shape {np.shape(X)}; expected (n, {network.input_dim}), n >= 1.")
        if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
            raise InputError(
                f"y has shape {labels.shape}, dtype {labels.dtype}; expected ({len(data)},) integers."
            )
        if labels.min() < 0 or labels.max() >= network.output_dim:
            raise InputError(
                f"y has labels {labels.min()} to {labels.max()}; expected 0 to {network.output_dim - 1}."
            )
        self.network, self.data, self.labels = network, data, labels.astype(int)
        self.chain: PieceChain | CurvedChain = problem_of(network)
        limits = None if box is None else tuple(np.broadcast_to(floats("box", b), data.shape[1]) for b in box)
        self.box = None if limits is None else Box(limits[0], limits[1])
        self.regions = [self._region(x, eps, norm) for x in data]

    def _region(self, x: np.ndarray, eps: float | None, norm: str) -> AbstractRegion | None:
        place = region_of(x, eps, None, norm)
        if self.box is None or place is None:
            return place
        if isinstance(place, Ball):
            return BallAndBox(place, self.box)
        assert place.box is not None
        low = np.maximum(place.box.lower, self.box.lower)
        return Box(low, np.minimum(place.box.upper, self.box.upper))


class ResultsFolder:
    """A results folder; a file's name is a hash of all that its claim is about."""

    def __init__(
        self, folder: str | os.PathLike[str] | None, points: TabledPoints, inference: Inference
    ) -> None:
        self.folder, self.points = None if folder is None else pathlib.Path(folder), points
        self.inference = inference
        self.digest = point_digest(points.network)
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder!r} cannot be made a folder ({error}).") from error

    def path(self, i: int) -> pathlib.Path:
        assert self.folder is not None
        sha = hashlib.sha256(f"{self.digest} {self.points.labels[i]}\n".encode())
        sha.update(self.points.data[i].astype("<f8").tobytes())
        region = self.points.regions[i]
        sha.update(b"radius" if region is None else region.describe().encode())
        for box in (self.points.box, None if region is None else region.box):
            if box is not None:
                sha.update(box.lower.astype("<f8").tobytes() + box.upper.astype("<f8").tobytes())
        if not self.inference.real:
            sha.update(self.inference.semantics.encode())
        return self.folder / f"point-{i:06d}-{sha.hexdigest()[:24]}.json"

    def read(self, i: int) -> PointCertificate | None:
        if self.folder is None or not self.path(i).exists():
            return None
        try:
            certificate = PointCertificate.load(self.path(i), self.points.network)
            if self._answers(certificate.claim, i):
                return certificate
            _log.warning("%s is searched for again: its claim is another.", self.path(i).name)
        except LmikitError as error:
            _log.warning("%s is searched for again: %s", self.path(i).name, error)
        return None

    def _answers(self, claim: PointClaim, i: int) -> bool:
        """Whether a claim is about input i: a file may have been renamed."""
        rows, _ = class_rows(self.points.network.output_dim, int(self.points.labels[i]))
        if claim.semantics != self.inference.semantics or claim.offsets.any():
            return False
        if not np.array_equal(claim.rows, rows):
            return False
        region, own = self.points.regions[i], claim.region
        if region is not None:  # a claim of radius says nothing strict about the sphere
            return claim.kind == "margin" and own.same_as(region)
        ball = own.ball
        if ball is None or not np.array_equal(ball.x0, self.points.data[i]):
            return False
        box = self.points.box
        return own.same_as(ball if box is None else BallAndBox(ball, box))

    def write(self, i: int, result: PointResult) -> None:
        if self.folder is not None and result.certificate is not None:
            result.certificate.save(self.path(i))
