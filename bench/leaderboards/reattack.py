"""The level `re-attacked`: fresh attacks with other seeds, at equal budget, do not make a row much worse."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.engine import CellFailure, run_plan
from bench.evaluation.plan import PlannedCell
from bench.evaluation.store import CellStore, MemoryStore, Store
from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import TEST, ScoreTable
from bench.leaderboards.beliefs import failed_attacks
from bench.leaderboards.build import Source, row_of_cells
from bench.leaderboards.companions import Files
from bench.leaderboards.row import SCORES_SUFFIX, Row
from bench.leaderboards.suite import Choice, suite_cells
from bench.metrics import iqr, paired_mean_difference
from bench.metrics.scores import Scores, as_scores

ATTEMPTS = 3
"""The fewest fresh seeds."""

MOST_ATTEMPTS = 100
"""The most: a record holds no more."""

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
        return self.mean + self.tolerance

    @property
    def beaten_below(self) -> float:
        """Images of somebody else's attack beat the row where they leave less than this."""
        return self.median - self.tolerance

    @property
    def tolerance(self) -> float:
        """What equal attacks with other seeds may differ by."""
        return max(LEAST, DEVIATIONS * self.sd)

    @property
    def sd(self) -> float:
        """Standard deviation over the seeds."""
        return float(np.std(self.aurocs, ddof=1))

    @property
    def median(self) -> float:
        """What a row is ranked by."""
        return float(np.median(self.aurocs))


@dataclass(frozen=True)
class OwnRow:
    """The row that a verifier's cells make with one seed: every figure that a board shows is one of it.

    Attributes:
        row: The row.
        table: Its scores.
        content: The file of these scores.
        unanswered: For every worst case that says nothing, why; without the full stop.
    """

    row: Row
    table: ScoreTable
    content: bytes
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fresh:
    """Fresh attacks of all entries, in the suite's order.

    Attributes:
        seeds: That the verifier chose.
        entries: What they come to.
        rows: The verifier's own row of each seed.
    """

    seeds: tuple[int, ...]
    entries: tuple[FreshEntry, ...]
    rows: tuple[OwnRow, ...] = ()

    @property
    def ranked(self) -> float:
        """The lowest median over the entries."""
        return min(entry.median for entry in self.entries)

    @property
    def ranking(self) -> OwnRow:
        """The row of the seed that comes nearest to the median that ranks."""
        number = min(range(len(self.entries)), key=lambda n: self.entries[n].median)
        return min(self.rows, key=lambda own: abs(own.row.entries[number].mean.auroc - self.ranked))


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
        seeds: Other than the row's own; empty takes three that nobody knows before, or those that `out` has cells of.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        out: A folder that keeps the cells; None keeps them in memory.
        watch: Hears of the cell at hand.

    Raises:
        UsageError: Fewer than three seeds, more than a hundred, equal ones, or the row's own.
        BenchError: A cell cannot be computed.
    """
    store: CellStore = Store(out) if out is not None else MemoryStore()
    chosen = tuple(seeds) or _drawn_seeds(row, store)
    allowed = ATTEMPTS <= len(chosen) == len(set(chosen)) <= MOST_ATTEMPTS
    if not allowed or row.seed in chosen or min(chosen) < 0:
        listed = ", ".join(map(str, chosen[:10])) + (", ..." if len(chosen) > 10 else "")
        raise UsageError(
            f"seeds are {listed}; allowed are {ATTEMPTS} to {MOST_ATTEMPTS} different "
            f"ones, 0 or above, and not the row's own ({row.seed})."
        )
    track = catalog.track(row.track.name)
    source = Source(catalog, store, str(out) if out is not None else "memory", out)
    rows = []
    for seed in chosen:
        choice = Choice(seed, row.entries[0].cell.early_stop)
        planned = suite_cells(catalog, row.detector.name, track, choice, data_dir)
        for cell in planned:
            watch(cell, seed)
            _compute(cell, store, catalog, device, data_dir)
        built = row_of_cells(source, row.detector.name, track, planned, choice, images=0)
        rows.append(OwnRow(built.row, built.table, built.files[SCORES_SUFFIX], built.unanswered))
    return Fresh(chosen, tuple(_fresh_entry(row, number, rows) for number in range(len(row.entries))), tuple(rows))


def doubts(fresh: Fresh, catalog: Catalog) -> Iterator[str]:
    """One sentence for all that makes the verifier's own attacks no bound to be ranked by.

    A soundness check fails them, or they found no number for many images.
    """
    for own in fresh.rows:
        for why in own.unanswered:
            yield f"{why} (seed {own.row.seed})."
        for entry in own.row.entries:
            for name, failed in failed_attacks(entry, catalog).items():
                yield (
                    f"{name} at {entry.norm} {entry.eps:g} with seed {own.row.seed} fails the soundness checks "
                    f"{', '.join(failed)}, so that what it leaves cannot be believed."
                )


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


def _drawn_seeds(row: Row, store: CellStore) -> tuple[int, ...]:
    """Seeds that no submitter could know; those of an interrupted verification first, whose cells are there."""
    begun: list[int] = []
    if isinstance(store, Store):
        own = (row.detector.name, row.detector.settings_hash, row.track.name)
        begun = [m.seed for m in store.metas() if m.eps and (m.detector, m.detector_hash, m.track) == own]
    seeds = [seed for seed in sorted(set(begun)) if seed != row.seed][:ATTEMPTS]
    while len(seeds) < ATTEMPTS:
        if (seed := secrets.randbelow(2**31)) not in (*seeds, row.seed):
            seeds.append(seed)
    return tuple(sorted(seeds))


def _compute(planned: PlannedCell, store: CellStore, catalog: Catalog, device: str, data_dir: Path | None) -> None:
    for outcome in run_plan([planned], store, catalog, device=device, data_dir=data_dir):
        if isinstance(outcome, CellFailure):
            raise outcome.error


def _fresh_entry(row: Row, number: int, rows: Sequence[OwnRow]) -> FreshEntry:
    """The fresh figures of one entry, and the scores in the order of the row's own."""
    order = [name for name in row.scores.sets if name != TEST]
    scores = []
    for own in rows:
        parts = own.table.by_set(own.table.arrays[names.worst_name(number)])
        scores.append(as_scores(np.concatenate([parts[name] for name in order])))
    return FreshEntry(tuple(own.row.entries[number].mean.auroc for own in rows), np.stack(scores))


def _counting(row: Row, parts: dict[str, Scores]) -> list[Scores]:
    return [parts[name] for name, figures in row.entries[0].sets.items() if figures.counts]
