"""What a board says of a row, in words: one grid for the terminal and for pages, and the filters over it."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.leaderboards.folder import FoundRow
from bench.leaderboards.identity import is_nothing
from bench.leaderboards.ranking import Board, Standing
from bench.leaderboards.record_files import SignedRecord
from bench.leaderboards.records import BeatenFigures
from bench.leaderboards.row import CellPart, Row
from bench.leaderboards.submit import figure
from bench.report import numbers
from bench.report.grid import Grid
from bench.soundness.verdicts import SEVERITY, Verdict

TEXTS = 3
"""How many of the first columns hold words."""

UNRANKED = "Not verified: no place"
UNRANKED_HINT = (
    "What these rows claim, as their submitters say: no attacks of a verifier that can be believed stand behind it. "
    "Who may verify stands in `leaderboards/allowed_signers`."
)

HEADER = (
    "place", "detector", "badge", "worst-case AUROC", "worst attack", "clean AUROC", "flags", "extra data", "certified",
    "white-box", "gradients", "queries", "seconds",
)  # fmt: skip


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
    """What the columns say of a ranked row: a verifier's figures, verdicts and costs."""
    row = standing.row
    own = row.detector
    return [
        str(standing.place), own.name, standing.found.words, ranked_words(standing), _attack(row), figure(row.clean),
        flags(row), *(_yes(has) for has in (uses_extra_data(row), own.certified, own.white_box)),
        numbers.amount(row.gradients), numbers.amount(row.queries), numbers.seconds(row.seconds),
    ]  # fmt: skip


def unranked_grid(rows: Iterable[FoundRow]) -> Grid:
    """One row a row without a place: what is known of it, and what it claims."""
    header = ["detector", "badge", "claimed worst-case AUROC", "worst attack", "claimed clean AUROC", "bench"]
    words = [
        [
            found.row.detector.name,
            found.words,
            figure(found.row.worst),
            _attack(found.row),
            figure(found.row.clean),
            found.row.bench,
        ]
        for found in rows
    ]
    return Grid(header, 2, [words])


def ranked_words(standing: Standing) -> str:
    """The figure that ranks a row; with its interval where it is that of one of the verifier's seeds."""
    worst = standing.row.worst
    return figure(worst) if standing.ranked == worst.auroc else numbers.share(standing.ranked)


def ranked_because(standing: Standing) -> str:
    """Where the figure comes from, in a sentence."""
    fresh, claimed = standing.fresh, standing.found.row.worst.auroc
    if standing.ranked < fresh.ranked:
        return "Images that beat this detector under an earlier version of the track rank now."
    against = f"; it refutes the row's claim of {claimed:.4f}" if fresh.refuted else f"; the row claims {claimed:.4f}"
    return f"The lowest median of {len(fresh.seeds)} fresh attacks{against}."


def verified_words(signed: SignedRecord) -> str:
    """Who vouches for what, in a sentence."""
    record = signed.record
    signer = f"{signed.signer.name} ({signed.signer.fingerprint})"
    return f"{record.words} on {record.made[:10]} by {signer} with bench {record.bench}"


def beaten_words(part: BeatenFigures) -> str:
    """Somebody's images, in a sentence."""
    when = "ranks" if part.earlier else "ranks once the track's version rises"
    return (
        f"beaten: AUROC {part.auroc:.3f} by {part.images} images of a third party under {part.threat} at "
        f"{part.norm} {part.eps:.3g} ({part.higher} score higher), as a verifier scored them; {when}."
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
    return not is_nothing(row.detector.extra_data)


def history_grid(rows: Iterable[FoundRow]) -> Grid:
    """One line a row of one detector."""
    header = ["row", "shown", "track version", "bench", "badge", "claimed worst case", "claimed clean"]
    words = [
        [
            found.row.stem,
            found.past or ("no place" if found.evidence is None else "ranked"),
            str(found.row.track.version),
            found.row.bench,
            found.words,
            figure(found.row.worst),
            figure(found.row.clean),
        ]
        for found in rows
    ]
    return Grid(header, 2, [words])


def shown(board: Board, wanted: Wanted) -> list[Standing]:
    """The ranked rows that are asked for; their places are those among all."""
    return [standing for standing in board.standings if wanted.fits(standing.row)]


def shown_unranked(board: Board, wanted: Wanted) -> list[FoundRow]:
    """The rows without a place that are asked for."""
    return [found for found in board.unranked if wanted.fits(found.row)]


def _attack(row: Row) -> str:
    return f"{row.worst_entry.threat} at {row.worst_entry.eps:.3g}"


def _yes(has: bool) -> str:
    return "yes" if has else "no"
