"""The boundary attack: a walk along the decision boundary towards the clean image, by decisions alone."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Goal, Norm
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.guides import nearest_guides, needed_pool
from bench.threat_models.nearest import Nearest, labels_to_fool
from bench.threat_models.objectives import FoolObjective, Objective, needed_logits, wrong_margin

_HALVINGS = 10
"""The start is moved to within a thousandth of the boundary on the straight line to the clean image."""

_CHECK_EVERY = 10
"""Every tenth step asks for the orthogonal step alone too, as foolbox does, to set its length."""

_SPHERE_TARGET, _SOURCE_TARGET = 0.5, 0.2
"""Shares of successes that the step lengths are steered to: the paper's one half, and one in five for whole steps."""

_SPHERE_RATE, _SOURCE_RATE = 0.5, 0.1
"""How fast lengths change: a success multiplies a length by exp(rate * (1 - target)), a failure by exp(-rate * target).
The first is higher since it is checked more rarely."""

_PATIENCE = 2
"""A walk is watched over so many steps a pixel: near a flat boundary they halve what is left to gain."""

_CONVERGED = 0.005
"""A walk that comes nearer by less than this share of its distance meanwhile has converged."""


class Targeted(StrEnum):
    """Which class the image is to be taken for."""

    NONE = "none"  # any but its own
    NEXT = "next"  # the one after its own
    RANDOM = "random"  # one of the others, by the seed


class BoundaryParams(ThreatParams):
    """Parameters of `Boundary`.

    Attributes:
        steps: The most steps of a walk; a step is one query, and every tenth step two.
        starts: How many pool images, the nearest first, are asked for one that does what the attacker is after.
        targeted: Which class the image is to be taken for.
    """

    steps: int = Field(default=25_000, ge=1, le=10_000_000)
    starts: int = Field(default=200, ge=1, le=100_000)
    targeted: Targeted = Targeted.NONE


class Boundary(Threat):
    """The boundary attack (Brendel, Rauber and Bethge 2018, algorithm 1 and section 2), in L2.

    A step goes a little along the sphere around the clean image, in a random direction, and then a little towards the
    clean image; it is taken where the decision stays wrong. Only decisions are asked for, never a gradient or a score.

    The start is a calibration image that does what the attacker is after: one that is taken for another class, or where
    acceptance is the goal, one of another class that the detector accepts too. The latter is the form with C + 1
    classes of Fetaya, Jacobsen, Grathwohl and Zemel (2020, section 4.3), in which "non-image" is a class; theirs is
    `targeted: random`. A sample without a start fails, alone.

    The default budget is that of foolbox, 25,000 steps or 27,500 queries: the gain of a step shrinks with the number of
    pixels. On linear classifiers with 1,024 pixels 10,000 queries come within 7 % of the minimal norm and 20,000 within
    3 %, where walks end since they have converged; with 36 pixels they end there after about 700.

    Deviations: every second step leaves pixels alone that are at a wall of the box. Where the nearest image has many of
    them, a random direction costs more by those that it takes off the wall than it can gain by the others, at any
    length, and the walk of the paper stops short: up to 9 % too far with 36 pixels, a third of them at walls. Every
    sample has random directions and step lengths of its own (foolbox shares the directions, and the paper says nothing
    of batches). Lengths change a little after every decision instead of by a factor after a hundred, with the same
    shares of successes in view. The walk ends where it stops coming nearer, not where the length of the step to the
    source falls below a constant. Starts are the nearest ones instead of drawn ones, and are moved to the boundary by
    ten halvings first.
    """

    follows_loss = False
    params: BoundaryParams

    def cost(self, case: Case) -> Cost:
        """Eleven queries for ten steps, and those that look for a start."""
        return Cost(0, 1 + self.params.starts + _HALVINGS + 1.1 * self.params.steps)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """The nearest image that does it, for every sample that has a start.

        Raises:
            UsageError: Another norm than L2, another side than `fool`, no labels, no pool, no classifier.
        """
        if budget.norm not in (None, Norm.L2):
            raise UsageError(f"boundary looks for the nearest image in L2; given is the norm {budget.norm}.")
        wanted = _Wanted.of(self.params.targeted, detector, x, ids, context)
        oracle = Oracle(detector, ids=ids, context=context, objective=wanted.objective)
        tracker = Nearest(x, iterations=self.params.steps + 1, context=context)
        walk = _Walk(oracle, tracker, x, ids, context)
        left = walk.begin(tracker.begin(oracle), self._starts(x, wanted, context))
        patience = _PATIENCE * x[0].numel() if len(x) else 1
        for step in range(1, self.params.steps + 1):
            if len(left) == 0:
                break
            for batch in oracle.batches(len(left)):
                walk.step(left[batch], step)
            if step % patience == 0:
                left = walk.unfinished(left)
            tracker.report(step / self.params.steps)
        tracker.report(1.0)
        return tracker.result(budget)

    def _starts(self, x: Tensor, wanted: "_Wanted", context: Context) -> Tensor:
        """(N, S) rows of the pool in the order in which they are tried: promising labels first, then the nearest."""
        pool = needed_pool(context)
        order = nearest_guides(x, pool, Norm.L2, len(pool))
        if context.pool_labels is not None:
            late = ~wanted.promising(context.pool_labels[order])
            order = order.gather(1, late.byte().argsort(dim=1, stable=True))
        return order[:, : self.params.starts]


