"""What an attack is after: the criterion, a number that says how well an image does, and the direction, one to ascend.

Both are seen from the attacker's side: higher is better. On the sides of the score, the detector's own score judges
and its `objective` directs. On the side `fool`, an image is judged by how far it is past the decision (and the
detection threshold), and a loss directs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from bench.cards.threat import Goal, Loss, Side
from bench.detectors.base import Detector, NoiseSource
from bench.errors import NotApplicableError, UsageError
from bench.threat_models.base import Context

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From (B, C, H, W) images and (B,) their positions in the attacked batch to (criterion, direction), (B,) each."""


def objective_of(detector: Detector, ids: Tensor, context: Context) -> Objective:
    """What an attack on this side is after.

    Args:
        detector: Frozen, in evaluation mode.
        ids: (N,) sample ids of the attacked batch: where the noise of a random detector comes from.
        context: The side, and on `fool` the goal, the loss, the labels and the thresholds.

    Raises:
        UsageError: The side is `fool` and the detector has no classifier to be fooled.
    """
    if context.side is Side.FOOL:
        return FoolObjective(detector, ids, context)
    return ScoreObjective(detector, ids, context)


@dataclass(frozen=True)
class ScoreObjective:
    """The score, up or down, directed by that of one class where the context names one.

    Where the score asks which class is predicted and it is another one, the class's margin directs until it is: a
    point at which its own score is high counts for nothing as long as the score is that of another class.

    That of a random detector, and its objective, is the mean over the same draws at every step.

    Attributes:
        detector: Frozen, in evaluation mode.
        ids: (N,) sample ids.
        context: Side and number of draws.
    """

    detector: Detector
    ids: Tensor
    context: Context

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Signed score and signed objective; one tensor where they are one."""
        sign = self.context.sign
        classes = None if self.context.classes is None else self.context.classes[rows]
        if classes is not None and self._kinds[0]:
            return self._aimed(x, classes)
        if self.context.draws == 0:
            score, objective = self.detector.score_and_objective(x)
        else:
            score, objective = mean_score_and_objective(self.detector, x, self.ids[rows], self.context)
        signed = sign * score
        return signed, signed if objective is score else sign * objective

    @cached_property
    def _kinds(self) -> tuple[bool, bool]:
        """Whether any image aims at a class, and whether any does not; asked once, since a device waits for it."""
        classes = self.context.classes
        assert classes is not None
        return bool((classes >= 0).any()), bool((classes < 0).any())

    def _aimed(self, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Signed score, and what directs each image towards its class, the objective where that is below 0."""
        sign, whole = self.context.sign, classes < 0
        scores, margins = needed_class_scores(self.detector, x)
        chosen = classes.clamp_min(0)[:, None]
        toward = sign * scores.gather(1, chosen).squeeze(1)
        if margins is not None:
            margin = margins.gather(1, chosen).squeeze(1)
            toward = torch.where(margin > 0, toward, margin)
        if not self._kinds[1]:
            with torch.no_grad():
                return sign * self.detector.score(x), toward
        score, objective = self.detector.score_and_objective(x)
        return sign * score, torch.where(whole, sign * objective, toward)


@dataclass(frozen=True)
class FoolObjective:
    """Misclassified, and where the goal says so accepted by the detector.

    The criterion is the margin of the best wrong class over the true one, where acceptance is asked for the smaller one
    of that and of the score above its threshold, each in units of its scale; above 0 the image has done it.

    Attributes:
        detector: Frozen, in evaluation mode, with a classifier.
        ids: (N,) sample ids.
        context: Labels of every image; goal, loss and thresholds.
    """

    detector: Detector
    ids: Tensor
    context: Context

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Judge and direction."""
        logits = needed_logits(self.detector, x)
        if self.context.labels is None:
            raise UsageError("a threat of side 'fool' needs the labels of its images; the harness gives them.")
        labels = self.context.labels[rows]
        margin = wrong_margin(logits, labels)
        loss, accept = self.context.loss, self.context.goal is Goal.ACCEPT
        above, direction = self.acceptance(x, logits, rows) if accept or loss is Loss.JOINT else (margin, margin)
        criterion = torch.minimum(margin, above) if accept else margin
        if loss is Loss.CE:
            return criterion, functional.cross_entropy(logits, labels, reduction="none")
        if loss is Loss.JOINT:
            # Only what is not reached yet is worth a step: without the limit one would be traded for the other.
            return criterion, margin.clamp(max=JOINT_MARGIN) + direction.clamp(max=JOINT_MARGIN)
        return criterion, margin

    def acceptance(self, x: Tensor, logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) twice: the score above the threshold of the predicted class, in units of the clean ID scores' IQR.

        The first is told by the score; the second has the same value, and the gradient of the detector's objective.
        """
        thresholds = self.context.acceptance
        if thresholds is None:
            raise UsageError("acceptance is asked for, and there is no threshold; the harness gives it.")
        if self.context.draws:
            score, objective = mean_score_and_objective(self.detector, x, self.ids[rows], self.context)
        else:
            score, objective = self.detector.score_and_objective(x)
        above = (score - thresholds.of(logits.argmax(dim=1), score.dtype)) / thresholds.scale
        slope = (objective - objective.detach()) / thresholds.scale
        return above, above.detach() + slope


