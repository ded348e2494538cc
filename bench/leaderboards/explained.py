"""Words beside the figures of a board: what is attacked and how, badges, near and far, settings, and checks."""

from collections.abc import Iterable, Iterator, Sequence

from bench.cards.track import TrackCard
from bench.leaderboards.columns import judged
from bench.leaderboards.published import PublishedTable
from bench.leaderboards.ranking import Board, Standing
from bench.leaderboards.row import Entry, Row
from bench.leaderboards.submit import figure
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.html.grids import ShownGrid, shown_grid
from bench.soundness.checklist import CHECKS
from bench.soundness.verdicts import SEVERITY, Verdict

BADGES = {
    "re-attacked": "a verifier's fresh attacks do not make it much worse than it claims; their lowest median ranks it",
    "refuted": "a verifier found less than the row claims; their lowest median ranks it all the same",
    "re-scored": "a verifier got its scores again, and attacked nothing",
    "claimed": "its hashes and arithmetic hold; nobody scored it again",
    "doubted": "a verifier's attacks on it cannot be believed, so it has no place",
    "not verified": "nobody who may verify has looked at it",
}


def badges_of(words: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The badges among these words, each with what it means."""
    there = set(words)
    return tuple((badge, said) for badge, said in BADGES.items() if badge in there)


def attacked_words(board: Board) -> str:
    """What is attacked and how, in one or two sentences."""
    entries = [
        f"{entry.threat} within {_entry_setting(board, number)}" for number, entry in enumerate(board.track.suite)
    ]
    limit = board.track.row_limit
    images = "all images" if limit is None else f"{limit} images"
    left = f"; left out: {', '.join(board.track.suite_without)}" if board.track.suite_without else ""
    said = f"The OOD images are attacked to look in-distribution, {images} of each set{left}: {' and '.join(entries)}."
    members = list(
        dict.fromkeys(name for own in board.standings for entry in own.row.entries for name in entry.members)
    )
    if members:
        said += f" Of each image the worst of {', '.join(members)} counts, as far as a detector allows them."
    return said


def settings_of(board: Board) -> tuple[str, ...]:
    """The norms and radii of a board's suite."""
    found = (numbers.ball(entry.norm, entry.eps) for own in board.standings for entry in own.row.entries)
    return tuple(dict.fromkeys(found))


def published_setting(table: PublishedTable) -> str:
    """The norm and radius of a published table."""
    return numbers.ball(table.norm, table.eps) if table.eps is not None else f"{table.norm}, radius not said"


def setting_grids(standings: Sequence[Standing]) -> Iterator[tuple[str, ShownGrid]]:
    """For each setting, the rows by what they keep in it."""
    found: dict[str, list[tuple[Entry, Standing]]] = {}
    for own in standings:
        for entry in own.row.entries:
            found.setdefault(numbers.ball(entry.norm, entry.eps), []).append((entry, own))
    for setting, entries in found.items():
        ranked = sorted(entries, key=lambda one: -one[0].mean.auroc)
        rows = [
            [own.row.detector.name, entry.threat, figure(own.row.clean), figure(entry.mean), str(own.place)]
            for entry, own in ranked
        ]
        header = ["detector", "attack", "clean AUROC", "attacked AUROC", "place in the ranking"]
        yield setting, shown_grid(Grid(header, 2, [rows]))


def near_far_grid(track: TrackCard, standings: Sequence[Standing]) -> ShownGrid | None:
    """Means over the sets of each group, clean and in the worst case that ranks; None without groups."""
    members: dict[str, list[str]] = {}
    for name, spec in track.of_rows().ood.items():
        if spec.group is not None:
            members.setdefault(spec.group, []).append(name)
    if not members or not standings:
        return None
    rows = [[own.row.detector.name, *_group_words(own.row.worst_entry, members)] for own in standings]
    header = ["detector", *(f"{group}, {kind}" for group in members for kind in ("clean", "attacked"))]
    told = "; ".join(f"{group}: {', '.join(names)}" for group, names in members.items())
    return shown_grid(Grid(header, 1, [rows]), said=[f"Mean AUROC in the entry that ranks. {told}."])


def checks_grid(row: Row) -> ShownGrid | None:
    """What each check asked, and what it said of the attacks of a row; None where nothing was checked."""
    cells = judged(row)
    checks = sorted({check for _, cell in cells for check in cell.soundness}, key=lambda check: int(check[1:]))
    rows = []
    for check in checks:
        found = [(name, cell.soundness[check]) for name, cell in cells if check in cell.soundness]
        told = [_told(verdict, [name for name, own in found if own is verdict]) for verdict in reversed(SEVERITY)]
        title = CHECKS[check].title if check in CHECKS else "a check of another version"
        rows.append([f"{title} ({check})", "; ".join(filter(None, told))])
    return shown_grid(Grid(["what is asked", "what it says of the attacks"], 2, [rows])) if rows else None


def _told(verdict: Verdict, attacks: Sequence[str]) -> str:
    if not attacks:
        return ""
    named = f" ({', '.join(attacks)})" if verdict in (Verdict.WARN, Verdict.FAIL) else ""
    return f"{verdict} of {len(attacks)}{named}"


def _group_words(entry: Entry, members: dict[str, list[str]]) -> Iterator[str]:
    for names in members.values():
        there = [entry.sets[name] for name in names if name in entry.sets]
        for values in ([own.clean.auroc for own in there], [own.attacked.auroc for own in there]):
            yield numbers.share(sum(values) / len(values)) if values else numbers.ABSENT


def _entry_setting(board: Board, number: int) -> str:
    settings = settings_of(board)
    return settings[number] if number < len(settings) else f"{board.track.suite[number].eps:.3g}"
