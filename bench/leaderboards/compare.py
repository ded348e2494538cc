"""Two rows side by side: differences of their AUROCs, paired where the samples are the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench import metrics
from bench.leaderboards import arrays as names
from bench.leaderboards.ranking import Standing
from bench.metrics.scores import Scores

MOST = 60
"""The most rows of a track that are compared with each other, from the top: their pairs grow with the square."""

CLEAN, WORST = "clean", "worst case"


@dataclass(frozen=True)
class Compared:
    """One figure of two rows.

    Attributes:
        figure: "clean", "worst case", or an attack of the suite with its radius.
        a: Mean AUROC of the first row over the sets that count.
        b: That of the second.
        difference: a - b.
        se: Its standard error over samples; says nothing of the spread over an attack's seeds.
        p_value: Two-sided, of this one comparison.
        paired: Whether both rows scored the same samples, so that DeLong's paired error (1988) holds.
    """

    figure: str
    a: float
    b: float
    difference: float
    se: float
    p_value: float
    paired: bool


def compare(a: Standing, b: Standing) -> tuple[Compared, ...]:
    """Clean AUROC, the worst case, and every attack that both rows have.

    Args:
        a: A row.
        b: Another of the same track.
    """
    paired = _same_samples(a, b)
    test = metrics.paired_mean_difference if paired else metrics.unpaired_mean_difference
    found = []
    for figure, ours, theirs in _figures(a, b):
        order = a.files.table.counting
        sets_a, sets_b = _counting(a, ours, order), _counting(b, theirs, order)
        difference = test(a.files.table.test, sets_a, b.files.table.test, sets_b, name=figure)
        means = a.files.table.mean(ours).auroc, b.files.table.mean(theirs).auroc
        found.append(Compared(figure, *means, difference.difference, difference.se, difference.p_value, paired))
    return tuple(found)


def pairs(standings: Sequence[Standing]) -> Iterator[tuple[int, int, tuple[Compared, ...]]]:
    """Every pair of the first `MOST` rows, by their positions, the smaller first."""
    shown = list(enumerate(standings[:MOST]))
    for (i, a), (j, b) in combinations(shown, 2):
        yield i, j, compare(a, b)


def _figures(a: Standing, b: Standing) -> Iterator[tuple[str, Scores, Scores]]:
    """What is compared: its name and the OOD scores of both."""
    yield CLEAN, a.files.table.clean, b.files.table.clean
    worst_a, worst_b = (_worst_scores(row, row.row.entries.index(row.row.worst_entry)) for row in (a, b))
    yield WORST, worst_a, worst_b
    theirs = {(entry.threat, entry.eps): number for number, entry in enumerate(b.row.entries)}
    for number, entry in enumerate(a.row.entries):
        other = theirs.get((entry.threat, entry.eps))
        if other is not None:
            yield f"{entry.threat} at {entry.eps:.3g}", _worst_scores(a, number), _worst_scores(b, other)


def _worst_scores(standing: Standing, entry: int) -> Scores:
    return standing.files.table.arrays[names.worst_name(entry)]


def _counting(standing: Standing, scores: Scores, order: Sequence[str]) -> list[Scores]:
    """The scores of the sets that count, in this order as far as it names them: cards name their sets in any."""
    table = standing.files.table
    parts = table.by_set(scores)
    return [parts[name] for name in dict.fromkeys((*order, *table.counting)) if name in table.counting]


def _same_samples(a: Standing, b: Standing) -> bool:
    """Whether both rows scored the same images, set by set in the same order."""
    ours, theirs = a.files.table, b.files.table
    if (dict(ours.sets), set(ours.counting)) != (dict(theirs.sets), set(theirs.counting)):
        return False
    digests = [standing.row.track.set_digests for standing in (a, b)]
    same = all(digests[0].get(name) == digests[1].get(name) for name in ours.sets)
    ids, other = ours.ids_by_set(), theirs.ids_by_set()
    return same and all(np.array_equal(part, other[name]) for name, part in ids.items())