JOINT_MARGIN = 0.5
"""How far past decision and threshold the joint loss pushes each, so that rounding undoes neither."""


def wrong_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) the largest logit of another class less that of the true one; above 0 the image is misclassified.

    Args:
        logits: (N, K), K at least 2.
        labels: (N,) int64 true classes.
    """
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1) - true


def needed_logits(detector: Detector, x: Tensor) -> Tensor:
    """(N, K) logits of the classifier inside.

    Raises:
        UsageError: The detector has none.
    """
    logits = detector.logits(x)
    if logits is None:
        raise UsageError(
            f"{detector.title} predicts no classes, so there is no decision to fool; choose a detector with a "
            "classifier, or --side evade."
        )
    return logits


def needed_class_scores(detector: Detector, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """(N, K) what the score would be for each class, and margins; see `Detector.class_scores_and_margins`.

    Raises:
        NotApplicableError: No class has a part in the score.
    """
    scores, margins = detector.class_scores_and_margins(x)
    if scores is None:
        raise NotApplicableError(
            f"{detector.title} does not compare an image with one class, so that there are no classes to attack in "
            "turn; choose pgd, or a score with a part for each class, such as msp, odin, mahalanobis, she or klm.",
            why="its score is of no single class",
        )
    return scores, margins


def mean_score(detector: Detector, x: Tensor, ids: Tensor, context: Context, *, first: int = 0) -> Tensor:
    """(B,) the score of a random detector, mean over `context.draws` draws of its noise.

    Args:
        detector: A random detector.
        x: (B, C, H, W) images.
        ids: (B,) their sample ids.
        context: Seed and number of draws.
        first: The number of the first draw; the harness scores afresh with others than an attack saw.
    """
    total = torch.zeros(len(x), device=x.device)
    for draw in range(first, first + context.draws):
        total = total + detector.score(x, noise=noise_source(ids, draw, context))
    return total / context.draws


def mean_score_and_objective(
    detector: Detector, x: Tensor, ids: Tensor, context: Context, *, first: int = 0
) -> tuple[Tensor, Tensor]:
    """(B,) twice: the same mean, and that of what directs an attack; arguments as in `mean_score`.

    One tensor where score and objective are one.
    """
    total = directed = torch.zeros(len(x), device=x.device)
    for draw in range(first, first + context.draws):
        score, objective = detector.noisy_score_and_objective(x, noise_source(ids, draw, context))
        same = directed is total and objective is score
        total = total + score
        directed = total if same else directed + objective
    mean = total / context.draws
    return mean, mean if directed is total else directed / context.draws


def noise_source(ids: Tensor, draw: int, context: Context) -> NoiseSource:
    """The noise of one draw: every request within it gets numbers of its own."""
    asked = 0

    def source(shape: tuple[int, ...]) -> Tensor:
        nonlocal asked
        asked += 1
        return context.noise(ids, _NOISE_DRAWS + draw * _REQUESTS + asked, shape)

    return source


_NOISE_DRAWS = 1 << 40
"""Far from the draws that threats make for their starts, so that no number serves twice."""

_REQUESTS = 1 << 10
"""More than a detector asks for in one score."""
