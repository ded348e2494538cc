"""Verdicts on disk, beside the cells of a store: one small sealed JSON file a cell, written aside and renamed."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from bench.errors import UsageError
from bench.files import read_file, write_file
from bench.seals import NoSealError, sealed_json, unsealed_json
from bench.soundness.verdicts import FORMAT, Verdicts

FOLDER = "verdicts"
_MAX_BYTES = 2**20


def read_verdicts(root: Path, keys: Iterable[str]) -> dict[str, Verdicts]:
    """The verdicts that are there, by the cells' keys; what is damaged or of another version counts as absent.

    Args:
        root: The store's folder.
        keys: Of the cells.
    """
    found = {}
    for key in keys:
        path = _path(root, key)
        with suppress(OSError, ValueError, RecursionError, ValidationError):
            verdicts = Verdicts.model_validate(_content(read_file(path, _MAX_BYTES)))
            if verdicts.format == FORMAT and verdicts.key == key:
                found[key] = verdicts
    return found


def failed_checks(root: Path, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The cells of which a check says FAIL, and which checks do; arguments as in `read_verdicts`."""
    return {key: found.failed for key, found in read_verdicts(root, keys).items() if found.failed}


def write_verdicts(root: Path, verdicts: Verdicts) -> Verdicts:
    """Add findings to those that are there: the newer of two takes the other's place, a skipped one no other's.

    Args:
        root: The store's folder.
        verdicts: Of one cell.

    Returns:
        All findings of the cell.

    Raises:
        UsageError: The folder cannot be written.
    """
    known = read_verdicts(root, [verdicts.key]).get(verdicts.key)
    merged = verdicts if known is None else known.merged(verdicts)
    path = _path(root, verdicts.key)
    if link := next((folder for folder in path.parents[:2] if folder.is_symlink()), None):
        raise UsageError(f"cannot write '{path}': '{link}' is a link; remove it or choose another folder (--out).")
    text = sealed_json(merged.model_dump(mode="json"))
    write_file(path, text, through_links=False, remedy="choose another folder (--out)")
    return merged


def _content(text: bytes) -> object:
    """The JSON under its seal; that of versions which wrote none as it is.

    Raises:
        ValueError: It is not what was sealed, or no JSON.
    """
    try:
        return unsealed_json(text)
    except NoSealError:
        return json.loads(text)


def _path(root: Path, key: str) -> Path:
    return Path(root) / FOLDER / key[:2] / f"{key}.json"
