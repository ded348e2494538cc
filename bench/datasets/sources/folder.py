"""Any folder of image files, decoded safely; labels by class folders, as torchvision's ImageFolder has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Shape, SourceArgs, check_size
from bench.datasets.sources._decode import SUFFIXES, RefusedError, decode
from bench.datasets.sources._files import MissingDataError
from bench.datasets.sources._passed import Tally, named, shown
from bench.datasets.sources._walk import Listing, Top, listing, top
from bench.errors import DataError
from bench.places import expanded

Byte = Annotated[int, Field(ge=0, le=255)]
FolderName = Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$", max_length=255)]

GROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0)}

CLASSES_SHOWN = 12
"""How many classes a sentence lists."""


class FolderArgs(SourceArgs):
    """A folder, the shape that its images are brought to, and how they are read."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    shape: Shape
    max_images: int = Field(default=10_000, ge=1, le=1_000_000)
    labels: Literal["folders", "none"] | None = None  # nothing: folders where all images lie in two or more
    classes: tuple[FolderName, ...] | None = Field(default=None, min_length=1)  # class folders in the order of labels
    background: Literal["white", "black"] | tuple[Byte, Byte, Byte] = "white"

    @model_validator(mode="after")
    def _classes_are_labels(self) -> Self:
        if self.classes is not None and self.labels == "none":
            raise ValueError("classes go with labels: folders; leave one of the two out")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("every class must be named once")
        return self

    @property
    def ground(self) -> tuple[int, int, int]:
        """The colour below what is transparent."""
        return GROUNDS[self.background] if isinstance(self.background, str) else self.background


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """At most `max_images` of the images below a folder, shuffled by a hash of their names.

    A path that is not absolute is below the data folder.

    Labels: where all images lie in two or more folders, these are classes and a label is the place of an image's
    top-most folder among their sorted names, as in torchvision's ImageFolder; `classes` gives another order or a
    choice of folders, `labels: folders` takes a single folder for a class too, `labels: none` takes no labels. Images
    that lie in one folder have none (-1).

    Transparency is laid on a `background`, white unless the card says otherwise: pictures that look alike in a viewer
    are then equal, and the usual transparent picture, dark ink on nothing, stays visible. Torchvision and Pillow drop
    the transparency and show whatever colours lie below it, most often black. A picture of which nothing is left on
    the ground is passed over.

    Never read are links, hidden files, other suffixes, and what is broken or too large; pixels of more than 8 bits are
    never clipped. Everything that is passed over, and everything about files that a figure may depend on, is counted
    and named in `skipped` and `notes`. How one file is read: see `bench.datasets.sources._decode.decode`.

    Raises:
        DataError: The folder is missing, holds no readable image, or has not the class folders that the card asks for.
    """
    wanted = FolderArgs.parse(args, "folder")
    folder = _folder(wanted.path, data_dir)
    here = top(folder)
    names = _class_names(wanted, here, folder)
    found = _in_classes(listing(folder), names) if names else listing(folder)
    images, labels, told = _read(found, folder, wanted, names)
    if not images:
        skipped = found.passed.sentences("passed over")
        first = f": {' '.join(skipped)}" if skipped else f"; read are {', '.join(sorted(SUFFIXES))}."
        raise DataError(f"folder {folder} holds no readable image{first}")
    channels, (height, width) = wanted.shape[0], wanted.shape[1:]
    notes = [*_label_notes(names, labels, here, wanted), *told.sentences("read")]
    if len(images) == wanted.max_images < len(found.files):
        notes.append(f"{len(images):,} of {len(found.files):,} images are taken (max_images), by a fixed shuffle.")
    return RawImages(
        images=np.stack(images).reshape(-1, height, width, channels),
        labels=np.array(labels, dtype=np.int64),
        skipped=found.passed.sentences("passed over"),
        notes=tuple(notes),
        available=len(found.files),
        class_names=names,
    )


def class_names(args: dict[str, Any], data_dir: Path) -> tuple[str, ...]:
    """The class folders in the order of their labels, () without labels; only the folder's top is looked at.

    Raises:
        DataError: As `load`.
    """
    wanted = FolderArgs.parse(args, "folder")
    folder = _folder(wanted.path, data_dir)
    return _class_names(wanted, top(folder), folder)


def _folder(path: str, data_dir: Path) -> Path:
    given = expanded(path, f"folder '{path}'")
    folder = given if given.is_absolute() else data_dir / given
    if not given.is_absolute() and not folder.resolve().is_relative_to(data_dir.resolve()):
        raise DataError(f"folder '{path}' leaves the data folder: give a path inside it, or an absolute one.")
    if not folder.is_dir():
        below = "" if given.is_absolute() else f" below {data_dir}"
        raise MissingDataError(
            f"image folder '{path}' is missing{below}: put the images there, or correct the path in the track's card."
        )
    return folder


def _class_names(wanted: FolderArgs, here: Top, folder: Path) -> tuple[str, ...]:
    if wanted.classes is not None:
        if absent := [name for name in wanted.classes if name not in here.folders]:
            raise DataError(
                f"folder {folder} has no class folder {named(absent)}: it has {named(list(here.folders)) or 'none'}; "
                "correct `classes` in the card."
            )
        return wanted.classes
    if wanted.labels == "folders":
        if not here.folders:
            raise DataError(f"folder {folder} has no class folders: leave `labels: folders` out, or sort the images.")
        return here.folders
    return here.folders if wanted.labels is None and not here.images and len(here.folders) > 1 else ()


def _in_classes(found: Listing, names: tuple[str, ...]) -> Listing:
    """Only the files in class folders."""
    kept = []
    for file in found.files:
        if "/" in file and file.partition("/")[0] in names:
            kept.append(file)
        else:
            found.passed.add("outside the class folders", file)
    return Listing(kept, found.passed)


def _read(
    found: Listing, folder: Path, wanted: FolderArgs, names: tuple[str, ...]
) -> tuple[list[np.ndarray], list[int], Tally]:
    """Images and labels in the order of the files, up to the largest number; adds to what `found` passed over."""
    channels, height, width = wanted.shape
    check_size(min(len(found.files), wanted.max_images), height, width, channels, f"folder {folder}")
    place = {name: label for label, name in enumerate(names)}
    images: list[np.ndarray] = []
    labels: list[int] = []
    told = Tally()
    for file in found.files:
        if len(images) == wanted.max_images:
            break
        remarks: list[str] = []
        try:
            images.append(decode(folder / file, channels, (width, height), wanted.ground, remarks.append))
        except RefusedError as reason:
            found.passed.add(str(reason), file)
            continue
        labels.append(place.get(file.partition("/")[0], -1) if names else -1)
        for remark in remarks:
            told.add(remark, file)
    return images, labels, told


def _label_notes(names: tuple[str, ...], labels: Sequence[int], here: Top, wanted: FolderArgs) -> list[str]:
    if not names:
        if wanted.labels is None and here.images and here.folders:
            return ["images lie beside folders as well as in them, so the folders are no classes: there are no labels."]
        return []
    listed = ", ".join(f"{label} {shown(name)}" for label, name in enumerate(names[:CLASSES_SHOWN]))
    more = f" and {len(names) - CLASSES_SHOWN:,} more" if len(names) > CLASSES_SHOWN else ""
    how = "the card's classes" if wanted.classes is not None else "the class folders in sorted order"
    notes = [f"labels are {how}: {listed}{more}."]
    if empty := sorted(set(range(len(names))) - set(labels)):
        notes.append(f"no image is read of {len(empty):,} class folders: {named([names[k] for k in empty])}.")
    return notes
