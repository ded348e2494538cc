"""The recipe of detectors whose weights are statistics alone."""

from dataclasses import replace

import torch

from bench.detectors.base import Progress, silent
from bench.training.base import Recipe, RecipeArgs


class FitArgs(RecipeArgs):
    """Arguments of `Fit`: at most `limit` training images are seen, all of them where it is None."""

    limit: int | None = None


class Fit(Recipe):
    """Calls the detector's own `fit` on the training data; there are no gradient steps."""

    Args = FitArgs
    args: FitArgs

    @property
    def total_steps(self) -> int:
        """None."""
        return 0

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """Never called: there are no steps."""
        return {}

    def finish(self, progress: Progress = silent) -> None:
        """Estimate the statistics."""
        data = replace(self.data, train=self.data.train.limited(self.args.limit))
        self.detector.eval()
        self.detector.fit(data, progress=progress)
