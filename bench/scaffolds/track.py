"""A track of folders of images: the ID folder is cut in three, the others are OOD sets."""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from PIL import Image

from bench.cards.catalog import Catalog, Kind
from bench.datasets.sources._walk import listing, top
from bench.errors import IMAGES_ONLY, UsageError
from bench.scaffolds.writing import card_path, put

LARGEST = 50_000
"""So many images of a folder are taken; of more, a fixed shuffle chooses."""

FIRST, SECOND = 0.6, 0.8
"""Up to this share of the ID images is for fits, up to that for thresholds, the rest is what figures are about."""

_USUAL = 224


def new_track(
    catalog: Catalog,
    name: str,
    inside: Path,
    outside: Mapping[str, Path],
    *,
    size: int | None,
    classes: int | None,
    grey: bool = False,
) -> Path:
    """Write the card of a track.

    Args:
        catalog: Of the workspace.
        name: Of the track.
        inside: The folder of ID images; its folders are classes where all images lie in two or more.
        outside: OOD set -> folder of images.
        size: Height and width that images are brought to; None takes that of the first image, at most 224.
        classes: The number of classes where folders do not say it.
        grey: Whether images have one channel.

    Returns:
        The card's file.

    Raises:
        UsageError: A folder is missing or has too few images, or nothing says how many classes there are.
    """
    path = card_path(catalog, Kind.TRACK, name)
    if not outside:
        raise UsageError("a track needs OOD images; name folders of them by --ood.")
    counts = {folder: _count(folder) for folder in (inside, *outside.values())}
    if counts[inside] < 10:
        raise UsageError(f"folder '{inside}' has {counts[inside]} images; a track needs ten or more, of all classes.")
    here = top(inside)
    found = len(here.folders) if not here.images and len(here.folders) > 1 else None
    if found is not None and classes not in (None, found):
        raise UsageError(f"'{inside}' has {found} class folders, and --classes says {classes}; leave --classes out.")
    number = found if found is not None else classes
    if number is None:
        raise UsageError(f"'{inside}' has no class folders; say how many classes the network knows by --classes.")
    side = size if size is not None else _side(inside)
    total = min(counts[inside], LARGEST)
    return put(path, _text(name, inside, outside, (1 if grey else 3, side, side), number, total, found is not None))


def _text(
    name: str,
    inside: Path,
    outside: Mapping[str, Path],
    shape: tuple[int, int, int],
    classes: int,
    total: int,
    labelled: bool,
) -> str:
    def source(folder: Path, more: str = "") -> str:
        args = {"path": str(folder.resolve()), "shape": list(shape), "max_images": LARGEST}
        if folder != inside:
            args["labels"] = "none"
        text = yaml.safe_dump(args, default_flow_style=True, width=10_000, sort_keys=False).strip()
        return f"{{source: folder, args: {text}{more}}}"

    first, second = int(FIRST * total), int(SECOND * total)
    sets = "".join(f"  {key}: {source(folder)}\n" for key, folder in outside.items())
    labels = "its folders are the classes, in sorted order" if labelled else "no image has a label"
    return f"""\
name: {name}
summary: Images of {_plain(inside)} against those of {", ".join(map(_plain, outside.values()))}.  # say what they show
shape: {list(shape)}  # channels, height, width: every image is brought to it
classes: {classes}
# One folder ({labels}), shuffled by file names and cut in three:
# fits and trainings see the first part, thresholds are set on the second, figures are about the third.
train: {source(inside, f", stop: {first}")}
calibration: {source(inside, f", start: {first}, stop: {second}")}
test: {source(inside, f", start: {second}")}
ood:  # every set here enters the mean; one that should not says in_mean: false
{sets}# network: NAME  # of detectors/networks/, on which scores stand where none is named
"""


def _plain(folder: Path) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_ " else "-" for sign in folder.resolve().name) or "a folder"


def _count(folder: Path) -> int:
    if not folder.is_dir():
        raise UsageError(f"folder '{folder}' is missing; name a folder of images.")
    count = len(listing(folder).files)
    if not count:
        hint = (
            IMAGES_ONLY if any(path.is_file() for path in folder.iterdir()) else "put .png, .jpg or other images there"
        )
        raise UsageError(f"folder '{folder}' has no images; {hint}.")
    return count


def _side(folder: Path) -> int:
    """The shorter side of the first image that can be read, at most 224."""
    for file in listing(folder).files[:20]:
        try:
            with Image.open(os.path.join(folder, file)) as image:  # noqa: PTH118  # names of others
                return min(*image.size, _USUAL)
        except Exception:  # noqa: S112  # a broken image is told of when the track is read
            continue
    return _USUAL
