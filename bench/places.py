"""Folders of the user's: none of them has to exist, and neither has a home folder (containers, cron jobs)."""

import os
from pathlib import Path

from bench.errors import UsageError
from bench.lazy import lazily

with lazily():
    import platformdirs


def user_cache() -> Path | None:
    """This program's folder in the user's cache; None where no home folder is known and no variable names a cache."""
    try:
        folder = Path(platformdirs.user_cache_dir("robustood"))
    except (RuntimeError, KeyError, OSError):  # no HOME, and a user id that the system does not know
        return None
    # Without a home folder some systems give '~/.cache' back as it is; a relative one would be below any folder.
    return folder if folder.is_absolute() else None


def expanded(path: str | os.PathLike[str], what: str) -> Path:
    """A path with its '~' or '~user' replaced.

    Args:
        path: As it was given.
        what: What it names, for the sentence.

    Raises:
        UsageError: There is no such home folder.
    """
    given = Path(path)
    try:
        found = given.expanduser()
    except (RuntimeError, KeyError, OSError):
        found = None
    if found is None or (str(given).startswith("~") and not found.is_absolute()):
        raise UsageError(f"{what}: no home folder is known for its '~'; write the path out.")
    return found
