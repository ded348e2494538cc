"""What a board says of a row, in words: one grid for the terminal and for pages, and the filters over it."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.leaderboards.adversarials import BeatenRecord
from bench.leaderboards.folder import FoundRow
from bench.leaderboards.ranking import Board, Standing
from bench.leaderboards.row import CellPart, Row
from bench.leaderboards.submit import figure
from bench.report import numbers
from bench.report.grid import Grid
from bench.soundness.verdicts import SEVERITY, Verdict

TEXTS = 3
"""How many of the first columns hold words."""

HEADER = (
    "place", "detector", "badge", "worst-case AUROC", "worst attack", "clean AUROC", "flags", "extra data", "certified",
    "white-box", "gradients", "queries", "seconds",
)  # fmt: skip
_NO_EXTRA = ("", "none", "no", "nothing")


@dataclass(frozen=True)
class Wanted:
    """Which rows are shown; None shows all."""

    extra_data: bool | None = None
    certified: bool | None = None
    white_box: bool | None = None

    def fits(self, row: Row) -> bool:
        """Whether a row is shown."""
        asked = ((self.extra_data, uses_extra_data(row)), (self.certified, row.detector.certified))
        return all(want is None or want == has for want, has in (*asked, (self.white_box, row.detector.white_box)))


def board_grid(standings: Iterable[Standing]) -> Grid:
    """One row a ranked row."""
    return Grid(list(HEADER), 0, [[board_words(standing) for standing in standings]])


def board_words(standing: Standing) -> list[str]:
    """What the columns say of a ranked row."""
    row = standing.row
    own = row.detector
    return [
        str(standing.place), own.name, f"{standing.found.level}", ranked_words(standing),
        f"{row.worst_entry.threat} at {row.worst_entry.eps:.3g}", figure(row.clean), flags(row),
        *(_yes(has) for has in (uses_extra_data(row), own.certified, own.white_box)),
        numbers.amount(row.gradients), numbers.amount(row.queries), numbers.seconds(row.seconds),
    ]  # fmt: skip


def ranked_words(standing: Standing) -> str:
    """The figure that ranks a row; where it is the claimed one, with its interval."""
    claimed = standing.row.worst
    return figure(claimed) if standing.ranked == claimed.auroc else numbers.share(standing.ranked)


def ranked_because(standing: Standing) -> str:
    """Where the figure comes from, in a sentence."""
    record, claimed = standing.found.record, standing.row.worst.auroc
    if standing.beaten_before and standing.ranked == standing.beaten_before[0].auroc < standing.found.ranked:
        return "Images that beat this detector under an earlier version of the track rank now."
    if record is not None and record.seeds:
        return f"The lowest median of {len(record.seeds)} fresh attacks; the row claims {claimed:.4f}."
    return "As the row claims; it was not attacked again."


def beaten_words(record: BeatenRecord) -> str:
    """Somebody's images, in a sentence."""
    return (
        f"beaten: AUROC {record.auroc:.3f} by {record.images} images of a third party under {record.threat} at "
        f"{record.norm} {record.eps:.3g} ({record.higher} score higher); ranks once the track's version rises."
    )


def flags(row: Row) -> str:
    """The checks that warn or fail on a worst case or on its strongest attack, the worst verdict of each.

    What a weaker attack fails says nothing about the row: that another one beats it is why there are several.
    """
    found: dict[str, Verdict] = {}
    strongest = [min(e.members.values(), key=lambda member: member.mean.auroc) for e in row.entries if e.members]
    for cell in (*(entry.cell for entry in row.entries), *(member.cell for member in strongest)):
        for check, verdict in cell.soundness.items():
            found[check] = max(found.get(check, verdict), verdict, key=SEVERITY.index)
    told = [v for v in found.values() if v in (Verdict.PASS, Verdict.WARN, Verdict.FAIL)]
    if not told:
        return "not checked"
    parts = []
    for verdict in (Verdict.FAIL, Verdict.WARN):
        checks = sorted((check for check, own in found.items() if own is verdict), key=lambda check: int(check[1:]))
        parts += [f"{verdict} {' '.join(checks)}"] if checks else []
    return ", ".join(parts) or "none"


def judged(row: Row) -> list[tuple[str, CellPart]]:
    """Every attack of a row with its name and radius: worst cases, then what they are made of."""
    found = []
    for entry in row.entries:
        where = f"{entry.norm} {entry.eps:.3g}"
        found.append((f"{entry.threat} at {where}", entry.cell))
        found += [(f"{name} at {where}", member.cell) for name, member in entry.members.items()]
    return found


def uses_extra_data(row: Row) -> bool:
    """Whether the detector saw more than the training images."""
    return row.detector.extra_data.strip().rstrip(".").lower() not in _NO_EXTRA


def history_grid(rows: Iterable[FoundRow]) -> Grid:
    """One line a row of one detector."""
    header = ["row", "shown", "track version", "bench", "badge", "worst-case AUROC", "clean AUROC"]
    words = [
        [
            found.row.stem, found.past or "ranked", str(found.row.track.version), found.row.bench, f"{found.level}",
            figure(found.row.worst), figure(found.row.clean),
        ]
        for found in rows
    ]  # fmt: skip
    return Grid(header, 2, [words])


def shown(board: Board, wanted: Wanted) -> list[Standing]:
    """The ranked rows that are asked for; their places are those among all."""
    return [standing for standing in board.standings if wanted.fits(standing.row)]


def _yes(has: bool) -> str:
    return "yes" if has else "no"
