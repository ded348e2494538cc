"""From the cells of a run to a row and the files beside it; what is incomplete or cannot be believed is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.cards.track import TrackCard
from bench.errors import UsageError
from bench.evaluation.plan import PlannedCell
from bench.evaluation.planner import grouped
from bench.evaluation.results import Cell
from bench.evaluation.store import CellStore, Store
from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import TEST, ScoreTable, rightly_classified
from bench.leaderboards.arrays import MAX_FILE_BYTES, Arrays, array_sha256, bytes_sha256, pack
from bench.leaderboards.beliefs import check_believed, unanswered, verdicts_of
from bench.leaderboards.identity import check_has_card, detector_part, track_part
from bench.leaderboards.json_files import parse_json
from bench.leaderboards.row import (
    IMAGES_SUFFIX,
    MAX_ROW_BYTES,
    SCORES_SUFFIX,
    CellPart,
    DetectorPart,
    Entry,
    Member,
    Pictures,
    Row,
    Scores,
    row_bytes,
)
from bench.leaderboards.suite import Choice, excused, find_suite
from bench.metrics.scores import as_scores
from bench.soundness.verdicts import Verdict

IMAGES = 16
"""How many images of every set that counts lie beside a row, unless more are asked for."""

MAX_IMAGES_BYTES = 32 * 2**20

Verdicts = Mapping[str, dict[str, Verdict]]
"""By the cells' keys, what each check says."""


@dataclass(frozen=True)
class Built:
    """A row and the content of the files beside it, by the ends of their names; and all scores.

    Attributes:
        unanswered: For every worst case that says nothing, why; without the full stop.
    """

    row: Row
    files: dict[str, bytes]
    table: ScoreTable
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """One entry of the suite, from the store."""

    planned: PlannedCell
    cell: Cell
    members: dict[str, Cell]
    left_out: dict[str, str]


def build_row(
    catalog: Catalog,
    run: Path,
    detector: str,
    track: str,
    *,
    images: int = IMAGES,
    data_dir: Path | None = None,
    called: str = "",
) -> Built:
    """The row of a detector, from the cells of a run.

    Args:
        catalog: Where cards and weights are found: those of the cells must be the ones that are there now.
        run: The folder that `bench run --out` wrote.
        detector: A detector's name; it must have a card.
        track: A track's name; it must have a suite.
        images: The most images of the worst case to keep of every set that counts; 0 keeps none.
        data_dir: Where data files lie; None for the default.
        called: What a person calls the run; the folder where nothing else is said.

    Raises:
        UsageError: The run lacks a threat of the suite, or has it with other hashes or fewer samples, a soundness
            check fails, attacks found no number for many images, the images would be too large, or a text of the cards
            may not stand in a row.
    """
    check_has_card(detector)
    card = catalog.track(track)
    store = Store(run, called)
    choice, planned = find_suite(catalog, store.metas(), detector, card, run=store.name, data_dir=data_dir)
    found = Source(catalog, store, store.name, run)
    built = row_of_cells(found, detector, card, planned, choice, images=images)
    for why in built.unanswered:
        raise UsageError(f"{why}; give the detector a finite score for every image in [0, 1], and run it again.")
    for entry in built.row.entries:
        check_believed(entry, catalog)
    return built


@dataclass(frozen=True)
class Source:
    """Where the cells of a row are.

    Attributes:
        catalog: Where cards are found.
        store: The cells.
        name: What a person calls it.
        folder: Where findings of `bench diagnose` lie beside the cells; None where they are in memory.
    """

    catalog: Catalog
    store: CellStore
    name: str
    folder: Path | None = None


