"""What every detector keeps in each ball: the lowest mean AUROC of all attacks of one norm and radius."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.cards.threat import Norm, Side
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.records import harmless
from bench.report.table import Row, Section, Table, mean_auroc

FIRST = "detector (mean AUROC)"
"""The title of the first column of the CSV file, which tells it from other tables."""

_LONGEST = 200
"""Letters of a name that a stranger chose."""

_FEWER = " *"
FEWER_SAID = "* met fewer of the attacks of this radius than another detector."


@dataclass(frozen=True)
class Ball:
    """One norm and radius, and the attacks within it; an attack without a radius is one by itself."""

    norm: Norm | None
    eps: float | None
    threats: tuple[str, ...]

    @property
    def title(self) -> str:
        """`L2 1`, `Linf 8/255`, or the attack's name."""
        return numbers.ball(self.norm, self.eps) if self.eps is not None else " and ".join(self.threats)[:_LONGEST]


@dataclass(frozen=True)
class Kept:
    """The cell that leaves least of a detector in a ball.

    Attributes:
        row: The cell.
        doubted: Whether its figure cannot be believed.
        fewer: Whether another detector met more attacks there.
    """

    row: Row
    doubted: bool
    fewer: bool

    @property
    def words(self) -> str:
        """The mean AUROC; at 0 or 1 its interval."""
        mean = self.row.meta.mean
        if mean is None:
            return numbers.share(mean_auroc(self.row.meta))
        return numbers.attacked_auroc(mean, doubted=self.doubted) + (_FEWER if self.fewer else "")


@dataclass(frozen=True)
class Means:
    """Detectors, best average first and those that cannot be believed last, against balls.

    Attributes:
        labels: The detectors.
        clean: Their cells without an attack; None where there is none.
        balls: By norm and radius.
        kept: For each detector what it keeps in each ball; None where it was not attacked there.
    """

    labels: tuple[str, ...]
    clean: tuple[Row | None, ...]
    balls: tuple[Ball, ...]
    kept: tuple[tuple[Kept | None, ...], ...]


def means_of(table: Table) -> Means | None:
    """The means of a table; None where its figures are no AUROC of images in a ball."""
    if table.side in (Side.FOOL, Side.BETWEEN) or table.nearest:
        return None
    by_ball: dict[tuple[Norm | None, float | None, str], list[Section]] = {}
    for section in table.sections:
        if section.attacked:
            name = "" if section.eps is not None else section.threat
            by_ball.setdefault((section.norm, section.eps, name), []).append(section)
    balls = [
        Ball(norm, eps, tuple(dict.fromkeys(s.threat for s in by_ball[norm, eps, name]))) for norm, eps, name in by_ball
    ]
    order = sorted(range(len(balls)), key=lambda i: (str(balls[i].norm or ""), balls[i].eps or 0.0))
    clean = {row.meta.detector: row for s in table.sections if not s.attacked for row in s.rows}
    columns = [_lowest(sections) for sections in by_ball.values()]
    labels = list(dict.fromkeys(row.label for s in table.sections if s.attacked for row in s.rows))
    labels += [row.label for name, row in clean.items() if not any(_detector(name, column) for column in columns)]
    found = [(label, tuple(columns[i].get(label) for i in order)) for label in labels]
    ranked = sorted(found, key=lambda one: _place(one[0], one[1], clean))
    return Means(
        tuple(label for label, _ in ranked),
        tuple(_clean(label, kept, clean) for label, kept in ranked),
        tuple(balls[i] for i in order),
        tuple(kept for _, kept in ranked),
    )


def means_grid(means: Means, balls: Sequence[int], titles: Iterable[str]) -> Grid:
    """Detectors against some of the balls, the clean AUROC first.

    Args:
        means: The means.
        balls: Positions of the balls.
        titles: What their columns are called.
    """
    rows = [
        [label[:_LONGEST], clean_words(means.clean[i]), *(_words(means.kept[i][at]) for at in balls)]
        for i, label in enumerate(means.labels)
    ]
    return Grid(["detector", "clean", *titles], 1, [rows])


def whole_grid(means: Means) -> Grid:
    """Detectors against every ball."""
    return means_grid(means, range(len(means.balls)), [ball.title for ball in means.balls])


def means_csv(means: Means) -> str:
    """The same with every digit, as CSV; names are never formulas."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([FIRST, "clean", *(harmless(ball.title) for ball in means.balls)])
    for label, clean, kept in zip(means.labels, means.clean, means.kept, strict=True):
        attacked = ("" if one is None else mean_auroc(one.row.meta) for one in kept)
        lines.writerow([harmless(label[:_LONGEST]), "" if clean is None else _clean_auroc(clean), *attacked])
    return out.getvalue()


def clean_words(row: Row | None) -> str:
    """The clean mean AUROC of a cell."""
    if row is None:
        return numbers.ABSENT
    if row.meta.mean is not None:
        return numbers.clean_auroc(row.meta.mean)
    return numbers.share(_clean_auroc(row))


def _clean_auroc(row: Row) -> float:
    """Over the sets that count, or over all where none does."""
    if row.meta.mean is not None:
        return row.meta.mean.clean_auroc
    return sum(m.clean_auroc for m in row.meta.sets.values()) / max(1, len(row.meta.sets))


def _words(kept: Kept | None) -> str:
    return numbers.ABSENT if kept is None else kept.words


def _lowest(sections: Sequence[Section]) -> dict[str, Kept]:
    """By detector the lowest of its cells; those that cannot be believed count where there are no others."""
    rows: dict[str, list[Row]] = {}
    for section in sections:
        for row in section.rows:
            rows.setdefault(row.label, []).append(row)
    most = max(map(len, rows.values()), default=0)
    found = {}
    for label, own in rows.items():
        sound = [row for row in own if not row.doubted]
        lowest = min(sound or own, key=lambda row: mean_auroc(row.meta))
        found[label] = Kept(lowest, not sound, len(own) < most)
    return found


def _detector(name: str, column: dict[str, Kept]) -> bool:
    return any(kept.row.meta.detector == name for kept in column.values())


def _clean(label: str, kept: Sequence[Kept | None], clean: dict[str, Row]) -> Row | None:
    """The clean cell of a detector, or an attacked one, which holds the clean figures too."""
    there = [one.row for one in kept if one is not None]
    return (
        clean.get(there[0].meta.detector, there[0])
        if there
        else next((row for row in clean.values() if row.label == label), None)
    )


def _place(label: str, kept: Sequence[Kept | None], clean: dict[str, Row]) -> tuple[bool, float, str]:
    there = [one for one in kept if one is not None]
    if there:
        average = sum(mean_auroc(one.row.meta) for one in there) / len(there)
        return any(one.doubted for one in there), -average, label
    own = _clean(label, kept, clean)
    return True, 1.0 if own is None else 1.0 - mean_auroc(own.meta), label  # after all that were attacked
