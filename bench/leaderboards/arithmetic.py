"""From the scores of a row to its figures: what a submission writes, and a verification computes again."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import metrics
from bench.evaluation.thresholds import TPR
from bench.leaderboards.arrays import CLEAN, Arrays, member_name, worst_name
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

    def mean(self, scores: Scores) -> Estimate:
        """Mean AUROC of the ID test images against OOD scores, (m,), over the sets that count."""
        parts = self.by_set(scores)
        return _estimate(metrics.mean_over_sets(self.test, [parts[name] for name in self.counting]))

    def set_figures(self, entry: int) -> dict[str, SetFigures]:
        """The figures of every OOD set under the worst case of an entry."""
        clean, worst = self.by_set(self.clean), self.by_set(self.arrays[worst_name(entry)])
        return {
            name: SetFigures(
                n_id=len(self.test), n_ood=len(attacked), counts=name in self.counting,
                clean=_estimate(metrics.delong(self.test, clean[name])),
                attacked=_estimate(metrics.delong(self.test, attacked)),
                conservative_auroc=metrics.conservative_auroc(self.test, attacked),
                fpr95=metrics.fpr_at_tpr(self.test, attacked, TPR),
            )
            for name, attacked in worst.items()
        }  # fmt: skip

    def worst_mean(self, entry: int) -> Estimate:
        """Mean AUROC under the worst case of an entry."""
        return self.mean(self.arrays[worst_name(entry)])

    def member_mean(self, entry: int, threat: str) -> Estimate:
        """Mean AUROC under one attack of an entry."""
        return self.mean(self.arrays[member_name(entry, threat)])

    def clean_mean(self) -> Estimate:
        """Mean AUROC without an attack."""
        return self.mean(self.clean)


def _estimate(found: AurocEstimate) -> Estimate:
    return Estimate(auroc=found.auroc, se=found.se, low=found.low, high=found.high)