def row_of_cells(
    source: Source, detector: str, card: TrackCard, planned: Sequence[PlannedCell], choice: Choice, *, images: int
) -> Built:
    """The row that stored cells make: of a run that is handed in, or of a verifier's own.

    Args:
        source: Where they are.
        detector: A detector's name.
        card: The track's card.
        planned: The suite's cells, in its order.
        choice: Seed and early stop of the run.
        images: As in `build_row`.

    Raises:
        UsageError: As `build_row`, but for checks that fail.
    """
    ingredients, rows = planned[0].ingredients, card.of_rows()
    own = detector_part(source.catalog, detector, card, ingredients.weights_sha256)
    found = [_find(source, cell, card, own) for cell in planned]
    assert planned[0].clean is not None
    clean = _get(source, planned[0].clean)
    every = {cell.meta.key: cell for part in found for cell in (part.cell, *part.members.values())}
    verdicts = verdicts_of(source.catalog, source.folder, [clean, *every.values()])
    table = _score_table(rows, clean, found)
    files = {SCORES_SUFFIX: pack(table.arrays)}
    if kept := _kept_images(rows, found, images):
        files[IMAGES_SUFFIX] = pack(kept)
    entries = tuple(_entry(table, number, part, verdicts) for number, part in enumerate(found))
    worst = min(entries, key=lambda entry: entry.mean.auroc)
    cost = [clean.meta, *(part.cell.meta for part in found)]
    unnamed = Scores(
        file=SCORES_SUFFIX,
        sha256=bytes_sha256(files[SCORES_SUFFIX]),
        sets=dict(table.sets),
        digests={name: array_sha256(array) for name, array in sorted(table.arrays.items())},
    )
    row = Row(
        bench=clean.meta.versions["bench"],
        cell_format=clean.meta.format,
        track=track_part(card, ingredients.set_digests),
        detector=own,
        seed=choice.seed,
        micro_batch=ingredients.micro_batch,
        clean_cell=_cell_part(clean, verdicts),
        id_accuracy=clean.meta.id_accuracy,
        clean=table.clean_mean(),
        entries=entries,
        worst=worst.mean,
        scores=unnamed,
        images=None,
        gradients=sum(meta.gradients for meta in cost),
        queries=sum(meta.queries for meta in cost),
        seconds=sum(meta.seconds for meta in cost),
        versions=clean.meta.versions,
        row_sha256="0" * 64,
    )
    row = _with_files(row, files, len(kept.get(names.rows_name(0), ())))
    _check_readable(row, files)
    every_reason = (unanswered(part.cell, table.counting) for part in found)
    return Built(row, files, table, tuple(why for why in every_reason if why is not None))


def _with_files(row: Row, files: dict[str, bytes], count: int) -> Row:
    """The row with the names of its files, sealed."""
    changes: dict[str, Any] = {"scores": row.scores.model_copy(update={"file": row.stem + SCORES_SUFFIX})}
    if IMAGES_SUFFIX in files:
        digest = bytes_sha256(files[IMAGES_SUFFIX])
        changes["images"] = Pictures(file=row.stem + IMAGES_SUFFIX, sha256=digest, count=count)
    return row.model_copy(update=changes).sealed()


def _check_readable(row: Row, files: Mapping[str, bytes]) -> None:
    """Raise where nobody could read what is about to be written."""
    try:
        parse_json(row_bytes(row), Path(f"{row.stem}.json"), what="row")
    except UsageError as error:
        raise UsageError(f"no row can be made of the cards' texts: {error}") from None
    sizes = {".json": len(row_bytes(row)), **{ending: len(content) for ending, content in files.items()}}
    for ending, size in sizes.items():
        most = MAX_ROW_BYTES if ending == ".json" else MAX_FILE_BYTES
        if size > most:
            raise UsageError(
                f"'{row.stem}{ending}' would take {size:,} bytes, and {most:,} are read; give the track a smaller "
                "`suite_limit`."
            )


def _find(source: Source, planned: PlannedCell, track: TrackCard, own: DetectorPart) -> _Found:
    """The cell of an entry and its members; one that is missing must be one that detector or track do not allow."""
    catalog, cell = source.catalog, _get(source, planned)
    members = {need.threat.name: need for need in planned.needs if need.threat.name in cell.meta.members}
    asked = planned.threat.members.get(Side.EVADE, ())
    left_out = {}
    for name in asked:
        if name in members:
            continue
        why = excused(catalog.threat(name), track, own.name, white_box=own.white_box, catalog=catalog)
        if why is None:
            reason = cell.meta.left_out.get(name, "it was left out of the run").rstrip(".")
            raise UsageError(f"{planned.label} lacks the attack '{name}' ({reason}); a row needs all of the suite.")
        left_out[name] = why
    found = {name: _get(source, need) for name, need in members.items()}
    for name, part in {planned.threat.name: cell, **found}.items():
        if part.meta.left_out and catalog.threat(name).source is not None:
            reasons = "; ".join(grouped(part.meta.left_out))
            raise UsageError(f"{planned.label}: '{name}' lacks images of {reasons}; a row needs all of them.")
    return _Found(planned, cell, found, left_out)


