"""Scores and gradients of a detector at one batch shape, so that no sample feels its batch mates."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.detectors.base import Detector


class Oracle:
    """What an attacker asks the detector, seen from the attacker's side: higher is always better for the attack.

    Float32 convolutions depend on the batch shape, so every question has `micro_batch` images: `batches` cuts a list of
    rows, `pad` fills the last piece with copies of its first row, and the caller drops their answers.

    Args:
        detector: Frozen, in evaluation mode.
        sign: +1 where the attacker wants the score high, -1 where low.
        micro_batch: The batch shape.
    """

    def __init__(self, detector: Detector, *, sign: float, micro_batch: int) -> None:
        self.detector = detector
        self.sign = sign
        self.micro_batch = micro_batch

    def batches(self, rows: int) -> Iterator[slice]:
        """Slices of at most `micro_batch` rows that cover all of them."""
        return (slice(start, min(start + self.micro_batch, rows)) for start in range(0, rows, self.micro_batch))

    def pad(self, rows: Tensor) -> Tensor:
        """The rows (at most `micro_batch` of them) followed by copies of the first one, `micro_batch` in all."""
        missing = self.micro_batch - len(rows)
        return rows if missing == 0 else torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signed scores and objectives, (N,) each, of any number of images; NaN stays NaN."""
        score, objective = x.new_empty(len(x)), x.new_empty(len(x))
        for batch in self.batches(len(x)):
            own_score, own_objective = self.ask(self.pad(x[batch]))
            score[batch], objective[batch] = own_score[: len(x[batch])], own_objective[: len(x[batch])]
        return score, objective

    @torch.no_grad()
    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signed score and objective, (micro_batch,) each, of a full batch."""
        score, objective = self.detector.score_and_objective(x)
        return self.sign * score, self.sign * objective

    def ascend(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Signed score, signed objective and its gradient to x (zero where there is none) of a full batch."""
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            score, objective = self.detector.score_and_objective(x)
            gradient = None
            if objective.requires_grad:
                weights = torch.full_like(objective, self.sign)
                (gradient,) = torch.autograd.grad(objective, x, weights, allow_unused=True)
        if gradient is None:
            gradient = torch.zeros_like(x)
        return self.sign * score.detach(), self.sign * objective.detach(), gradient
