"""The level `re-attacked`: fresh attacks with other seeds, at equal budget, do not make a row much worse."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.engine import CellFailure, run_plan
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.store import CellStore, MemoryStore, Store
from bench.leaderboards import arrays as names
from bench.leaderboards.claims import Files
from bench.leaderboards.row import Row
from bench.leaderboards.suite import Choice, suite_cells
from bench.metrics import iqr, mean_over_sets, paired_mean_difference
from bench.metrics.scores import Scores, as_scores

ATTEMPTS = 3
"""The fewest fresh seeds."""

LEAST = 0.005
"""An AUROC that is claimed may exceed the mean of the fresh ones by this, or by three of their standard deviations."""

DEVIATIONS = 3.0

MOVED = 1e-3
"""Scores that differ by less than this share of the IQR of clean ID scores count as equal."""

Watch = Callable[[PlannedCell, int], None]
"""Called with the cell at hand and its seed."""


@dataclass(frozen=True)
class FreshEntry:
    """Fresh attacks of one entry of the suite.

    Attributes:
        aurocs: Mean AUROC of each seed.
        scores: (seeds, m) scores of the OOD images.
    """

    aurocs: tuple[float, ...]
    scores: Scores

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.aurocs))

    @property
    def allowed(self) -> float:
        """The highest AUROC that may be claimed."""
        return self.mean + max(LEAST, DEVIATIONS * self.sd)

    @property
    def sd(self) -> float:
        """Standard deviation over the seeds."""
        return float(np.std(self.aurocs, ddof=1))

    @property
    def median(self) -> float:
        """What a row is ranked by."""
        return float(np.median(self.aurocs))


@dataclass(frozen=True)
class Fresh:
    """Fresh attacks of all entries, in the suite's order."""

    seeds: tuple[int, ...]
    entries: tuple[FreshEntry, ...]


def fresh_attacks(
    row: Row,
    catalog: Catalog,
    *,
    seeds: Sequence[int] = (),
    device: str = "cpu",
    data_dir: Path | None = None,
    out: Path | None = None,
    watch: Watch = lambda planned, seed: None,
) -> Fresh:
    """Attack a row's detector again, with the suite and images of the row and other seeds.

    Args:
        row: A row whose claims hold.
        catalog: Where cards and weights are found.
        seeds: Other than the row's own; empty takes the next three.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        out: A folder that keeps the cells; None keeps them in memory.
        watch: Hears of the cell at hand.

    Raises:
        UsageError: Fewer than three seeds, equal ones, or the row's own.
        BenchError: A cell cannot be computed.
    """
    chosen = tuple(seeds) or tuple(row.seed + k for k in range(1, ATTEMPTS + 1))
    if len(set(chosen)) < ATTEMPTS or len(set(chosen)) < len(chosen) or row.seed in chosen or min(chosen) < 0:
        raise UsageError(
            f"seeds are {', '.join(map(str, chosen))}; allowed are {ATTEMPTS} or more different ones, 0 or above, and "
            f"not the row's own ({row.seed})."
        )
    store: CellStore = Store(out) if out is not None else MemoryStore()
    track = catalog.track(row.track.name)
    found: list[list[Cell]] = [[] for _ in row.entries]
    for seed in chosen:
        choice = Choice(seed, row.entries[0].cell.early_stop)
        for number, planned in enumerate(suite_cells(catalog, row.detector.name, track, choice, data_dir)):
            watch(planned, seed)
            found[number].append(_computed(planned, store, catalog, device, data_dir))
    return Fresh(chosen, tuple(_fresh_entry(row, cells) for cells in found))


def check_reattacked(row: Row, files: Files, fresh: Fresh) -> Iterator[str]:
    """One sentence for every entry whose attack was weaker than fresh ones at equal budget.

    Two rules: the claimed AUROC is at most the fresh mean + max(0.005, 3 sd); and, image by image, the claimed score is
    the mildest of all seeds' no more often than chance allows: were the claimed seed like the others, it would be the
    mildest of k + 1 for one image in k + 1 (ties count for nobody), within three standard errors.
    """
    table = files.table
    for number, (entry, again) in enumerate(zip(row.entries, fresh.entries, strict=True)):
        where = f"{entry.threat} at {entry.norm} {entry.eps:g}"
        claimed = table.arrays[names.worst_name(number)]
        if again.scores.shape[1:] != claimed.shape:
            yield f"{where}: fresh attacks are of other images."
            continue
        if entry.mean.auroc > again.allowed + 1e-12:
            middle = np.mean(again.scores, axis=0)
            paired = paired_mean_difference(
                table.test, _counting(row, table.by_set(claimed)), table.test, _counting(row, table.by_set(middle))
            )
            yield (
                f"{where}: AUROC {entry.mean.auroc:.4f} is claimed, and fresh attacks allow {again.allowed:.4f} "
                f"(mean {again.mean:.4f}, sd {again.sd:.4f}; paired with the mean score of each image the "
                f"difference is {paired.difference:+.4f} +- {paired.se:.4f})."
            )
        share, most = mildest_share(claimed, again.scores, MOVED * (iqr(table.test) or 1.0))
        if share > most:
            yield (
                f"{where}: for {share:.0%} of the images the claimed score is milder than that of every fresh attack "
                f"(equal attacks: at most {most:.0%}), so the claimed attack was weaker."
            )


def mildest_share(claimed: Scores, fresh: Scores, moved: float) -> tuple[float, float]:
    """The share of images whose claimed score lies below all fresh ones, and the largest that chance explains.

    Args:
        claimed: (m,) scores of attacked OOD images; an attack raises them.
        fresh: (k, m) scores of the same images under k further seeds.
        moved: Smaller differences count as none.
    """
    count, chance = len(claimed), 1.0 / (len(fresh) + 1)
    share = float(np.mean(claimed < fresh.min(axis=0) - moved))
    return share, chance + 3.0 * math.sqrt(chance * (1.0 - chance) / count)


def _computed(planned: PlannedCell, store: CellStore, catalog: Catalog, device: str, data_dir: Path | None) -> Cell:
    for outcome in run_plan([planned], store, catalog, device=device, data_dir=data_dir):
        if isinstance(outcome, CellFailure):
            raise outcome.error
    cell = store.get(planned.key)
    assert cell is not None  # it was stored a moment ago
    return cell


def _fresh_entry(row: Row, cells: list[Cell]) -> FreshEntry:
    scores, aurocs = [], []
    for cell in cells:
        parts = {name: cell.samples[cell.samples["set"] == name]["score"].to_numpy() for name in row.scores.sets}
        test = parts.pop("test")
        aurocs.append(mean_over_sets(test, _counting(row, parts)).auroc)
        scores.append(as_scores(np.concatenate(list(parts.values()))))
    return FreshEntry(tuple(aurocs), np.stack(scores))


def _counting(row: Row, parts: dict[str, Scores]) -> list[Scores]:
    return [parts[name] for name, figures in row.entries[0].sets.items() if figures.counts]
