"""The image files below a folder, in an order that depends on their names alone, and what is no image file there."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.sources._decode import SUFFIXES
from bench.datasets.sources._passed import Tally

ORDER = b"robustood folder order 1\0"


@dataclass(frozen=True)
class Top:
    """What lies directly in a folder.

    Attributes:
        folders: Names of its folders, sorted by their bytes as torchvision's ImageFolder sorts them; no links, nothing
            hidden.
        images: Whether image files lie beside them.
    """

    folders: tuple[str, ...]
    images: bool


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        files: Image files by their suffix, as paths below the folder with '/', shuffled: see `shuffled`.
        passed: What was passed over.
    """

    files: list[str]
    passed: Tally


def top(folder: Path) -> Top:
    """What lies directly in a folder; nothing is opened."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".") and not entry.is_symlink()]
    folders = sorted((entry.name for entry in found if entry.is_dir()), key=os.fsencode)
    return Top(tuple(folders), any(entry.is_file() and _is_image(entry.name) for entry in found))


def listing(folder: Path) -> Listing:
    """All image files below a folder; links are never followed."""
    files: list[str] = []
    passed = Tally()

    def unreadable(error: OSError) -> None:
        passed.add("in a folder that cannot be read", f"{Path(error.filename).relative_to(folder).as_posix()}/")

    for here, folders, names in os.walk(folder, followlinks=False, onerror=unreadable):
        below = Path(here).relative_to(folder)
        kept = []
        for name in folders:
            if reason := _not_a_plain_folder(Path(here) / name):
                passed.add(reason, f"{(below / name).as_posix()}/")
            else:
                kept.append(name)
        folders[:] = kept
        for name in names:
            path = (below / name).as_posix()
            if reason := _not_an_image(Path(here) / name):
                passed.add(reason, path)
            else:
                files.append(path)
    return Listing(shuffled(files), passed)


def shuffled(names: list[str]) -> list[str]:
    """The names in the order of a hash of each: a shuffle that neither the file system nor the locale changes.

    A file that comes or goes leaves the order of the others as it is, and a smaller cut lies in a larger one.
    """
    return sorted(names, key=lambda name: hashlib.sha256(ORDER + os.fsencode(name)).digest())


def _not_a_plain_folder(path: Path) -> str | None:
    if path.is_symlink():
        return "links"
    return "hidden" if path.name.startswith(".") else None


def _not_an_image(path: Path) -> str | None:
    if path.is_symlink():
        return "links"
    if path.name.startswith("."):
        return "hidden"
    if not _is_image(path.name):
        return "not images by their suffix"
    return None if path.is_file() else "no regular files"


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  # a name, not yet a path
