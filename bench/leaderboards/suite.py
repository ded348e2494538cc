"""The cells that a row needs: a track's suite for one detector, found in a run or said to be missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.eps import EpsChoice
from bench.evaluation.plan import PlannedCell, plan
from bench.evaluation.results import CellMeta
from bench.specs import Side, TrackCard

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


def check_suite(track: TrackCard) -> None:
    """Raise unless the track has a suite.

    Raises:
        UsageError: It has none.
    """
    if not track.suite:
        raise UsageError(
            f"track '{track.name}' has no suite, so it has no leaderboard; add `suite: [{{threat: ..., eps: ...}}]` to "
            "its card."
        )


def suite_cells(
    catalog: Catalog, detector: str, track: TrackCard, choice: Choice, data_dir: Path | None
) -> list[PlannedCell]:
    """The cells of the suite for one detector, in its order; each has its clean cell and its members.

    Raises:
        UsageError: The detector cannot be run on the track, or a threat of the suite has no norm.
    """
    cells = []
    for wanted in track.suite:
        card = catalog.threat(wanted.threat)
        if card.norm is None:
            raise UsageError(f"threat '{card.name}' of the suite of '{track.name}' has no norm; name one with a ball.")
        radius = EpsChoice({card.norm: (wanted.eps,)})
        planned = plan(
            catalog, [detector], [wanted.threat], radius, [track.name], limit=track.row_limit,
            seed=choice.seed, early_stop=choice.early_stop, side=Side.EVADE, data_dir=data_dir,
        )  # fmt: skip
        cells += [cell for cell in planned if cell.attacks]
    return cells


def find_suite(
    catalog: Catalog, metas: Iterable[CellMeta], detector: str, track: TrackCard, *, run: Path, data_dir: Path | None
) -> tuple[Choice, list[PlannedCell]]:
    """The suite's cells with the seed and early stop for which all of them are stored.

    Args:
        catalog: Where cards are found.
        metas: The figures of all stored cells.
        detector: A detector's name.
        track: The track's card.
        run: The folder of the cells, for errors.
        data_dir: Where data files lie; None for the default.

    Raises:
        UsageError: A cell is missing; in one sentence, which one and how to compute it.
    """
    check_suite(track)
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


def _missing(cell: PlannedCell, own: Sequence[CellMeta], run: Path) -> str:
    """Which cell is not there, what is there instead, and the command that computes it."""
    asked = cell.ingredients
    command = (
        f"bench run --detector {cell.detector.name} --track {cell.track.name} --threat {cell.threat.name} "
        f"--eps {asked.norm}:{asked.eps!r} --seed {asked.seed} --out {run}"
    )
    if cell.track.suite_limit is not None:
        command += f" --limit {cell.track.suite_limit}"
    near = [meta for meta in own if (meta.threat, meta.norm, meta.eps) == (cell.threat.name, asked.norm, asked.eps)]
    if not near:
        return f"'{run}' holds no cell {cell.label}, which the track's suite asks for; compute it: {command}"
    other = max(near, key=lambda meta: (meta.limit == asked.limit, meta.detector_hash == asked.detector_hash))
    if other.limit != asked.limit:
        return (
            f"{cell.label} was run on at most {other.limit or 'all'} images of a set, and a row of this track needs "
            f"{asked.limit or 'all'}; compute it again: {command}"
        )
    differs = [words for name, words in _WORDS.items() if getattr(other, name) != getattr(asked, name)]
    what = " and ".join(differs) or f"the version of bench ({other.versions.get('bench', 'unknown')})"
    return f"{cell.label} was run with other content than there is now: {what} differs; compute it again: {command}"
