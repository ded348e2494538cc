"""Greedy local search: a black box attack that changes a few pixels a round."""

import math
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import changed_pixels
from bench.threat_models.tracking import Tracker


class LocalSearchParams(ThreatParams):
    """Parameters of `LocalSearch`; the paper's names in brackets.

    Attributes:
        rounds: The most rounds (R).
        pixels: Pixels changed in every round (t).
        factor: By which a pixel is multiplied, cyclically (r).
        reach: Half the side of the square around a changed pixel that is looked at in the next round (d).
        first_share: Share of all pixels that are looked at in the first round.
        probes: The most pixels that are looked at in one round.
    """

    rounds: int = Field(default=150, ge=1, le=100_000)
    pixels: int = Field(default=5, ge=1, le=10_000)
    factor: float = Field(default=1.5, gt=1, le=3)
    reach: int = Field(default=5, ge=1, le=1000)
    first_share: float = Field(default=0.1, gt=0, le=1)
    probes: int = Field(default=64, ge=1, le=100_000)


class LocalSearch(Threat):
    """LocSearchAdv (Narodytska and Kasiviswanathan 2017, algorithm 2): black box, with scores.

    A round changes each of some pixels by itself, keeps the change of those `pixels` of them that helped the attacker
    most, and looks in the next round at the squares around them. A pixel is multiplied by `factor`, counted from
    mid-grey, and comes in again at the other end of the range where it leaves it. Against a classifier (side `fool`)
    the search ends at the first image that does what the attacker is after, else with its rounds. The answer is the
    best image asked for, so that a few pixels at a time are what it costs: there is no norm.

    Figures: "pixels", how many positions were changed.

    Deviations: the paper probes a pixel with +-p far outside the range of images and writes the cyclic value after;
    nobody can send such an image to a detector, and a clipped one would change no black pixel, so a pixel is probed
    with the value that is written. At most `probes` pixels are looked at in a round, drawn at random. All channels of
    a pixel change together. What the pixels are ranked by is what directs the side: the paper's probability of the
    true class has the order of `--loss ce`.
    """

    params: LocalSearchParams

    def cost(self, case: Case) -> Cost:
        """One query a probe, one a round, and one for the image itself."""
        probes = min(self.params.probes, math.prod(case.shape[1:]))
        return Cost(0, 1 + self.params.rounds * (probes + 1))

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """At most (probes + 1) * rounds + 1 queries an image."""
        rounds = self.params.rounds
        tracker = Tracker(x, iterations=rounds + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        y = x.clone()
        share = context.uniform(ids, 0, tuple(x.shape[2:])).flatten(1)
        spots = share <= torch.maximum(share.new_tensor(self.params.first_share), share.amin(dim=1, keepdim=True))
        for turn in range(1, rounds + 1):
            left = (~_done(tracker)).nonzero().flatten()
            if len(left) == 0:
                break
            for batch in oracle.batches(len(left)):
                rows = left[batch]
                drawn = context.uniform(ids[rows], turn, (share.shape[1],))
                y[rows], chosen = self._round(oracle, tracker, rows, y[rows], drawn, spots[rows], turn)
                spots[rows] = around(chosen.view(-1, *x.shape[2:]), self.params.reach).flatten(1)
            tracker.report(turn / rounds)
        tracker.report(1.0)
        result = tracker.result(budget)
        return replace(result, figures={"pixels": changed_pixels(result.images, x)})

    def _round(
        self, oracle: Oracle, tracker: Tracker, rows: Tensor, y: Tensor, drawn: Tensor, spots: Tensor, turn: int
    ) -> tuple[Tensor, Tensor]:
        """The next images of some samples, and (rows, H * W) which pixels were changed."""
        written = cyclic(y, self.params.factor).flatten(2)
        # What is not to be looked at is last; a square of fewer pixels than `probes` leaves places empty.
        order = torch.where(spots, drawn, 2.0).sort(dim=1)
        probes = min(self.params.probes, spots.shape[1])
        places, wanted = order.indices[:, :probes], order.values[:, :probes] < 2.0
        gain = tracker.score.new_full(places.shape, -torch.inf)
        owner, column = wanted.nonzero(as_tuple=True)
        for batch in oracle.batches(len(owner)):
            who, where = owner[batch], places[owner[batch], column[batch]]
            probe = y[who].flatten(2)
            index = torch.arange(len(who), device=y.device)
            probe[index, :, where] = written[who, :, where]
            _, direction = oracle.evaluate(probe.view(-1, *y.shape[1:]), rows[who])
            gain[who, column[batch]] = torch.where(torch.isfinite(direction), direction, -torch.inf)
        tracker.queries[rows] += wanted.sum(dim=1)
        best = gain.topk(min(self.params.pixels, probes), dim=1)
        changed = torch.zeros_like(spots)
        changed.scatter_(1, places.gather(1, best.indices), torch.isfinite(best.values))
        images = torch.where(changed[:, None], written, y.flatten(2)).view_as(y)
        criterion, direction = oracle.evaluate(images, rows)
        tracker.try_images(turn, rows, criterion, direction, images)
        return images, changed


def cyclic(x: Tensor, factor: float) -> Tensor:
    """The values that pixels are changed to (algorithm 1, CYCLIC), for the range [-1/2, 1/2] moved to [0, 1]."""
    grown = (x - 0.5) * factor
    back = torch.where(grown > 0.5, grown - 1.0, torch.where(grown < -0.5, grown + 1.0, grown))
    return (back + 0.5).clamp(0.0, 1.0)


def around(chosen: Tensor, reach: int) -> Tensor:
    """(N, H, W) bool -> the same, with the squares of side 2 reach + 1 around every pixel that is set."""
    return functional.max_pool2d(chosen[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0


def _done(tracker: Tracker) -> Tensor:
    """(N,) which samples need no further round."""
    if tracker.context.side is Side.FOOL:
        return tracker.score > 0
    return tracker.past_target()
