"""The level `claimed`: a row is whole, its hashes are those of the cards here, its figures follow from its scores."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from bench import __version__
from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.threat import Side
from bench.cards.track import TrackCard
from bench.errors import UsageError
from bench.evaluation.keys import Ingredients, file_sha256, threat_hash, track_hash
from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.beliefs import failed_attacks
from bench.leaderboards.checks import Findings
from bench.leaderboards.companions import Files, read_files
from bench.leaderboards.identity import card_hashes, declared_weights, detector_part, digest_problem, track_part
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, CellPart, Entry, Row
from bench.leaderboards.suite import excused, suite_problems
from bench.soundness.records import SLACK

_ROUNDING = 1e-9
"""Figures are sums of at most a million terms in float64."""

_LAST_PLACE = 2.0**-23
"""What a norm may exceed eps by beside `SLACK`: one unit in the last place of a pixel near 1."""


@dataclass
class Claims(Findings):
    """What was found; `files` is None where they cannot be read.

    Attributes:
        of_cards: Those problems that say no more than that the cards here are others than the row's.
        files: What lies beside the row.
    """

    of_cards: list[str] = field(default_factory=list)
    files: Files | None = None


def check_claims(row: Row, path: Path, catalog: Catalog, data_dir: Path | None) -> Claims:
    """Everything that needs neither weights nor data.

    A row of other cards than those here is held to what it says of its own; that it is so stands in `of_cards`.

    Args:
        row: The row.
        path: Its file; companions lie beside it.
        catalog: Where the cards are found.
        data_dir: Where data files lie; None for the default.
    """
    found = Claims()
    found.judge("the row is sealed, and named by what it holds", _form_problems(row, path))
    try:
        track = catalog.track(row.track.name)
        found.of_cards += _of_cards(row, catalog, track)
        found.judge("detector, track and suite are those of the cards here", found.of_cards)
        if not found.of_cards:
            found.judge("no soundness check of its own fails", _belief_problems(row, catalog))
        else:
            found.skip("no soundness check of its own fails", "its attacks are not those of the cards here")
    except UsageError as error:
        found.judge("detector, track and suite are those of the cards here", [str(error)])
        return found
    found.judge("the keys of its cells follow from its hashes", _key_problems(row))
    here = track if track_hash(track) == row.track.hash else None
    try:
        found.files = read_files(row, path, here)
    except UsageError as error:
        found.judge("the scores beside it are those of its digests", [str(error)])
        return found
    found.judge("the scores beside it are those of its digests", [])
    found.judge("its figures and costs follow from its scores and cells", [*_figures(row, found.files.table)])
    found.judge("its kept images are well formed", _image_problems(row, here, found.files))
    found.remarks += _code_remarks(row)
    return found


def own_problems(row: Row, files: Files) -> Iterator[str]:
    """What contradicts itself in a row whose scores are at hand: its seal, figures, costs and keys."""
    if row.row_sha256 != row.content_sha256():
        yield "it was changed after it was built: its row_sha256 is not that of its fields."
    yield from _key_problems(row)
    yield from _figures(row, files.table)


def in_ball(norms: NDArray[np.floating], eps: float) -> NDArray[np.bool_]:
    """Whether each of these norms is within eps, up to rounding."""
    return np.asarray(norms <= eps * (1 + SLACK) + _LAST_PLACE)


def _form_problems(row: Row, path: Path) -> Iterator[str]:
    if row.row_sha256 != row.content_sha256():
        yield "the row was changed after it was built: its row_sha256 is not that of its fields."
    if path.name != f"{row.stem}.json":
        yield f"the file is named '{path.name}', and what it holds asks for '{row.stem}.json'."
    if row.scores.file != row.stem + SCORES_SUFFIX:
        yield f"scores.file must be '{row.stem + SCORES_SUFFIX}'."
    if row.images is not None and row.images.file != row.stem + IMAGES_SUFFIX:
        yield f"images.file must be '{row.stem + IMAGES_SUFFIX}'."


def _of_cards(row: Row, catalog: Catalog, track: TrackCard) -> list[str]:
    """How the cards here differ from the row's; that there is none of its detector says no more for an older row."""
    try:
        spec = catalog.detector_spec(row.detector.name, track.name)
        return [*_card_problems(row, catalog, track, spec), *_suite_problems(row, catalog, track)]
    except UsageError as error:
        if row.track.version >= track.version:
            raise
        return [str(error)]


def _card_problems(row: Row, catalog: Catalog, track: TrackCard, spec: DetectorSpec) -> Iterator[str]:
    """Fields of the row that the cards here say otherwise."""
    weights = declared_weights(spec) or tuple(part.sha256 for part in row.detector.weights)
    if len(weights) != len(spec.weights):
        yield f"detector.weights are {len(weights)} files, and the card has {len(spec.weights)}."
        return
    for part, own in zip(spec.weights, row.detector.weights, strict=True):
        if part.sha256 is None and _other_file(catalog, part.file, own.sha256):
            yield f"detector.weights: '{part.file}' is another file than the row's."
    expected = detector_part(catalog, row.detector.name, track, weights)
    card, variant = catalog.detector(row.detector.name)
    if row.detector.card_hash in card_hashes(card, track.name, variant):
        expected = expected.model_copy(update={"card_hash": row.detector.card_hash})
    yield from _differences("detector", row.detector, expected)
    yield from _differences("track", row.track, track_part(track, dict(row.track.set_digests)))
    if problem := digest_problem(track, spec, dict(row.track.set_digests)):
        yield f"track.set_digests: {problem}."
    if row.micro_batch != (wanted := spec.batch_of(track.shape)):
        yield f"micro_batch is {row.micro_batch}, and the card's is {wanted}."


