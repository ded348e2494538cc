"""Extra runs on a few fixed images of a cell, within what the checks may spend."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.detectors.base import Detector
from bench.evaluation.crafting import Crafted, craft
from bench.evaluation.orders import context_of
from bench.evaluation.results import Cell
from bench.evaluation.scoring import Draws, draws_of, score_images
from bench.evaluation.stage import Stage
from bench.metrics.scores import Scores, as_scores
from bench.soundness.probes import Target
from bench.soundness.view import View, flat, split
from bench.threat_models.base import Budget, Context, Status, Threat

QUERY = 0.4
"""What a score costs in gradients: a pass forward next to one forward and back."""

_SHAPE = 32
"""Images a batch on a CPU: few images get fewer as they stop, and padding them to the cell's own batch would cost more
seconds than the attack on them."""


@dataclass
class Allowance:
    """What the checks may spend, in gradients; a score counts `QUERY`.

    Attributes:
        total: All of it.
        spent: So far.
    """

    total: float
    spent: float = 0.0

    def affords(self, cost: float) -> bool:
        """Whether so much is left."""
        return self.spent + cost <= self.total

    def spend(self, *, gradients: float = 0.0, queries: float = 0.0) -> None:
        """Note what was spent."""
        self.spent += gradients + QUERY * queries


def cell_cost(cell: Cell) -> float:
    """What a cell cost, in gradients.

    An image whose attack came to a standstill counts with the budget that it was given: a masked gradient makes a cell
    cheap, and that is just where checks are needed.
    """
    samples, params = cell.samples, cell.meta.threat_params
    spent = samples["gradients"].to_numpy(np.float64) + QUERY * samples["queries"].to_numpy(np.float64)
    numbers = [params.get(name, default) for name, default in (("steps", 0), ("restarts", 1))]
    given = math.prod(value for value in numbers if isinstance(value, int | float))
    stuck = samples["status"].isin([Status.NO_GRADIENT, Status.NON_FINITE]).to_numpy()
    return float(np.where(stuck, np.maximum(spent, given), spent).sum())


class Lab:
    """The fixed images of one attacked side of a cell, and everything that it takes to attack them once more.

    Args:
        stage: Detector, images and clean cell.
        threat: The cell's attacker.
        view: One attacked side, cut to the fixed images.
        allowance: What may be spent, on all sides together.
    """

    def __init__(self, stage: Stage, threat: Threat, view: View, allowance: Allowance) -> None:
        self.stage = stage
        self.view = view
        self.allowance = allowance
        sets, names = stage.images.sets(), list(view.clean)
        order = stage.order(threat)
        target = stage.targets.low if view.sign < 0 else stage.targets.high
        whole = context_of(order, names, view.side, target)
        ends = np.cumsum([0, *(len(sets[name]) for name in names)])[:-1].tolist()
        rows = torch.from_numpy(np.concatenate([view.rows[n] + end for n, end in zip(names, ends, strict=True)]))
        device = whole.pool.device if whole.pool is not None else torch.device("cpu")
        self.x: Tensor = torch.cat([sets[name].pixels()[view.rows[name]] for name in names]).to(device)
        self.ids: Tensor = torch.cat([sets[name].ids[view.rows[name]] for name in names]).to(device)
        shape = min(whole.micro_batch, _SHAPE) if device.type == "cpu" else whole.micro_batch
        self.context: Context = replace(whole.at(rows.to(device)), micro_batch=shape)

    @property
    def detector(self) -> Detector:
        """The detector under attack."""
        return self.stage.detector

    @property
    def budget(self) -> Budget:
        """The cell's own."""
        return Budget(self.stage.planned.ingredients.norm, self.stage.planned.ingredients.eps)

    @cached_property
    def target(self) -> Target:
        """What the probes ask; the cell has a norm and a radius."""
        norm, eps = self.budget.norm, self.budget.eps
        assert norm is not None and eps is not None
        return Target(self.detector, self.x, self.ids, norm, eps, self.context)

    def attack(
        self,
        threat: Threat,
        *,
        eps: float | None = None,
        stop: bool = True,
        seed: int | None = None,
        detector: Detector | None = None,
    ) -> Crafted:
        """Attack the images once more, and count what it costs.

        Args:
            threat: The attacker.
            eps: Its radius; None takes the cell's.
            stop: Whether it may stop where the cell may.
            seed: Of its random numbers; None takes the cell's.
            detector: Another detector to craft on; None takes the cell's.
        """
        chosen = self.detector if detector is None else detector
        clean = as_scores(flat(self.view.clean))
        context = replace(
            self.context,
            draws=draws_of(chosen),
            stop_target=self.context.stop_target if stop else None,
            seed=self.context.seed if seed is None else seed,
        )
        if detector is not None:
            clean = self.score(self.x, detector)
        budget = self.budget if eps is None else Budget(self.budget.norm, eps)
        done = craft(chosen, threat, self.x, clean, ids=self.ids, budget=budget, context=context)
        self.allowance.spend(gradients=int(done.gradients.sum()), queries=int(done.queries.sum()) + len(self.x))
        return done

    def scores(self, done: Crafted) -> Mapping[str, NDArray[np.floating]]:
        """The scores of an attack by set."""
        return split(done.scores, self.view)

    def score(self, images: Tensor, detector: Detector | None = None, *, fresh: int = 1) -> Scores:
        """(N,) scores of as many images as there are fixed ones; random detectors by a round of draws of its own."""
        chosen = self.detector if detector is None else detector
        self.allowance.spend(queries=len(images))
        return score_images(chosen, images, self.context.micro_batch, Draws(self.ids, self.context.seed, round=fresh))
