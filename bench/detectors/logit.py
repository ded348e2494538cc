"""What detectors have in common whose score is a function of the logits alone."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from bench.detectors.base import Detector, DetectorInfo, NoiseSource
from bench.detectors.networks.base import FromPixels
from bench.errors import UsageError


class LogitDetector(Detector):
    """A detector whose score is a function of the logits: subclasses implement `score_logits`.

    Score and objective come from one pass through the network also where they differ.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier",), matched="logits")

    @abstractmethod
    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) score."""

    def objective_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) what directs an attack; the score itself unless overridden."""
        return self.score_logits(logits)

    def scored_logits(self, x: Tensor) -> Tensor:
        """(N, K) logits of images, as the score sees them."""
        logits: Tensor = needed_network(self)(x)
        return logits

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); higher = more in-distribution."""
        return self.score_logits(self.scored_logits(x))

    def objective(self, x: Tensor) -> Tensor:
        """(N,) what directs an attack."""
        return self.objective_logits(self.scored_logits(x))

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and objective of the same images, from one pass."""
        logits = self.scored_logits(x)
        if type(self).objective_logits is LogitDetector.objective_logits:
            score = self.score_logits(logits)
            return score, score
        return self.score_logits(logits.detach()), self.objective_logits(logits)


def needed_network(detector: Detector) -> FromPixels:
    """The network inside, for methods that cannot do without.

    Raises:
        UsageError: The detector has none.
    """
    if detector.network is None:
        raise UsageError(
            f"{type(detector).__name__} needs a network; give its card a `network` with a `method` for this track."
        )
    return detector.network