def _get(source: Source, planned: PlannedCell) -> Cell:
    cell = source.store.get(planned.key)
    if cell is None:
        raise UsageError(f"'{source.name}' lacks the samples of {planned.label}; run it again into it.")
    return cell


def _ood_scores(card: TrackCard, cell: Cell, column: str) -> NDArray[Any]:
    """(m,) of every OOD image, set after set in the card's order."""
    by_set = cell.samples.groupby("set", sort=False)[column]
    return np.concatenate([by_set.get_group(name).to_numpy() for name in card.ood])


def _score_table(card: TrackCard, clean: Cell, found: list[_Found]) -> ScoreTable:
    samples = clean.samples
    test = samples[samples["set"] == TEST]
    counts = samples["set"].value_counts()
    arrays: Arrays = {
        names.IDS: np.concatenate([test["id"].to_numpy(), _ood_scores(card, clean, "id")]),
        names.CLEAN: np.concatenate(
            [as_scores(test["clean_score"].to_numpy()), as_scores(_ood_scores(card, clean, "clean_score"))]
        ),
    }
    right = rightly_classified(test["label"].to_numpy(np.int64), test["predicted"].to_numpy(np.int64))
    if right is not None:
        arrays[names.RIGHT] = right
    for number, part in enumerate(found):
        arrays[names.worst_name(number)] = as_scores(_ood_scores(card, part.cell, "score"))
        arrays[names.norm_name(number)] = _ood_scores(card, part.cell, "norm").astype(np.float32)
        for name, member in part.members.items():
            arrays[names.member_name(number, name)] = as_scores(_ood_scores(card, member, "score"))
    sets = {name: int(counts[name]) for name in (TEST, *card.ood)}
    return ScoreTable(sets, card.natural() or tuple(card.ood), arrays)


def _kept_images(card: TrackCard, found: list[_Found], most: int) -> Arrays:
    """Of every set that counts the first images of each worst case, as many as the run kept."""
    if most == 0:
        return {}
    arrays: Arrays = {}
    for number, part in enumerate(found):
        sets = part.cell.samples["set"].to_numpy()
        rows, images = part.cell.arrays.get("image_rows"), part.cell.arrays.get("images")
        if rows is None or images is None:
            return {}
        order = np.concatenate([np.flatnonzero(sets == name) for name in card.ood])
        at = {int(row): position for position, row in enumerate(order)}
        chosen = [np.flatnonzero(sets[rows] == name)[:most] for name in card.natural() or tuple(card.ood)]
        picked = np.concatenate(chosen)
        arrays[names.rows_name(number)] = np.array([at[int(row)] for row in rows[picked]], dtype=np.int64)
        arrays[names.images_name(number)] = images[picked].astype(np.float32)
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_IMAGES_BYTES:
        raise UsageError(
            f"the images would take {size:,} bytes, and {MAX_IMAGES_BYTES:,} are allowed; keep fewer (--images)."
        )
    return arrays


def _entry(table: ScoreTable, number: int, part: _Found, verdicts: Verdicts) -> Entry:
    planned = part.planned
    assert planned.ingredients.norm is not None
    assert planned.ingredients.eps is not None
    return Entry(
        threat=planned.threat.name,
        norm=planned.ingredients.norm,
        eps=planned.ingredients.eps,
        cell=_cell_part(part.cell, verdicts),
        sets=table.set_figures(number),
        mean=table.worst_mean(number),
        members={
            name: Member(cell=_cell_part(cell, verdicts), mean=table.member_mean(number, name))
            for name, cell in part.members.items()
        },
        left_out=part.left_out,
    )


def _cell_part(cell: Cell, verdicts: Verdicts) -> CellPart:
    meta = cell.meta
    return CellPart(
        key=meta.key,
        source_hash=meta.source_hash,
        threat_hash=meta.threat_hash,
        norm=meta.norm,
        eps=meta.eps,
        early_stop=meta.early_stop,
        needs=meta.needs,
        soundness=dict(verdicts.get(meta.key, {})),
        gradients=meta.gradients,
        queries=meta.queries,
        seconds=meta.seconds,
        device=meta.device,
    )
