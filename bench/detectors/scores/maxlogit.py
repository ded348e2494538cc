"""The largest logit."""

from torch import Tensor

from bench.detectors.scores.base import LogitScore


class MaxLogit(LogitScore):
    """max_k z_k.

    Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song (2022), "Scaling out-of-distribution
    detection for real-world settings", section 3 (there MaxLogit, its negative being the anomaly score). No deviation.
    """

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) in the logits' unit."""
        return logits.amax(dim=1)