def _other_file(catalog: Catalog, file: str, sha256: str) -> bool:
    """Whether a weights file that no card pins is here and has another content."""
    path = catalog.weights_path(file)
    return path is not None and path.is_file() and file_sha256(path) != sha256


def _differences(where: str, given: BaseModel, expected: BaseModel) -> Iterator[str]:
    for name in type(given).model_fields:
        if getattr(given, name) != getattr(expected, name):
            yield f"{where}.{name} is not what the card here says."


def _suite_problems(row: Row, catalog: Catalog, track: TrackCard) -> Iterator[str]:
    for _, sentence in suite_problems(track, catalog):
        yield f"the suite of {track.name} makes no rows: {sentence}."
        return
    given = [(entry.threat, entry.eps) for entry in row.entries]
    asked = [(entry.threat, entry.eps) for entry in track.suite]
    if given != asked:
        yield f"its attacks are not the suite of {track.name}: {', '.join(f'{t} at {e:g}' for t, e in asked)}."
        return
    for entry in row.entries:
        card = catalog.threat(entry.threat)
        if card.norm != entry.norm:
            yield f"{entry.threat} has the norm {card.norm}, not {entry.norm}."
        if entry.cell.threat_hash != threat_hash(card, card.params):
            yield f"{entry.threat} is not the threat of the card here: its hash differs."
        listed = set(card.members.get(Side.EVADE, ()))
        if listed != {*entry.members, *entry.left_out} or set(entry.members) & set(entry.left_out):
            yield f"{entry.threat}: its attacks are not those of the card: {', '.join(sorted(listed))}."
        for name, member in entry.members.items():
            own = catalog.threat(name)
            if member.cell.threat_hash != threat_hash(own, own.params):
                yield f"{name} is not the threat of the card here: its hash differs."
        for name in entry.left_out:
            white_box, detector = row.detector.white_box, row.detector.name
            if excused(catalog.threat(name), track, detector, white_box=white_box, catalog=catalog) is None:
                yield f"{entry.threat} lacks the attack {name}, which can be run on this detector."


def _belief_problems(row: Row, catalog: Catalog) -> Iterator[str]:
    """Attacks that a soundness check fails."""
    for entry in row.entries:
        for name, failed in failed_attacks(entry, catalog).items():
            yield f"{name} at {entry.norm} {entry.eps:g} fails the soundness checks {', '.join(failed)}."


def _key_problems(row: Row) -> Iterator[str]:
    """Cells whose key is not made of what the row says of them."""
    clean = row.clean_cell
    if (clean.norm, clean.eps, clean.needs) != (None, None, ()) or not _is_key(row, clean, seed=0):
        yield "clean_cell: its key does not follow from the row's hashes."
    for entry in row.entries:
        own = [member.cell for member in entry.members.values()]
        for name, cell in [(entry.threat, entry.cell), *zip(entry.members, own, strict=True)]:
            if (cell.norm, cell.eps) != (entry.norm, entry.eps) or cell.early_stop != entry.cell.early_stop:
                yield f"{name}: its norm, eps or early stop are not those of the worst case."
            if not _is_key(row, cell, seed=row.seed):
                yield f"{name} at {entry.norm} {entry.eps:g}: its key does not follow from the row's hashes."
        if missing := {cell.key for cell in own} - set(entry.cell.needs):
            yield f"{entry.threat}: {len(missing)} of its attacks are not those that it was made from."


def _is_key(row: Row, cell: CellPart, *, seed: int) -> bool:
    ingredients = Ingredients(
        detector_hash=row.detector.settings_hash,
        weights_sha256=tuple(w.sha256 for w in row.detector.weights),
        source_hash=cell.source_hash,
        threat_hash=cell.threat_hash,
        track_hash=row.track.hash,
        set_digests=dict(row.track.set_digests),
        norm=cell.norm,
        eps=cell.eps,
        side=Side.EVADE,
        seed=seed,
        limit=row.track.limit,
        micro_batch=row.micro_batch,
        early_stop=cell.early_stop,
        needs=cell.needs,
    )
    return cell.key == ingredients.key(layout=row.cell_format, version=row.bench)


def _figures(row: Row, table: ScoreTable) -> Iterator[str]:
    yield from _figure_problems(row, table)
    yield from _cost_problems(row)