@dataclass(frozen=True)
class _Wanted:
    """Which class every image is to be taken for: any but `labels` where `targets` is None."""

    labels: Tensor
    targets: Tensor | None
    objective: Objective

    @classmethod
    def of(cls, targeted: Targeted, detector: Detector, x: Tensor, ids: Tensor, context: Context) -> "_Wanted":
        labels = labels_to_fool("boundary", context)
        untargeted = FoolObjective(detector, ids, context)
        if targeted is Targeted.NONE or len(x) == 0:
            return cls(labels, None, untargeted)
        with torch.no_grad():
            classes = needed_logits(detector, x[:1]).shape[1]
        ahead = torch.ones_like(labels)
        if targeted is Targeted.RANDOM:
            ahead += (context.uniform(ids, 0, (1,))[:, 0].double() * (classes - 1)).long()
        targets = (labels + ahead) % classes
        return cls(labels, targets, TargetedObjective(detector, targets, untargeted))

    def promising(self, labels: Tensor) -> Tensor:
        """(N, S) whether pool images of these labels should be what is wanted."""
        return labels != self.labels[:, None] if self.targets is None else labels == self.targets[:, None]


@dataclass(frozen=True)
class TargetedObjective:
    """The margin of a target class, and where acceptance is the goal, the distance above the threshold if smaller.

    Attributes:
        detector: Frozen, in evaluation mode, with a classifier.
        targets: (N,) target classes.
        untargeted: Knows goal and thresholds.
    """

    detector: Detector
    targets: Tensor
    untargeted: FoolObjective

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) above 0 where it is reached, twice."""
        logits = needed_logits(self.detector, x)
        criterion = -wrong_margin(logits, self.targets[rows])
        if self.untargeted.context.goal is Goal.ACCEPT:
            criterion = torch.minimum(criterion, self.untargeted.acceptance(x, logits, rows)[0])
        return criterion, criterion


@dataclass
class _Walk:
    """Where the walk of every sample is, and how long its steps are in units of its distance."""

    oracle: Oracle
    tracker: Nearest
    x: Tensor
    ids: Tensor
    context: Context
    y: Tensor = field(init=False)
    distance: Tensor = field(init=False)
    watched: Tensor = field(init=False)  # the distance when it was last looked at
    sphere: Tensor = field(init=False)
    source: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.y = self.x.clone()
        self.distance, self.watched = (self.x.new_full((len(self.x),), torch.inf) for _ in range(2))
        self.sphere, self.source = self.x.new_full((len(self.x),), 0.1), self.x.new_full((len(self.x),), 0.01)

    def begin(self, left: Tensor, starts: Tensor) -> Tensor:
        """Find a start for each of these samples and move it to the boundary; returns those that have one."""
        assert self.context.pool is not None
        begun = torch.zeros(len(self.x), dtype=torch.bool, device=self.x.device)
        for attempt in range(starts.shape[1]):
            missing = left[~begun[left]]
            if len(missing) == 0:
                break
            for batch in self.oracle.batches(len(missing)):
                rows = missing[batch]
                images = self.context.pool[starts[rows, attempt]]
                reached = self._decide(rows, self.oracle.pad(images), iteration=0)
                begun[rows] = reached
        left = left[begun[left]]
        for batch in self.oracle.batches(len(left)):
            self._halve(left[batch])
        return left

    def _halve(self, rows: Tensor) -> None:
        clean, far = self.x[self.oracle.pad(rows)], self.y[self.oracle.pad(rows)]
        low, high = torch.zeros(len(far), device=far.device), torch.ones(len(far), device=far.device)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            images = torch.lerp(clean, far, middle.view(-1, 1, 1, 1))
            reached = self.oracle.pad(self._decide(rows, images, iteration=0))
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)

    def step(self, rows: Tensor, step: int) -> None:
        """One step of at most a micro-batch of walks."""
        samples, count = self.oracle.pad(rows), len(rows)
        x, y = self.x[samples].flatten(1), self.y[samples].flatten(1)
        distance, sphere, source = self.distance[samples], self.sphere[samples], self.source[samples]
        noise = self.context.noise(self.ids[samples], step, tuple(x.shape[1:]))
        holds = step % 2 == 0
        if holds:
            held = at_walls(x, y, sphere * distance)
            x, noise = torch.where(held, y, x), torch.where(held, 0.0, noise)
            distance = torch.linalg.vector_norm(y - x, dim=1)
        moved = along_sphere(x, y, noise, sphere)
        away = torch.linalg.vector_norm(moved - x, dim=1)
        # Where the box has cut a step short, it has come nearer by more than the sphere allows already.
        share = ((1.0 - source) * distance / away).clamp(max=1.0)
        near = torch.lerp(x, moved, share[:, None])
        if step % _CHECK_EVERY == 0:
            hit = self._ask(rows, moved.view_as(self.x[samples]))[0]
            self.sphere[rows] = _steered(sphere[:count], hit, _SPHERE_TARGET, _SPHERE_RATE).clamp(max=1.0)
        hit = self._decide(rows, near.view_as(self.x[samples]), iteration=step)
        if holds:
            self.source[rows] = _steered(source[:count], hit, _SOURCE_TARGET, _SOURCE_RATE).clamp(max=0.5)

    def unfinished(self, left: Tensor) -> Tensor:
        """Those of these samples that have come nearer since they were last looked at."""
        nearer = self.distance[left] < (1.0 - _CONVERGED) * self.watched[left]
        self.watched[left] = self.distance[left]
        return left[nearer]

    def _ask(self, rows: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """One query for each of these rows: whether its image (padded) does it, and the criterion."""
        criterion = self.oracle.ask(images, self.oracle.pad(rows))[0][: len(rows)]
        self.tracker.queries[rows] += 1
        self.tracker.non_finite[rows] += (~torch.isfinite(criterion)).long()
        return criterion > 0, criterion

    def _decide(self, rows: Tensor, images: Tensor, *, iteration: int) -> Tensor:
        """Ask, and move those walks on whose image does it and is nearer; returns which images do it."""
        reached, criterion = self._ask(rows, images)
        distance = geometry.distance(images, self.x[self.oracle.pad(rows)], Norm.L2)[: len(rows)]
        taken = reached & (distance < self.distance[rows])
        self.y[rows[taken]], self.distance[rows[taken]] = images[: len(rows)][taken], distance[taken]
        self.tracker.found(iteration, rows, taken, distance, criterion, images[: len(rows)])
        return reached


def along_sphere(x: Tensor, y: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """Points at the distance of y from x, turned from y towards a random direction, then clipped to the box.

    The noise is made orthogonal to the line between the two, given the length `step` times the distance, added, and the
    sum is brought back to the sphere by Pythagoras (the paper's figure 2, orthogonal perturbation).

    Args:
        x: (N, D) clean images.
        y: (N, D) others.
        noise: (N, D) standard normal.
        step: (N,) tangents of the angle.
    """
    away = y - x
    distance = torch.linalg.vector_norm(away, dim=1, keepdim=True)
    unit = away / distance
    turn = noise - (noise * unit).sum(dim=1, keepdim=True) * unit
    turn = turn * (step[:, None] * distance / torch.linalg.vector_norm(turn, dim=1, keepdim=True))
    turned: Tensor = x + (away + turn) / (1.0 + step.square()).sqrt()[:, None]
    return turned.clamp_(0.0, 1.0)


def at_walls(x: Tensor, y: Tensor, step: Tensor) -> Tensor:
    """(N, D) the pixels of y (N, D) that are nearer to 0 or 1 than a step of length (N,) changes one of them.

    None of them where no other pixel of y differs from the clean image x (N, D): there would be no way to go.
    """
    near = torch.minimum(y, 1.0 - y) <= step[:, None] / math.sqrt(x.shape[1])
    free = (~near & (y != x)).any(dim=1, keepdim=True)
    return near.logical_and(free)


def _steered(length: Tensor, hit: Tensor, target: float, rate: float) -> Tensor:
    """A length after a success or failure; it stays where it is on average once the target share succeeds."""
    return length * torch.exp(rate * (hit.float() - target))
