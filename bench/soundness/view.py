"""One attacked side of a cell, as the checks see it: what was attacked, what it faces, and how far it may count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.cards.threat import Side
from bench.evaluation.results import Cell
from bench.metrics.scores import Scores, as_scores

BySet = Mapping[str, Scores]
"""Scores of the attacked images, in the detector's own sign, by set."""

TEST = "test"
TAU = 1e-3
"""Gains that differ by less, in interquartile ranges of the clean ID scores, count as equal."""


@dataclass(frozen=True)
class View:
    """One attacked side.

    Attributes:
        side: EVADE (OOD sets attacked) or ALARM (ID test images attacked).
        rows: Attacked set -> positions of its images in the whole set.
        clean: Attacked set -> clean scores.
        attacked: Attacked set -> scores after the attack.
        opponents: Clean scores that they face: of the ID test images, or of each OOD set that counts.
        target: Beyond which a score counts as equal to it; None where nothing was stopped early.
        iqr: Of the clean scores of the ID test images.
    """

    side: Side
    rows: Mapping[str, NDArray[np.int64]]
    clean: BySet
    attacked: BySet
    opponents: tuple[Scores, ...]
    target: float | None
    iqr: float

    @property
    def unit(self) -> str:
        """What the figure is, in words."""
        return "AUROC"

    @property
    def sign(self) -> float:
        """+1 where the attacker raises scores, -1 where it lowers them."""
        return -1.0 if self.side is Side.ALARM else 1.0

    @property
    def tau(self) -> float:
        """Gains that differ by less count as equal."""
        return TAU * self.iqr

    @property
    def count(self) -> int:
        """How many images are attacked."""
        return sum(len(part) for part in self.clean.values())

    def auroc(self, scores: BySet | None = None) -> float:
        """Mean AUROC over the sets with these scores of the attacked images; None takes the cell's own."""
        facing = self._facing(scores)
        return float(np.mean([metrics.auroc(low, high) for low, high in facing]))

    def conservative_auroc(self) -> float:
        """The same with ties against the defender."""
        return float(np.mean([metrics.conservative_auroc(low, high) for low, high in self._facing(None)]))

    def compare(self, scores: BySet) -> metrics.Difference:
        """AUROC with these scores less the cell's own, with the paired error."""
        (id_a, ood_a), (id_b, ood_b) = (zip(*self._facing(s), strict=True) for s in (scores, None))
        return metrics.paired_mean_difference(list(id_a), list(ood_a), list(id_b), list(ood_b))

    def error(self, difference: metrics.Difference) -> float:
        """Two standard errors of a difference; without a spread the rule of three, since the error vanishes there."""
        smallest = min(*(len(part) for part in self.opponents), *(len(part) for part in self.clean.values()))
        return 2.0 * difference.se if difference.se > 0 else min(1.0, 3.0 / smallest)

    def gain(self, scores: BySet | None = None) -> NDArray[np.float64]:
        """(count,) how far each score moved in the attacker's direction, up to the target: sets one after the other."""
        chosen = self.attacked if scores is None else scores
        return self.sign * (flat(self._cut(chosen)) - flat(self.clean))

    def better(self, scores: BySet) -> float:
        """Share of the images that gain more with these scores than in the cell."""
        return float(np.mean(self.gain(scores) > self.gain() + self.tau))

    def best(self, *several: BySet) -> BySet:
        """The best score of each image for the attacker."""
        take = np.minimum if self.side is Side.ALARM else np.maximum
        return {name: take.reduce([scores[name] for scores in several]) for name in self.clean}

    def sample(self, at_most: int) -> "View":
        """The same with at most so many images of each set, always the same ones, evenly spread."""
        chosen = {name: spread(len(scores), at_most) for name, scores in self.clean.items()}
        return replace(
            self,
            rows={name: self.rows[name][rows] for name, rows in chosen.items()},
            clean={name: self.clean[name][rows] for name, rows in chosen.items()},
            attacked={name: self.attacked[name][rows] for name, rows in chosen.items()},
        )

    def _cut(self, scores: BySet) -> BySet:
        low, high = (self.target, None) if self.side is Side.ALARM else (None, self.target)
        return {name: metrics.clip_beyond_targets(scores[name], low, high) for name in self.clean}

    def _facing(self, scores: BySet | None) -> list[tuple[Scores, Scores]]:
        """(ID scores, OOD scores) for every AUROC of the mean."""
        cut = self._cut(self.attacked if scores is None else scores)
        if self.side is Side.ALARM:
            return [(cut[TEST], opponent) for opponent in self.opponents]
        return [(self.opponents[0], part) for part in cut.values()]


def views(cell: Cell) -> list[View]:
    """Every attacked side of a cell; none for a clean cell, and for sides on which no score is attacked.

    Of the OOD sets those that enter the mean are taken; all of them where none does.
    """
    meta, samples = cell.meta, cell.samples
    sides = [side for side in (Side.EVADE, Side.ALARM) if meta.side in (side, Side.BOTH)]
    if not meta.statuses:
        return []
    ood = list(meta.mean.sets) if meta.mean is not None else list(meta.sets)
    names = samples["set"].to_numpy()
    clean, attacked = (as_scores(samples[column].to_numpy()) for column in ("clean_score", "score"))
    where = {name: np.flatnonzero(names == name) for name in (TEST, *ood)}

    def view(side: Side) -> View:
        sets = [TEST] if side is Side.ALARM else ood
        facing = ood if side is Side.ALARM else [TEST]
        target = meta.stop_low if side is Side.ALARM else meta.stop_high
        return View(
            side=side,
            rows={name: np.arange(len(where[name])) for name in sets},
            clean={name: clean[where[name]] for name in sets},
            attacked={name: attacked[where[name]] for name in sets},
            opponents=tuple(clean[where[name]] for name in facing),
            target=target if meta.early_stop else None,
            iqr=meta.iqr,
        )

    return [view(side) for side in sides]


def attacked_rows(cell: Cell, view: View) -> NDArray[np.int64]:
    """(count,) rows of the cell's samples that a view of all its images is about, in the order of `View.gain`."""
    names = cell.samples["set"].to_numpy()
    return np.concatenate([np.flatnonzero(names == name)[view.rows[name]] for name in view.clean])


def spread(size: int, at_most: int) -> NDArray[np.int64]:
    """At most so many positions of `size`, evenly spread, always the same ones."""
    wanted = min(size, at_most)
    return (np.arange(wanted) * size) // max(1, wanted)


def flat(scores: BySet) -> NDArray[np.float64]:
    """All sets one after the other."""
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in scores.values()])


def split(values: Scores, view: View) -> dict[str, Scores]:
    """The inverse of `flat`."""
    ends: Sequence[int] = np.cumsum([len(part) for part in view.clean.values()]).tolist()
    return {name: values[end - len(part) : end] for (name, part), end in zip(view.clean.items(), ends, strict=True)}
