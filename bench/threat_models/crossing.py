"""What attacks ask that look for the nearest image: how far an image is past the line that it has to cross."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cards.threat import Goal, Side
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models.base import Context
from bench.threat_models.objectives import FoolObjective, mean_score_and_objective, needed_logits, wrong_margin

ROUNDING = 1e-5
"""Some tens of roundings of float32, relative to scores or logits: other batch shapes must not undo a success."""


@dataclass(frozen=True)
class Boundaries:
    """Which classes an image may cross to, and how their margins compare.

    Attributes:
        classes: (N, k) wrong classes, the most likely first.
        units: (N, k) pixels that a unit of each margin is worth at the clean image.
    """

    classes: Tensor
    units: Tensor


@dataclass(frozen=True)
class Crossing:
    """Past the detector's threshold, or past the decision, as an `Objective`; above 0 the image has done it.

    `evade` asks for a score above the threshold, `alarm` for one below it, by a few roundings. The criterion is that
    distance in units of the clean scores' interquartile range; the direction has its value and the gradient of the
    detector's objective. `fool` asks for another class, and where the goal says so for a score above the threshold too:
    the criterion is the smaller margin. Of the classes the nearest one directs, told in pixels, since the largest logit
    need not be the nearest class; where acceptance is missing too, the sum of what is missing.

    Attributes:
        detector: Frozen, in evaluation mode.
        ids: (N,) sample ids.
        context: Side and thresholds; on `fool` labels and goal.
        boundaries: On `fool`.
    """

    detector: Detector
    ids: Tensor
    context: Context
    boundaries: Boundaries | None = None

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Criterion and direction, (B,) each."""
        return self._decision(x, rows) if self.context.side is Side.FOOL else self._score(x, rows)

    def _score(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        lines, sign = self.context.acceptance, self.context.sign
        if lines is None:
            raise UsageError("an attack that looks for the nearest image needs a threshold; the harness gives it.")
        if self.context.draws:
            score, objective = mean_score_and_objective(self.detector, x, self.ids[rows], self.context)
        else:
            score, objective = self.detector.score_and_objective(x)
        classes = needed_logits(self.detector, x).argmax(dim=1) if lines.by_class else torch.zeros_like(rows)
        line = lines.of(classes, score.dtype)
        past = sign * (score - line) - ROUNDING * torch.maximum(score.detach().abs(), line.abs())
        criterion = past / lines.scale
        if objective is score:
            return criterion, criterion
        return criterion, criterion.detach() + sign * (objective - objective.detach()) / lines.scale

    def _decision(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        context, logits, known = self.context, needed_logits(self.detector, x), self.boundaries
        assert context.labels is not None and known is not None
        labels, rounding = context.labels[rows], ROUNDING * logits.detach().abs().amax(dim=1)
        margin = wrong_margin(logits, labels) - rounding
        margins = logits.gather(1, known.classes[rows]) - logits.gather(1, labels[:, None]) - rounding[:, None]
        nearest = (margins * known.units[rows]).amax(dim=1)
        if context.goal is not Goal.ACCEPT:
            return margin, nearest
        above, slope = FoolObjective(self.detector, self.ids, context).acceptance(x, logits, rows)
        above, slope = above - ROUNDING, slope - ROUNDING
        criterion = torch.minimum(margin, above)
        missing = nearest.clamp(max=0.0) + slope.clamp(max=0.0)
        return criterion, torch.where(criterion > 0, torch.minimum(nearest, slope), missing)
