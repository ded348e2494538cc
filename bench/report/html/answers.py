"""The first screen of a page: what every detector keeps, as tables that fit a phone and as files to be taken along."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.cards.threat import Norm
from bench.report.captions import heading
from bench.report.grid import Grid
from bench.report.html.drawing import data_uri, stem
from bench.report.html.grids import ShownGrid, Word, shown_grid
from bench.report.html.page import Export
from bench.report.latex import latex_table
from bench.report.means import FEWER_SAID, Means, clean_words, means_csv, means_grid, whole_grid
from bench.report.table import Table

_ABREAST = 4
"""Radii beside each other: with the names and the clean figures they fit a phone."""

_FIRST = 20
"""Detectors that stand on the first screen; more are folded."""


def shown_means(means: Means) -> tuple[ShownGrid, ...]:
    """The means in grids of at most four radii of one norm, and those of detectors beyond the twentieth folded."""
    first: list[ShownGrid] = []
    more: list[ShownGrid] = []
    for title, balls in _groups(means):
        titles = [_column(means, at) for at in balls]
        shown = [one for own in means.kept for at in balls if (one := own[at]) is not None]
        said = [FEWER_SAID] if any(one.fewer for one in shown) else []
        whole = _with_best(shown_grid(means_grid(means, balls, titles), title=title, said=said))
        first.append(replace(whole, rows=whole.rows[:_FIRST]))
        if rest := whole.rows[_FIRST:]:
            more.append(replace(whole, title=f"{title}: {len(rest)} more detectors", rows=rest, folded=True))
    return (*first, *more)


def exports_of(table: Table, means: Means) -> tuple[Export, ...]:
    """The means as LaTeX and as CSV."""
    name = stem("means", table.track, table.side)
    texts = (("tex", "LaTeX", means_latex(table, means), "text/x-tex"), ("csv", "CSV", means_csv(means), "text/csv"))
    return tuple(
        Export(f"{name}.{ending}", kind, text, data_uri(media, text.encode())) for ending, kind, text, media in texts
    )


def means_latex(table: Table, means: Means) -> str:
    """The means as a `table` environment."""
    said = [heading(table)[:400], "mean AUROC, clean and the lowest of all attacks at each radius"]
    return latex_table(whole_grid(means), said)


def kept_words(means: Means, label: str) -> str:
    """What one detector keeps: clean, and at the largest radius of each norm."""
    at = means.labels.index(label)
    largest: Mapping[object, int] = {ball.norm or ball.title: i for i, ball in enumerate(means.balls)}
    kept = [(means.balls[i].title, own.words) for i in largest.values() if (own := means.kept[at][i]) is not None]
    return ", ".join([f"{clean_words(means.clean[at])} clean", *(f"{words} at {title}" for title, words in kept)])


def _groups(means: Means) -> Iterator[tuple[str, Sequence[int]]]:
    """Title and balls of each grid."""
    by_norm: dict[Norm | None, list[int]] = {}
    for number, ball in enumerate(means.balls):
        by_norm.setdefault(ball.norm if ball.eps is not None else None, []).append(number)
    for norm, balls in by_norm.items():
        for start in range(0, len(balls), _ABREAST):
            chosen = balls[start : start + _ABREAST]
            threats = dict.fromkeys(threat for at in chosen for threat in means.balls[at].threats)
            lowest = "lowest under" if len(threats) > 1 else "under"
            yield (f"{norm} eps, {lowest} {', '.join(threats)}" if norm is not None else "without a radius"), chosen
    if not by_norm:
        yield "", ()


def _column(means: Means, at: int) -> str:
    ball = means.balls[at]
    return ball.title.partition(" ")[2] if ball.eps is not None else ball.title


def _with_best(grid: ShownGrid) -> ShownGrid:
    """The grid with the best figure of each column marked."""
    columns = list(zip(*grid.rows, strict=True))[1:]
    best = [max((float(word.order) for word in column if word.order), default=None) for column in columns]
    rows = tuple(
        (label, *(_marked(word, top) for word, top in zip(words, best, strict=True))) for label, *words in grid.rows
    )
    return replace(grid, rows=rows)


def _marked(word: Word, best: float | None) -> Word:
    return replace(word, best=best is not None and word.order != "" and float(word.order) == best)


def detector_grid(grid: Grid, label: str) -> Grid:
    """The rows of one detector, without its name."""
    blocks = [[words[1:] for words in block if words[0] == label] for block in grid.blocks]
    return Grid(grid.header[1:], grid.texts - 1, [block for block in blocks if block])
