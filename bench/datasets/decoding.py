"""A set of a card as bytes: read from its source, checked and cut, or recalled as it was decoded before."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.cards.track import FormSpec, SetSpec
from bench.datasets.base import RawImages, content_digest
from bench.datasets.forms import form_name
from bench.datasets.kept import Kept, Pages, keep, recall
from bench.datasets.sources import load_source
from bench.datasets.sources._depends import dependence
from bench.errors import BenchError, DataError


class WrongContentError(DataError):
    """Data whose digest is not the card's."""


@dataclass(frozen=True)
class Decoded:
    """What a card takes of a source.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        positions: (N,) int64: which of the source's images they are.
        count: How many images the source gave.
        digest: sha256 of all that it gave.
        skipped: See `RawImages`.
        notes: See `RawImages`.
        available: Images of the source before any cut.
        class_names: See `RawImages`.
        pages: Of the file that the images are read from; None where they stand in memory.
    """

    images: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    count: int
    digest: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    available: int
    class_names: tuple[str, ...]
    pages: Pages | None = None


def decoded(
    spec: SetSpec,
    form: FormSpec,
    folder: Path,
    workspace: Path | None,
    *,
    shape: tuple[int, ...],
    where: str,
    agree: Callable[[tuple[str, ...]], None],
) -> Decoded:
    """One set in one form, in the track's shape.

    Args:
        spec: The set.
        form: The form in which it lies on disk.
        folder: Of data files.
        workspace: Where a user's own modules are looked for.
        shape: (C, H, W) that its images must have.
        where: The set, for the sentences.
        agree: Raises where the names of its classes are not the track's.

    Raises:
        DataError: Its files are missing or unreadable, their content is not what the card says, nothing is taken of
            them, or the images do not have the track's shape.
    """
    spec = spec.taken_of(form)
    name = _dependence(spec, form, folder)
    if name is not None and (kept := recall(name)) is not None and (found := _read(kept, form, shape)) is not None:
        with said_of(where):
            agree(found.class_names)
        return found
    with said_of(where):
        raw = load_source(form.source, form.args, folder, workspace)
        agree(raw.class_names)
    found = _cut(raw, spec, form, shape, where)
    if name is not None and (kept := keep(name, found.images, _about(found))) is not None:
        return _read(kept, form, shape) or found
    return found


@contextmanager
def said_of(where: str) -> Iterator[None]:
    """Begin the sentence of an error with the set that it is about."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{where}: {error}") from error


def _dependence(spec: SetSpec, form: FormSpec, folder: Path) -> str | None:
    try:
        return dependence(spec, form, folder)
    except (OSError, ValueError, TypeError, BenchError):
        return None  # what is wrong with the files or the card is said by their source


def _cut(raw: RawImages, spec: SetSpec, form: FormSpec, shape: tuple[int, ...], where: str) -> Decoded:
    digest = content_digest(raw.images, raw.labels)
    if (accepted := form.digests()) and digest not in accepted:
        of = f" in the form {form_name(form)}" if spec.also else ""
        raise WrongContentError(
            f"{where}{of} has content {digest}, expected {' or '.join(accepted)}: replace its files "
            "(`bench data check` names them), or make a track card of your own that accepts this content."
        )
    keep = chosen(raw, spec)
    if len(keep) == 0:
        raise DataError(f"{where} is empty: its source has {len(raw.images)} images and the card takes none of them.")
    # Without excluded labels the part is a slice: no copy of what may be most of the memory.
    part = raw.images[keep] if spec.exclude_labels else raw.images[spec.start : spec.stop]
    images = prepared(part, spec)
    if images.shape[1:] != shape:
        raise DataError(
            f"{where} has images of shape {images.shape[1:]}, the track's is {shape}: set crop, pad or "
            "grey, or the source's shape, in the card."
        )
    return Decoded(
        images,
        raw.labels[keep],
        keep,
        len(raw.images),
        digest,
        raw.skipped,
        (*raw.notes, *_cut_notes(spec, len(raw.images))),
        len(raw.images) if raw.available is None else raw.available,
        raw.class_names,
    )


def _about(found: Decoded) -> dict[str, Any]:
    return {
        "labels": found.labels.tolist(),
        "positions": found.positions.tolist(),
        "count": found.count,
        "digest": found.digest,
        "skipped": found.skipped,
        "notes": found.notes,
        "available": found.available,
        "class_names": found.class_names,
    }


def _read(kept: Kept, form: FormSpec, shape: tuple[int, ...]) -> Decoded | None:
    """A kept set; None where it is another one than was asked for."""
    about: Mapping[str, Any] = kept.about
    try:
        labels, positions = (np.array(about[name], dtype=np.int64) for name in ("labels", "positions"))
        found = Decoded(
            kept.images,
            labels,
            positions,
            int(about["count"]),
            str(about["digest"]),
            tuple(about["skipped"]),
            tuple(about["notes"]),
            int(about["available"]),
            tuple(about["class_names"]),
            kept.pages,
        )
    except (KeyError, TypeError, ValueError):
        return None
    count = kept.images.shape[:1]
    fits = labels.shape == positions.shape == count and kept.images.shape[1:] == shape
    return found if fits and found.digest in (form.digests() or (found.digest,)) else None


def _cut_notes(spec: SetSpec, count: int) -> list[str]:
    if spec.stop is None or spec.stop <= count:
        return []
    return [f"the card takes images up to number {spec.stop:,} and the source has {count:,}."]


def chosen(raw: RawImages, spec: SetSpec) -> np.ndarray:
    """Positions that a card takes: `start` to `stop` of what the source gave, then without the excluded labels."""
    positions = np.arange(len(raw.images))[spec.start : spec.stop]
    return positions[~np.isin(raw.labels[positions], spec.exclude_labels)]


def prepared(images: np.ndarray, spec: SetSpec) -> np.ndarray:
    """(N, H, W, C) bytes as a card wants them, (N, C, H, W): grey (ITU-R 601 luma), cropped to their centre, padded."""
    if spec.grey and images.shape[3] == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])
    if spec.crop is not None:
        top, left = (max(0, side - spec.crop) // 2 for side in images.shape[1:3])
        images = images[:, top : top + spec.crop, left : left + spec.crop]
    if pad := spec.pad:
        images = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
