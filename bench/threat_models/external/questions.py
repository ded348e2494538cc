"""The model that another library's attack sees, and the record of what it asks."""

import torch
from torch import Tensor, nn

from bench.cards.threat import Goal, Norm, Side
from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.base import TRACE_LENGTH, Context
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import needed_logits, objective_of, wrong_margin
from bench.threat_models.tracking import Tracker

_INSIDE = 1 + 1e-5
"""By which share of eps rounding may take an image out of the ball."""


class Questions(nn.Module):
    """A classifier to fool, whose every answer is judged by the score and kept where it is the best so far.

    Two logits [m / (1 + |m|), 0], where m is how far the score is past its goal, in units of the spread of clean
    scores, and the classes are "done" and "not yet". Cross-entropy on [m, 0] itself has a gradient of exactly zero in
    float32 from m = -104 on, where a library's attack silently returns its input; this form keeps the gradient's
    direction, the sign of m and the order of scores at any distance. The goal is the stop target; without one it is the
    best score of the images that the attacker may use, or of those under attack. On the side `fool` the classifier's
    own logits are given, or where acceptance is asked for too, two logits as above of the joint objective.

    Args:
        detector: Frozen, in evaluation mode.
        oracle: Its batch shape is kept whatever the library asks for at once.
        tracker: Where costs and the best images are kept.
        x: (N, C, H, W) all clean images.
        ids: (N,) their ids.
        samples: (B,) positions of those of this chunk.
        norm: Of the ball.
        eps: Radius of the ball.
        context: Side, goals, labels.
    """

    def __init__(
        self,
        detector: Detector,
        oracle: Oracle,
        tracker: Tracker,
        x: Tensor,
        ids: Tensor,
        samples: Tensor,
        norm: Norm,
        eps: float,
        context: Context,
    ) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1, device=x.device), requires_grad=False)  # libraries ask for the device
        self._plain = context.side is Side.FOOL and context.goal is Goal.MISCLASSIFY  # the classifier itself
        self.classes = detector.classes if self._plain else 2
        self._detector = [detector]  # in a list: its parameters and modes are none of the library's business
        self._oracle, self._tracker, self._context = oracle, tracker, context
        self._objective = objective_of(detector, ids, context)
        self._x, self._samples, self._norm, self._eps = x, samples, norm, eps
        self._goal, self._scale = self._aim()
        self._asked = 0
        self.eval()

    def labels(self) -> Tensor:
        """(B,) the classes from which the chunk is to be led away."""
        return self._true_labels()[self._samples] if self._plain else torch.ones_like(self._samples)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) images, of any number, to (R, K) logits."""
        rows, counts = self._owners(x.detach()), torch.is_grad_enabled() and x.requires_grad
        if counts:
            x = x.view_as(x)  # one of its own for every question, so that no gradient is counted twice
            x.register_hook(lambda gradient: self._count(rows, gradient))  # type: ignore[no-untyped-call]
        pieces = []
        for batch in self._oracle.batches(len(x)):
            size = len(x[batch])
            given, whose = self._oracle.pad(x[batch]), self._oracle.pad(rows[batch])
            pieces.append([part[:size] for part in self._answer(given, whose)])
        logits, criterion, direction = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        self._record(x.detach(), rows, criterion.detach(), direction.detach())
        if counts:  # a library stops with an error where nothing depends on x, as with a constant score
            return logits + 0.0 * x.flatten(1).sum(dim=1, keepdim=True)
        self._tracker.queries.index_add_(0, rows, torch.ones_like(rows))
        return logits

    def _answer(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, criterion and direction of a padded micro-batch."""
        if self._plain:
            logits = needed_logits(self._detector[0], x)
            criterion = wrong_margin(logits, self._true_labels()[rows])
            return torch.where(torch.isfinite(logits), logits, 0.0), criterion, criterion
        criterion, direction = self._objective(x, rows)
        past = (criterion.detach() + (direction - direction.detach()) - self._goal) / self._scale
        past = torch.where(torch.isfinite(past), past, -1.0)
        soft = past / (1.0 + past.abs())
        return torch.stack([soft, torch.zeros_like(soft)], dim=1), criterion, direction

    def _true_labels(self) -> Tensor:
        assert self._context.labels is not None, "the objective has refused already"
        return self._context.labels

    def _count(self, rows: Tensor, gradient: Tensor) -> None:
        """A gradient came back."""
        tracker, slope = self._tracker, geometry.magnitude(gradient.detach())
        tracker.gradients.index_add_(0, rows, torch.ones_like(rows))
        tracker.flat.index_add_(0, rows, (slope == 0).long())
        tracker.non_finite.index_add_(0, rows, (~torch.isfinite(slope)).long())

    def _owners(self, x: Tensor) -> Tensor:
        """(R,) positions of the clean images from which these stem: the nearest ones, where it is not the chunk."""
        if len(x) == len(self._samples):
            return self._samples
        away = torch.cdist(x.flatten(1), self._x[self._samples].flatten(1))
        return self._samples[torch.nan_to_num(away, nan=torch.inf).argmin(dim=1)]

    def _record(self, x: Tensor, rows: Tensor, criterion: Tensor, direction: Tensor) -> None:
        """Keep the best image of every sample that lies in its ball."""
        tracker = self._tracker
        finite = torch.isfinite(criterion) & torch.isfinite(direction)
        tracker.non_finite.index_add_(0, rows, (~finite).long())
        boxed = ((x >= 0) & (x <= 1)).flatten(1).all(dim=1)
        inside = geometry.distance(x, self._x[rows], self._norm) <= self._eps * _INSIDE
        order = torch.where(finite, criterion, -torch.inf).argsort(descending=True, stable=True)
        order = order[(finite & boxed & inside)[order]]
        best = order[_first_of_each(rows[order])]
        tracker.offer(rows[best], criterion[best], direction[best], x[best], x[best])
        self._asked += 1
        tracker.record(min(self._asked, TRACE_LENGTH - 1), rows[best], criterion[best])

    def _aim(self) -> tuple[float, float]:
        """The score from which on an image is done, and the unit of distances from it."""
        if self._context.side is Side.FOOL:
            return 0.0, 1.0
        pool = self._context.pool
        if pool is not None and len(pool) > 0:
            known = self._oracle.evaluate(pool, self._samples[:1].expand(len(pool)))[0]
        else:
            known = self._tracker.score
        known = known[torch.isfinite(known)]
        if len(known) == 0:
            return 0.0, 1.0
        low, high = torch.quantile(known.double(), torch.tensor([0.25, 0.75], dtype=torch.float64, device=known.device))
        target = self._context.stop_target
        goal = float(known.max()) if target is None else self._context.sign * target
        return goal, max(float(high - low), 1e-12)


def _first_of_each(values: Tensor) -> Tensor:
    """(R,) bool: where a value occurs for the first time."""
    known, inverse = torch.unique(values, return_inverse=True)
    places = torch.arange(len(values), device=values.device)
    first = torch.full((len(known),), len(values), device=values.device).scatter_reduce(0, inverse, places, "amin")
    return places == first[inverse]
