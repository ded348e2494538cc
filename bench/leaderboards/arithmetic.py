"""From the scores of a row to its figures: what a submission writes, and a verification computes again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.evaluation.thresholds import TPR
from bench.leaderboards.arrays import CLEAN, IDS, RIGHT, Arrays, member_name, worst_name
from bench.leaderboards.row import Estimate, SetFigures
from bench.metrics import AurocEstimate
from bench.metrics.scores import Scores

TEST = "test"


@dataclass(frozen=True)
class ScoreTable:
    """All scores of a row, cut into sets.

    Attributes:
        sets: Images of each set: "test", then every OOD set.
        counting: The OOD sets that enter the mean.
        arrays: As `bench.leaderboards.arrays` names them.
    """

    sets: Mapping[str, int]
    counting: tuple[str, ...]
    arrays: Arrays

    @property
    def test(self) -> Scores:
        """(n,) clean scores of the ID test images."""
        return self.arrays[CLEAN][: self.sets[TEST]]

    @property
    def clean(self) -> Scores:
        """(m,) clean scores of the OOD images."""
        return self.arrays[CLEAN][self.sets[TEST] :]

    def by_set(self, scores: Scores) -> dict[str, Scores]:
        """OOD scores, (m,), set by set."""
        parts, start = {}, 0
        for name, count in self.sets.items():
            if name != TEST:
                parts[name] = scores[start : start + count]
                start += count
        return parts

    def ids_by_set(self) -> dict[str, NDArray[np.int64]]:
        """The sample ids of every set, "test" first."""
        ends = np.cumsum(list(self.sets.values()))[:-1].tolist()
        return dict(zip(self.sets, np.split(self.arrays[IDS], ends), strict=True))

    def mean(self, scores: Scores) -> Estimate:
        """Mean AUROC of the ID test images against OOD scores, (m,), over the sets that count."""
        parts = self.by_set(scores)
        return _estimate(metrics.mean_over_sets(self.test, [parts[name] for name in self.counting]))

    def set_figures(self, entry: int) -> dict[str, SetFigures]:
        """The figures of every OOD set under the worst case of an entry."""
        clean, worst = self.by_set(self.clean), self.by_set(self.arrays[worst_name(entry)])
        return {
            name: SetFigures(
                n_id=len(self.test),
                n_ood=len(attacked),
                counts=name in self.counting,
                clean=_estimate(metrics.delong(self.test, clean[name])),
                attacked=_estimate(metrics.delong(self.test, attacked)),
                conservative_auroc=metrics.conservative_auroc(self.test, attacked),
                fpr95=metrics.fpr_at_tpr(self.test, attacked, TPR),
            )
            for name, attacked in worst.items()
        }

    def worst_mean(self, entry: int) -> Estimate:
        """Mean AUROC under the worst case of an entry."""
        return self.mean(self.arrays[worst_name(entry)])

    def member_mean(self, entry: int, threat: str) -> Estimate:
        """Mean AUROC under one attack of an entry."""
        return self.mean(self.arrays[member_name(entry, threat)])

    def clean_mean(self) -> Estimate:
        """Mean AUROC without an attack."""
        return self.mean(self.clean)

    def id_accuracy(self) -> float | None:
        """Share of the ID test images with a label whose class is predicted; None without a classifier or labels."""
        right = self.arrays.get(RIGHT)
        if right is None or not (right >= 0).any():
            return None
        return float((right[right >= 0] > 0).mean())


def rightly_classified(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int8] | None:
    """The array `RIGHT` of labels and predicted classes, each (n,); None where no class is predicted or no label known.

    Labels are -1 where there is none, and so are all predictions of a detector without a classifier.
    """
    if (predicted < 0).all() or (labels < 0).all():
        return None
    return np.where(labels < 0, -1, labels == predicted).astype(np.int8)


def _estimate(found: AurocEstimate) -> Estimate:
    return Estimate(auroc=found.auroc, se=found.se, low=found.low, high=found.high)