def _figure_problems(row: Row, table: ScoreTable) -> Iterator[str]:
    """Figures that do not follow from the scores, and a worst case that is not the worst."""
    yield from _accuracy_problems(row.id_accuracy, table.id_accuracy())
    yield from _unequal("clean", row.clean, table.clean_mean())
    for number, entry in enumerate(row.entries):
        where = f"{entry.threat} at {entry.norm} {entry.eps:g}"
        sets = table.set_figures(number)
        if set(entry.sets) != set(sets):
            yield f"{where}: its sets are not the track's."
            continue
        for name, figures in sets.items():
            yield from _unequal(f"{where}, {name}", entry.sets[name], figures)
        yield from _unequal(f"{where}, mean", entry.mean, table.worst_mean(number))
        for name, member in entry.members.items():
            yield from _unequal(f"{where}, {name}", member.mean, table.member_mean(number, name))
        yield from _not_the_worst(row, table, number, entry)
    yield from _unequal("worst", row.worst, row.worst_entry.mean)


def _accuracy_problems(given: float | None, computed: float | None) -> Iterator[str]:
    if given is not None and computed is None:
        yield f"id_accuracy is given as {given:.6g}, and the file of scores has no '{names.RIGHT}' to tell it from."
    elif computed is not None and (given is None or not math.isclose(given, computed, rel_tol=0.0, abs_tol=_ROUNDING)):
        shown = "none" if given is None else f"{given:.6g}"
        yield f"id_accuracy is given as {shown}, and '{names.RIGHT}' in the file of scores makes it {computed:.6g}."


def _cost_problems(row: Row) -> Iterator[str]:
    """Costs that are not those of what was added up."""
    spent = [row.clean_cell, *(entry.cell for entry in row.entries)]
    for name in ("gradients", "queries", "seconds"):
        if not math.isclose(getattr(row, name), sum(getattr(cell, name) for cell in spent), abs_tol=_ROUNDING):
            yield f"{name} is not the sum over the row's cells."
    for entry in row.entries:
        if not entry.members:
            continue  # one attack by itself: its cost is what is added up
        for name in ("gradients", "queries"):
            if getattr(entry.cell, name) != sum(getattr(member.cell, name) for member in entry.members.values()):
                yield f"{entry.threat}: {name} is not the sum over its attacks."


def _not_the_worst(row: Row, table: ScoreTable, number: int, entry: Entry) -> Iterator[str]:
    """Of every image the worst case is the highest of all attacks' scores and the clean one.

    One attack by itself is its own worst case, and of every image no better than the clean one. Of a random detector it
    is scored afresh, so that only its choice was the worst.
    """
    norms = table.arrays[names.norm_name(number)]
    if not in_ball(norms, entry.eps).all():
        yield f"{entry.threat}: images lie outside the ball of {entry.norm} {entry.eps:g}."
    if row.detector.random:
        return
    if not entry.members:
        if (table.arrays[names.worst_name(number)] < table.clean).any():
            yield f"{entry.threat}: some of its scores lie below the clean ones, which an attack may always take."
        return
    every = [table.clean, *(table.arrays[names.member_name(number, name)] for name in entry.members)]
    if not np.array_equal(np.max(every, axis=0), table.arrays[names.worst_name(number)]):
        yield f"{entry.threat}: its scores are not the worst of its attacks, image by image."


def _unequal(where: str, given: BaseModel, computed: BaseModel) -> Iterator[str]:
    """Figures that are not the computed ones."""
    for name in type(given).model_fields:
        ours, theirs = getattr(computed, name), getattr(given, name)
        if isinstance(ours, BaseModel):
            yield from _unequal(f"{where}, {name}", theirs, ours)
        elif isinstance(ours, float) and not isinstance(ours, bool):
            if not math.isclose(ours, theirs, rel_tol=0.0, abs_tol=_ROUNDING):
                yield f"{where}: {name} is given as {theirs:.6g}, and the scores make it {ours:.6g}."
        elif ours != theirs:
            yield f"{where}: {name} is given as {theirs}, and the scores make it {ours}."


def _image_problems(row: Row, track: TrackCard | None, files: Files) -> Iterator[str]:
    """Kept images of the wrong form, or outside the box."""
    if row.images is None:
        return
    expected = {f(number) for number in range(len(row.entries)) for f in (names.rows_name, names.images_name)}
    if set(files.images) != expected:
        yield "the file of images does not hold two arrays for each of the row's attacks."
        return
    ood = len(files.table.clean)
    for number, entry in enumerate(row.entries):
        rows, images = files.images[names.rows_name(number)], files.images[names.images_name(number)]
        formed = rows.dtype == np.int64 and images.dtype == np.float32 and rows.shape == (row.images.count,)
        shape = images.shape[1:] if track is None else track.shape
        if not formed or images.shape != (row.images.count, *shape):
            yield f"{entry.threat}: kept images are not {row.images.count} float32 images of the track's shape."
        elif len(np.unique(rows)) < len(rows) or not ((rows >= 0) & (rows < ood)).all():
            yield f"{entry.threat}: kept images do not belong to different OOD images."
        elif not ((images >= 0) & (images <= 1)).all():
            yield f"{entry.threat}: kept images lie outside [0, 1]."


def _code_remarks(row: Row) -> Iterator[str]:
    if row.bench != __version__:
        yield f"it was computed by bench {row.bench}, and this is {__version__}."
