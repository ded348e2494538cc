"""Folders and files of cards and weights: the user's workspace, the built-in content, the cache."""

import os
from collections.abc import Iterable
from pathlib import Path

from bench.errors import CardError, UsageError
from bench.places import expanded, user_cache

MARKER = "robustood.toml"
SUFFIXES = (".yaml", ".yml")
"""What a card's file name ends with."""


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False also where a name is too long or may not be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_workspace(folder: Path) -> bool:
    """Whether a folder has the file that makes it one."""
    try:
        return (folder / MARKER).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def builtin_content() -> Path:
    """The folder of the built-in content: inside the installed package, or the checkout around it."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_content"
    return shipped if shipped.is_dir() else package.parent


def weights_cache() -> Path | None:
    """Where weights lie that belong to no workspace: `ROBUSTOOD_WEIGHTS`, or the user's cache; None without a home."""
    if named := os.environ.get("ROBUSTOOD_WEIGHTS"):
        return expanded(named, "ROBUSTOOD_WEIGHTS")
    cache = user_cache()
    return None if cache is None else cache / "weights"


def refuse_twins(path: Path) -> None:
    """Raise where a card lies beside another one of its name.

    Raises:
        CardError: Both NAME.yaml and NAME.yml are there, and nothing says which one is meant.
    """
    twins = [path.parent / f"{path.stem}{suffix}" for suffix in SUFFIXES]
    if path.suffix in SUFFIXES and all(twin.is_file() for twin in twins):
        names = " and ".join(twin.name for twin in twins)
        raise CardError(f"{path.parent} has both {names}, two cards of one name; remove or rename one of them.")


def card_files(folder: Path) -> list[Path]:
    """One file a name, sorted; of two that differ in their suffix alone the first (see `refuse_twins`)."""
    found = {path.stem: path for path in reversed(entries(folder)) if path.suffix in SUFFIXES and path.is_file()}
    return [found[name] for name in sorted(found)]


def looks_like_a_card(path: Path) -> bool:
    """A file that somebody may have meant for a card and that is none."""
    if path.name.startswith(".") or (path.suffix in SUFFIXES and path.is_file()) or not path.is_file():
        return False
    # Also NAME.yaml.txt, as some editors save it, and cards in other formats.
    return any(suffix.lower() in (*SUFFIXES, ".json", ".toml") for suffix in path.suffixes)


def unmarked_cards(folder: Path, kinds: Iterable[str]) -> list[Path]:
    """Cards in a folder that would be those of a workspace, and are not read since it has no marker.

    Args:
        folder: It.
        kinds: The names of the folders of cards.
    """
    if is_workspace(folder):
        return []
    try:
        return [path for kind in kinds for path in card_files(folder / kind)]
    except (OSError, UsageError):  # a folder that may not be looked into: whoever needs it will say so
        return []


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is none.

    Raises:
        UsageError: It may not be read.
    """
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UsageError(f"folder '{folder}' cannot be read ({error.strerror}); check its permissions.") from error
