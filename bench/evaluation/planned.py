"""A cell before it is computed, and what all cells of a run share. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bench.cards.detector import DetectorSpec, ThresholdSource
from bench.cards.threat import Goal, Loss, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.detectors.precision import FULL_PRECISION, SearchPrecision
from bench.errors import NotApplicableError
from bench.evaluation.keys import Ingredients
from bench.evaluation.sets import ALL_SETS, SetChoice
from bench.evaluation.spending import Evidence

_QUARTERS = 4
"""Pieces of a micro-batch where whole ones would make shares uneven."""

CLEAN = "clean"
"""The threat that attacks nothing: its cell holds the clean scores that every other cell of a detector needs."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell before it is computed.

    Attributes:
        track: The track with the OOD sets that the run is about.
        params: The threat's parameters in force: the card's, and over them those of the command line.
        ignored: Parameters asked for that the threat's card does not list.
        ingredients: What the numbers depend on.
        key: Where the cell is stored.
        clean: The clean cell of the same detector, track, seed and limit; None for a clean cell.
        needs: The cells that it is made from: the members of a worst case, or the sources of a transfer attack.
        left_out: What else the threat's card names, members or sources, and why it cannot be run here.
        without: OOD sets of the track that the run leaves out.
        refused: Why the threat cannot be run on this detector and track at all; None where it can.
    """

    detector: DetectorSpec
    threat: ThreatCard
    track: TrackCard
    params: dict[str, Any]
    ignored: tuple[str, ...]
    ingredients: Ingredients
    key: str
    clean: "PlannedCell | None"
    needs: "tuple[PlannedCell, ...]" = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    refused: NotApplicableError | None = None

    @property
    def label(self) -> str:
        """What a person calls the cell."""
        eps = f" {self.ingredients.norm} {self.ingredients.eps:g}" if self.ingredients.eps is not None else ""
        return f"{self.detector.name} x {self.threat.name}{eps} on {self.track.name}"

    @property
    def attacks(self) -> bool:
        """Whether this is an attack; the clean cell is none."""
        return self.clean is not None

    @property
    def can_be_shared(self) -> bool:
        """Whether several processes can attack its images, some each: an attack on the score, and no worst case."""
        side = self.ingredients.side
        return self.attacks and not self.threat.members and side not in (Side.FOOL, Side.BETWEEN)

    def made_from(self, keys: Sequence[str]) -> "PlannedCell":
        """The same cell made from other cells than were planned, and so with a key of its own.

        Args:
            keys: Of the cells that there are: some of those planned may have failed, or be made from fewer themselves.
        """
        if tuple(keys) == self.ingredients.needs:
            return self
        ingredients = replace(self.ingredients, needs=tuple(keys))
        return replace(self, ingredients=ingredients, key=ingredients.key())


class Wave(StrEnum):
    """Which images of a cell are attacked at a time."""

    ALL = "all"
    AUDIT = "audit"
    REST = "rest"


@dataclass(frozen=True)
class Part:
    """One of several shares of a cell's images, the same results whatever the cut.

    Attributes:
        number: From 0.
        count: How many shares there are.
        wave: The images that are shared: all of them, those of the audit, or the others, whose budget depends on it.
        round: Of an audit, from 0.
    """

    number: int = 0
    count: int = 1
    wave: Wave = Wave.ALL
    round: int = 0

    def rows(self, images: int, micro_batch: int) -> slice:
        """Which of so many images are this share's; none where there are fewer pieces than shares.

        Pieces are whole micro-batches, which have no padding, or quarters of one where so few of them would be uneven:
        an image has several starts, which fill a micro-batch together.
        """
        few = math.ceil(images / micro_batch) < 2 * self.count
        size = math.ceil(micro_batch / _QUARTERS) if few else micro_batch
        pieces = math.ceil(images / size)
        first, last = (pieces * place // self.count for place in (self.number, self.number + 1))
        return slice(min(first * size, images), min(last * size, images))


@dataclass(frozen=True)
class RunOptions:
    """What all cells of a run share.

    Attributes:
        seed: Of the attacks' random numbers.
        limit: The most images of a set; None takes the track's own limit.
        side: The images that are attacked; None takes each threat's own first side.
        overrides: Parameters over those of the cards, for the threats whose cards list them.
        early_stop: Stop an image's attack once no rank can change any more; on side `fool` nothing stops early.
        micro_batch: The batch shape of scores and gradients; None takes the detector's own.
        data_dir: Where data files lie; None for the default.
        goal: What side `fool` has to reach.
        loss: What directs gradients there; None takes the joint one where acceptance is asked for, else the margin.
        sets: The OOD sets that the run is about.
        evidence: What must be known before images are attacked with less than the full budget; None spends it on all.
        search_precision: How the first half of an attack's steps is made cheaper.
        nested: Let attacks on the score at several radii go on from the best points of the next smaller one.
    """

    seed: int = 0
    limit: int | None = None
    side: Side | None = None
    overrides: Mapping[str, Any] | None = None
    early_stop: bool = True
    micro_batch: int | None = None
    data_dir: Path | None = None
    goal: Goal = Goal.MISCLASSIFY
    loss: Loss | None = None
    sets: SetChoice = ALL_SETS
    evidence: Evidence | None = None
    search_precision: SearchPrecision = FULL_PRECISION
    nested: bool = False


def needs_train(spec: DetectorSpec) -> bool:
    """Whether a detector's figures depend on the training images themselves: its thresholds or its fit, when loaded."""
    return spec.fit_when_loaded or spec.thresholds.source is ThresholdSource.TRAIN
