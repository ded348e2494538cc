"""Verdicts on disk, beside the cells of a store: one small JSON file a cell, written aside and renamed."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from bench.files import write_file
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
            if path.stat().st_size > _MAX_BYTES:
                continue
            verdicts = Verdicts.model_validate(json.loads(path.read_bytes()))
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
    text = json.dumps(merged.model_dump(mode="json"), indent=1, allow_nan=False)
    write_file(path, text.encode(), through_links=False, remedy="choose another folder (--out)")
    return merged


def _path(root: Path, key: str) -> Path:
    return Path(root) / FOLDER / key[:2] / f"{key}.json"
