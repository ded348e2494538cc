"""The checks that need extra runs, on the fixed images of one attacked side: D2 to D4, D6 to D12, D15, D16, D20."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.evaluation.results import Cell
from bench.soundness import comparisons, jumps, probes, records
from bench.soundness.checklist import CHECKS
from bench.soundness.lab import QUERY, Lab, cell_cost
from bench.soundness.verdicts import Finding
from bench.soundness.view import BySet, flat, split
from bench.threat_models import geometry
from bench.threat_models.adaptive import Adaptive, AdaptiveParams
from bench.threat_models.base import Threat
from bench.threat_models.costs import Case
from bench.threat_models.fgm import FGM
from bench.threat_models.guides import drawn_guides
from bench.threat_models.interpolation import Interpolation, InterpolationParams

STEP_SIZES = (1 / 50, 1 / 10, 1 / 4, 1.0)
"""The grid of step sizes in units of eps; 2.5 / K is one more."""
_ALIKE = 1.3
"""Step sizes that differ by no more than this factor are one."""

_SHORT = 1 / 20
"""Steps shorter than this share of the chosen ones are not expected to stop as early."""

MORE_RESTARTS = 5
"""How many times the restarts D7 compares with."""

WALKS = InterpolationParams(nearest=1, drawn=1, points=10)
"""Ways to ID images that D9 walks."""

BLACK_QUERIES = 500
"""Queries an image of the black box where its card does not say fewer."""


_WAYS = 3
"""On which D15 looks for jumps."""

_SHORT_REPAIR = AdaptiveParams(steps=10, longer=2)
"""What D20 tries where more would cost too much."""


@dataclass(frozen=True)
class Rivals:
    """What the extra runs are made of.

    Attributes:
        own: Makes the cell's threat with these parameters over those in force.
        black_box: Name and attacker of a black box in the same norm; None where there is none.
        elsewhere: Name of another detector, and what loads it; None where there is none.
    """

    own: Callable[[Mapping[str, Any]], Threat]
    black_box: tuple[str, Threat] | None
    elsewhere: tuple[str, Callable[[], Detector]] | None


@dataclass(frozen=True)
class Run:
    """One extra check: what it costs an image, in gradients, and what it finds."""

    check: str
    cost: float
    ask: Callable[[], list[Finding]]


@dataclass(frozen=True)
class Finished:
    """Images of an attack that went to its end."""

    images: Tensor
    scores: NDArray[np.floating]


class Runs:
    """The extra checks of one attacked side.

    Args:
        lab: The fixed images.
        cell: The cell.
        rivals: What the runs are made of.
        late: What the cell's traces say for D6; None without traces.
        feasible: D16 as the stored cell answers it, with the AUROCs before and after rounding to come.
        kept: Attacked images of the cell that went to the end of its attack; None where they stopped early.
    """

    def __init__(
        self,
        lab: Lab,
        cell: Cell,
        rivals: Rivals,
        *,
        late: float | None,
        feasible: Callable[[tuple[float, float]], Finding],
        kept: Tensor | None,
    ) -> None:
        self.lab = lab
        self.meta = cell.meta
        self.rivals = rivals
        self.late = late
        self.feasible = feasible
        self.finished: Finished | None = None if kept is None else Finished(kept, flat(lab.view.attacked))
        self.params: dict[str, Any] = dict(cell.meta.threat_params)
        attacked = max(1, sum(cell.meta.statuses.values()))
        self.each = cell_cost(cell) / attacked  # gradients that the cell's own attack spent on an image
        self.rough: Finding | None = None  # D15 as far as random points answer it
        self.reached: dict[str, BySet] = {}  # what other attacks in the same ball reached, by what they are called

    def all(self) -> Iterator[Run]:
        """Every check that applies, those that tell most for their cost first."""
        steps, restarts = self._number("steps"), self._number("restarts")
        yield Run("D2", 2.0, self._gradients)
        yield Run("D3", 1.0 + QUERY * 2 * len(probes.STEPS), self._slopes)
        yield Run("D4", QUERY * (probes.POINTS + 1), self._random_points)
        if steps is not None:
            yield Run("D10", 1.0 + 3 * QUERY, self._one_step)
        yield Run("D9", self.each + QUERY * 2 * WALKS.points, self._boundless)
        if self.rivals.elsewhere is not None:
            yield Run("D12", self._one_restart_cost(), self._transfer)
        if self.rivals.black_box is not None:
            yield Run("D11", QUERY * BLACK_QUERIES, self._black_box)
        if self.lab.view.side is not Side.FOOL:
            yield Run("D20", self._repair_cost(Adaptive(_SHORT_REPAIR)), self._repair)
        if steps is not None:
            yield Run("D6", 2.0 * self.each, self._steps)
        yield Run("D16", 0.0 if self.finished else self._one_restart_cost(), self._rounding)
        if self.lab.view.side is not Side.FOOL:
            yield Run("D15", QUERY * jumps.queries(_WAYS), self._jumps)
        if "step_size" in self.params and steps is not None:
            yield Run("D8", sum(map(self._step_size_cost, self._grid())), self._step_sizes)
        if restarts is not None:
            yield Run("D7", (MORE_RESTARTS - 1) * self.each, self._restarts)

    def inapplicable(self) -> list[Finding]:
        """The checks that this threat has no use for, and why."""
        side, skipped = self.lab.view.side, []
        for check, name in (("D6", "steps"), ("D7", "restarts"), ("D8", "step_size"), ("D10", "steps")):
            if name not in self.params:
                skipped.append(CHECKS[check].skipped(f"the threat has no parameter '{name}'.", side=side))
        if self.rivals.black_box is None:
            skipped.append(CHECKS["D11"].skipped(f"there is no black box of norm {self.meta.norm}.", side=side))
        if self.rivals.elsewhere is None:
            skipped.append(CHECKS["D12"].skipped("no other detector can be loaded on this track.", side=side))
        return skipped

    def finish(self) -> Finished:
        """Images of the cell's attack, or of one restart of it, that was not stopped early."""
        if self.finished is None:
            fewer = {"restarts": 1} if "restarts" in self.params else {}
            done = self.lab.attack(self.rivals.own(fewer), stop=False)
            self.finished = Finished(done.images, done.scores)
        return self.finished

    # ------------------------------------------------------------------- probes

    def _gradients(self) -> list[Finding]:
        shares = probes.unusable_gradients(self.lab.target)
        self.lab.allowance.spend(gradients=2 * len(self.lab.x))
        return [records.usable_gradient(self.lab.view, shares)]

    def _slopes(self) -> list[Finding]:
        errors = probes.gradient_errors(self.lab.target)
        self.lab.allowance.spend(gradients=len(self.lab.x), queries=2 * len(probes.STEPS) * len(self.lab.x))
        if not errors:
            return [CHECKS["D3"].skipped("no image has a usable gradient (D2).", side=self.lab.view.side)]
        declared = self.lab.detector.info.approximate_gradient
        return [records.gradient_is_the_gradient(self.lab.view, errors, declared=declared)]

    def _random_points(self) -> list[Finding]:
        view = self.lab.view
        found = probes.random_points(self.lab.target, view.iqr)
        self.lab.allowance.spend(queries=(probes.POINTS + 1) * len(self.lab.x))
        # The best of many scores by the same draws is a lucky one: fresh draws tell what it is worth.
        scores = self.lab.score(found.images) if self.lab.detector.info.random else found.scores
        self.reached["random points"] = split(scores, view)
        self.rough = records.smooth(view, found.roughness)
        return [comparisons.noise_does_not_win(view, split(scores, view)), self.rough]

    def _jumps(self) -> list[Finding]:
        """On the ways to the end of the attack where that is known, to a random point, and towards an ID image."""
        lab = self.lab
        ends = [lab.target.points(1), *([self.finished.images] if self.finished is not None else [])]
        if lab.context.pool is not None and len(lab.context.pool):
            rows = drawn_guides(lab.ids, 1, pool=len(lab.context.pool), draw=0, context=lab.context)[:, 0]
            ends.append(lab.context.pool[rows])
        found = jumps.largest_jumps(lab.target, ends)
        lab.allowance.spend(queries=jumps.queries(len(ends)) * len(lab.x))
        return [records.without_jumps(lab.view, found, self.rough)]

    # ------------------------------------------------------------------- other attacks

    def _one_step(self) -> list[Finding]:
        return [comparisons.iterating_helps(self.lab.view, self._attacked(FGM(), "one step"))]

    def _boundless(self) -> list[Finding]:
        view, box = self.lab.view, _box(self.lab)
        boundless = self._outside(self.rivals.own({}), eps=box)
        copied = self._outside(Interpolation(WALKS), eps=box) if view.side is Side.EVADE else None
        return [comparisons.unbounded_succeeds(view, boundless, copied)]

    def _black_box(self) -> list[Finding]:
        assert self.rivals.black_box is not None
        name, threat = self.rivals.black_box
        return [comparisons.black_box_does_not_win(self.lab.view, self._attacked(threat, name), name=name)]

    def _repair(self) -> list[Finding]:
        whole, short = Adaptive(), Adaptive(_SHORT_REPAIR)
        chosen = whole if self.lab.allowance.affords(self._repair_cost(whole) * self.lab.view.count) else short
        return [comparisons.repair_does_not_win(self.lab.view, self._attacked(chosen, "repairs of the gradient"))]

    def _repair_cost(self, threat: Adaptive) -> float:
        view, shape = self.lab.view, tuple(self.lab.x.shape[1:])
        cost = threat.cost(Case(side=view.side, shape=shape, classes=self.lab.detector.classes, images=view.count))
        return cost.gradients + QUERY * cost.queries

    def _transfer(self) -> list[Finding]:
        assert self.rivals.elsewhere is not None
        name, load = self.rivals.elsewhere
        fewer = {"restarts": 1} if "restarts" in self.params else {}
        crafted = self.lab.attack(self.rivals.own(fewer), stop=False, detector=load())
        arrived = self.reached[f"images of {name}"] = split(self.lab.score(crafted.images), self.lab.view)
        return [comparisons.transfer_does_not_win(self.lab.view, arrived, name=name)]

    # ------------------------------------------------------------------- the same attack, otherwise

    def _steps(self) -> list[Finding]:
        doubled = self._attacked(self.rivals.own({"steps": 2 * int(self.params["steps"])}), "twice the steps")
        return [comparisons.converged_in_steps(self.lab.view, doubled, self.late)]

    def _restarts(self) -> list[Finding]:
        # The first restarts of a larger number would be those of the cell again: another seed's are further ones.
        further = (MORE_RESTARTS - 1) * int(self.params["restarts"])
        more = self._attacked(self.rivals.own({"restarts": further}), "more restarts", seed=self.meta.seed + 1)
        return [comparisons.converged_in_restarts(self.lab.view, more)]

    def _step_sizes(self) -> list[Finding]:
        chosen, steps = float(self.params["step_size"]), int(self.params["steps"])
        others = {
            size: self._attacked(self.rivals.own({"step_size": size}), f"steps of {size:.3g} eps")
            for size in self._grid()
        }
        mean = 0.5 if self.params.get("schedule") == "cosine" else 1.0
        return [comparisons.step_size_is_right(self.lab.view, others, chosen=chosen, path=steps * chosen * mean)]

    def _rounding(self) -> list[Finding]:
        finished, view = self.finish(), self.lab.view
        rounded = self.lab.score((finished.images * 255).round() / 255)
        aurocs = [view.auroc(split(scores, view)) for scores in (self.lab.score(finished.images), rounded)]
        return [self.feasible((aurocs[0], aurocs[1]))]

    def _attacked(self, threat: Threat, name: str, *, seed: int | None = None) -> BySet:
        """What another attack in the cell's own ball reaches; noted for the figure that could have been printed."""
        self.reached[name] = self.lab.scores(self.lab.attack(threat, seed=seed))
        return self.reached[name]

    def _outside(self, threat: Threat, *, eps: float) -> BySet:
        return self.lab.scores(self.lab.attack(threat, eps=eps))

    def _grid(self) -> list[float]:
        """Step sizes to compare the chosen one with, in units of eps."""
        chosen = float(self.params["step_size"])
        grid: list[float] = []
        for size in (*STEP_SIZES, 2.5 / int(self.params["steps"])):
            if all(max(size, known) > _ALIKE * min(size, known) for known in (chosen, *grid)):
                grid.append(size)
        return grid

    def _step_size_cost(self, size: float) -> float:
        """Gradients an image: short steps may never get where the cell's stopped early."""
        if size >= _SHORT * float(self.params["step_size"]):
            return self.each
        return max(self.each, (self._number("steps") or 1.0) * (self._number("restarts") or 1.0))

    def _one_restart_cost(self) -> float:
        return self._number("steps") or 1.0

    def _number(self, name: str) -> float | None:
        value = self.params.get(name)
        return float(value) if isinstance(value, int | float) else None


def _box(lab: Lab) -> float:
    """The radius from which on a ball around any image holds the whole box."""
    assert lab.budget.norm is not None
    return geometry.reach(lab.x, lab.budget.norm, math.inf)


def as_tensor(images: NDArray[np.float32], lab: Lab) -> Tensor:
    """Images where the lab's are."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(lab.x.device)
