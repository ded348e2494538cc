"""Where a source's files lie, and the sentence for one that does not."""

import os
import re
from pathlib import Path

from bench.errors import DataError


class MissingDataError(DataError):
    """Data that is not there, as against data that is damaged."""


def data_file(data_dir: Path, name: str) -> Path:
    """A file below the data folder.

    Raises:
        DataError: The name leaves the folder, or there is no such file (`MissingDataError`), or it is none.
    """
    if not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in name.split("/")):
        raise DataError(f"file '{name}' is not a relative path of letters, digits, '.', '_' and '-': rename it.")
    path = data_dir / name
    if not path.is_file():
        if os.path.lexists(path):
            raise DataError(f"{path} is a folder, or a link to nothing: put the file itself there.")
        raise missing(path.name, path.parent)
    return path


def missing(what: str, folder: Path) -> MissingDataError:
    """The error for data that is not there."""
    return MissingDataError(
        f"{what} is missing, looked for in {folder}: `bench data check` lists what each track needs, `bench data "
        "download` fetches what can be fetched, --data-dir or ROBUSTOOD_DATA names another folder."
    )
