"""The cells that a row needs: a track's suite for one detector, found in a run or said to be missing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.cards.documents import Location
from bench.cards.threat import Knowledge, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.errors import UsageError
from bench.evaluation.eps import EpsChoice
from bench.evaluation.plan import LeaveOut, PlannedCell, plan
from bench.evaluation.results import CellMeta
from bench.evaluation.sets import SetChoice

_WORDS = {
    "detector_hash": "the detector's card",
    "weights_sha256": "the weights",
    "threat_hash": "the threat's card or its parameters",
    "track_hash": "the track's card",
    "set_digests": "the data",
    "source_hash": "the code",
    "micro_batch": "the batch shape",
    "needs": "the attacks that it is made from",
}


@dataclass(frozen=True)
class Choice:
    """What a run may choose without changing what its figures mean."""

    seed: int = 0
    early_stop: bool = True


def check_suite(track: TrackCard, catalog: Catalog) -> None:
    """Raise unless the track has a suite of which rows can be made.

    Raises:
        UsageError: It has none, or one of its entries cannot stand in a row.
    """
    if not track.suite:
        raise UsageError(
            f"track '{track.name}' has no suite, so it has no leaderboard; add `suite: [{{threat: ..., eps: ...}}]` to "
            "its card."
        )
    for _, sentence in suite_problems(track, catalog):
        raise UsageError(f"track '{track.name}': {sentence}.")


def suite_problems(track: TrackCard, catalog: Catalog) -> Iterator[tuple[Location, str]]:
    """What keeps a track's suite from making rows: one rule for `validate`, `submit`, `verify` and the boards.

    An entry is a worst case over several attacks, or one attack by itself, within a ball around OOD images.

    Args:
        track: The track's card.
        catalog: Where threats are found.

    Yields:
        Where in the card, and what is wrong there, without the full stop.
    """
    seen: set[tuple[str, float]] = set()
    for number, entry in enumerate(track.suite):
        where: Location = ("suite", number, "threat")
        if (entry.threat, entry.eps) in seen:
            yield where, f"'{entry.threat}' at {entry.eps:g} is in the suite twice; leave one out"
        seen.add((entry.threat, entry.eps))
        try:
            card = catalog.threat(entry.threat)
            members = [catalog.threat(name) for name in card.members.get(Side.EVADE, ())]
        except UsageError as error:
            yield where, str(error).rstrip(".")
            continue
        for attack in (card, *members):
            if why := _no_part_of_a_row(attack):
                inside = f" of '{card.name}'" if attack is not card else ""
                yield where, f"threat '{attack.name}'{inside} cannot stand in a suite: {why}"
    for number, name in enumerate(track.suite_without):
        if name not in track.ood:
            yield ("suite_without", number), f"'{name}' is no OOD set of the track; leave it out"
        elif name in track.natural():
            yield ("suite_without", number), f"'{name}' enters the track's mean, and a row needs it; leave it out"
    if not track.of_rows().ood:
        yield ("suite_without",), "no OOD set is left for a row to be about"
    for field, value in (("suite_limit", track.suite_limit), ("default_limit", track.default_limit)):
        if track.suite and value is not None and value < 2:
            yield (field,), f"{field} is {value}, and a row is about 2 or more images of a set"


def _no_part_of_a_row(card: ThreatCard) -> str | None:
    """Why a threat makes no row; None where it does."""
    if card.norm is None:
        return "it has no norm; name one with a ball"
    if card.min_norm:
        return "it looks for the nearest image at any distance; name one that stays within a ball"
    if Side.EVADE not in card.sides:
        return f"it attacks the side {' and '.join(card.sides)}, and a row is about evade"
    return None


def excused(member: ThreatCard, track: TrackCard, detector: str, *, white_box: bool, catalog: Catalog) -> str | None:
    """Why a row may lack one attack of a suite, by the cards alone; None where it must have it.

    Args:
        member: The attack's card.
        track: The track's card.
        detector: The detector's name.
        white_box: Whether the detector has a gradient that can be followed.
        catalog: Where the detectors are found from which a transfer attack takes its images.
    """
    if member.knowledge is Knowledge.GRADIENTS and not white_box:
        return "it follows gradients, and the detector has none"
    if member.source is not None:
        own = detector.partition(".")[0]
        others = [name for name in member.source.detectors if name.partition(".")[0] != own]
        if not any(_has_settings(catalog, name, track.name) for name in others):
            return "none of the detectors that it takes its images from has settings for the track"
    return None


def _has_settings(catalog: Catalog, detector: str, track: str) -> bool:
    try:
        catalog.detector_spec(detector, track)
    except UsageError:  # no such detector, a card that cannot be read, or no settings
        return False
    return True


def suite_plan(
    catalog: Catalog,
    detectors: Sequence[str],
    track: TrackCard,
    choice: Choice,
    data_dir: Path | None,
    leave_out: LeaveOut | None = None,
) -> list[PlannedCell]:
    """The cells that rows of some detectors need, each once; the clean cell of a detector is among them.

    Args:
        catalog: Where cards are found.
        detectors: Names.
        track: The track's card, which says the threats, radii, images and sets.
        choice: What a run may choose.
        data_dir: Where data files lie; None for the default.
        leave_out: As of `plan`.

    Raises:
        UsageError: A detector cannot be run on the track and is not left out, or the suite makes no rows.
    """
    check_suite(track, catalog)
    cells: list[PlannedCell] = []
    for wanted in track.suite:
        card = catalog.threat(wanted.threat)
        assert card.norm is not None  # as `check_suite` found
        radius = EpsChoice({card.norm: (wanted.eps,)})
        cells += plan(
            catalog,
            detectors,
            [wanted.threat],
            radius,
            [track.name],
            limit=track.row_limit,
            seed=choice.seed,
            early_stop=choice.early_stop,
            side=Side.EVADE,
            data_dir=data_dir,
            sets=SetChoice(without=track.suite_without),
            leave_out=leave_out,
        )
    return list({cell.key: cell for cell in cells}.values())


def suite_cells(
    catalog: Catalog, detector: str, track: TrackCard, choice: Choice, data_dir: Path | None
) -> list[PlannedCell]:
    """The attacks of the suite on one detector, in its order; each has its clean cell and its members.

    Raises:
        UsageError: The detector cannot be run on the track, or the suite makes no rows.
    """
    return [cell for cell in suite_plan(catalog, [detector], track, choice, data_dir) if cell.attacks]


def find_suite(
    catalog: Catalog, metas: Iterable[CellMeta], detector: str, track: TrackCard, *, run: str, data_dir: Path | None
) -> tuple[Choice, list[PlannedCell]]:
    """The suite's cells with the seed and early stop for which all of them are stored.

    Args:
        catalog: Where cards are found.
        metas: The figures of all stored cells.
        detector: A detector's name.
        track: The track's card.
        run: What a person calls the store of the cells, for errors.
        data_dir: Where data files lie; None for the default.

    Raises:
        UsageError: A cell is missing; in one sentence, which one and how to compute it.
    """
    check_suite(track, catalog)
    own = [meta for meta in metas if (meta.detector, meta.track, meta.side) == (detector, track.name, Side.EVADE)]
    stored = {meta.key for meta in own}
    wanted = {entry.threat for entry in track.suite}
    choices = dict.fromkeys(Choice(meta.seed, meta.early_stop) for meta in own if meta.threat in wanted)
    best: tuple[int, list[PlannedCell]] | None = None
    for choice in choices or [Choice()]:
        cells = suite_cells(catalog, detector, track, choice, data_dir)
        found = sum(cell.key in stored for cell in cells)
        if found == len(cells):
            return choice, cells
        if best is None or found > best[0]:
            best = found, cells
    assert best is not None
    missing = next(cell for cell in best[1] if cell.key not in stored)
    raise UsageError(_missing(missing, own, run))


def _missing(cell: PlannedCell, own: Sequence[CellMeta], run: str) -> str:
    """Which cell is not there, what is there instead, and the command that computes it."""
    asked = cell.ingredients
    command = (
        f"bench run --suite --detector {cell.detector.name} --track {cell.track.name} --seed {asked.seed} --out {run}"
    )
    near = [meta for meta in own if (meta.threat, meta.norm, meta.eps) == (cell.threat.name, asked.norm, asked.eps)]
    if not near:
        return f"'{run}' holds no cell {cell.label}, which the track's suite asks for; compute it: {command}"
    other = max(
        near, key=lambda m: (m.without == cell.without, m.limit == asked.limit, m.detector_hash == asked.detector_hash)
    )
    if other.without != cell.without:
        ran = f"without {', '.join(other.without)}" if other.without else "on all OOD sets of the track"
        needs = f"all but {', '.join(cell.without)}" if cell.without else "all OOD sets of the track"
        return f"{cell.label} was run {ran}, and a row needs {needs}; compute it again: {command}"
    if other.failed_needs:
        return (
            f"{cell.label} was run without {', '.join(other.failed_needs)}, which failed "
            f"({next(iter(other.failed_needs.values()))}); a row needs all of the suite, so compute it again: {command}"
        )
    if other.limit != asked.limit:
        return (
            f"{cell.label} was run on at most {other.limit or 'all'} images of a set, and a row of this track needs "
            f"{asked.limit or 'all'}; compute it again: {command}"
        )
    if other.evidence is not None:
        return (
            f"{cell.label} was run with the whole budget on {other.evidence.audited} of {other.evidence.attacked} "
            f"images, and a row needs it on all; compute it again: {command}"
        )
    differs = [words for name, words in _WORDS.items() if getattr(other, name) != getattr(asked, name)]
    differs += [f"what the attack searched with (--precision {other.search})"] if other.search else []
    differs += ["that it is one of nested radii (--nested)"] if other.nested else []
    what = " and ".join(differs) or f"the version of bench ({other.versions.get('bench', 'unknown')})"
    return f"{cell.label} was run with other content than there is now: {what} differs; compute it again: {command}"
