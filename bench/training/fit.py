"""The recipe of detectors whose weights are statistics alone."""

import torch

from bench.detectors.base import Progress, silent
from bench.training.base import Recipe


class Fit(Recipe):
    """Calls the detector's own `fit` on the training data; there are no gradient steps."""

    @property
    def total_steps(self) -> int:
        """None."""
        return 0

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """Never called: there are no steps."""
        return {}

    def finish(self, progress: Progress = silent) -> None:
        """Estimate the statistics."""
        self.detector.fit(self.data, progress=progress)
