"""Verdicts on disk, beside the cells of a store: one small sealed JSON file a cell, written aside and renamed."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.errors import UsageError
from bench.evaluation.notes import Notes
from bench.files import read_file, why, write_file
from bench.seals import NoSealError, Seal, seal_of, sealed_json, unsealed_json
from bench.soundness.verdicts import FORMAT, Verdicts

FOLDER = "verdicts"
_MAX_BYTES = 2**20
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kept:
    """What lies beside the cells of a store.

    Attributes:
        found: The verdicts by the cells' keys.
        unusable: Why those of other cells cannot be read, by key.
        unsealed: Keys of cells whose verdicts have no seal; they are among the found.
    """

    found: dict[str, Verdicts]
    unusable: dict[str, str]
    unsealed: tuple[str, ...]

    def notices(self, root: Path) -> list[str]:
        """A sentence for what cannot be read, and one for what nothing vouches for."""
        said = []
        if self.unusable:
            key, reason = next(iter(self.unusable.items()))
            said.append(
                f"the findings of {_cells(len(self.unusable))} in '{Path(root) / FOLDER}' cannot be used ({key[:12]}: "
                f"{reason}), so that no '!' marks what they doubted; `bench diagnose`, or `bench run --diagnose`, "
                "makes them anew."
            )
        if self.unsealed:
            said.append(
                f"the findings of {_cells(len(self.unsealed))} in '{Path(root) / FOLDER}' have no seal, so that "
                "nothing tells whether they were changed; `bench diagnose`, or `bench run --diagnose`, writes them "
                "with one."
            )
        return said


def kept_verdicts(root: Path, keys: Iterable[str]) -> Kept:
    """The verdicts that are there, and those that are there and cannot be used; arguments as in `read_verdicts`."""
    found, unusable, unsealed = {}, {}, []
    for key in keys:
        try:
            text = read_file(_path(root, key), _MAX_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            unusable[key] = why(error)
            continue
        try:
            found[key] = _verdicts(text, key)
        except ValueError as error:
            unusable[key] = str(error)
        else:
            if seal_of(text) is Seal.ABSENT:
                unsealed.append(key)
    return Kept(found, unusable, tuple(unsealed))


def read_verdicts(
    root: Path, keys: Iterable[str], said: Callable[[str], None] = lambda sentence: None
) -> dict[str, Verdicts]:
    """The verdicts that are there, by the cells' keys; what is damaged or of another version counts as absent.

    Args:
        root: The store's folder.
        keys: Of the cells.
        said: Hears of verdicts that are there and cannot be used, and of those without a seal.
    """
    kept = kept_verdicts(root, keys)
    for sentence in kept.notices(root):
        said(sentence)
    return kept.found


def failed_checks(
    root: Path, keys: Iterable[str], said: Callable[[str], None] = lambda sentence: None
) -> dict[str, tuple[str, ...]]:
    """The cells of which a check says FAIL, and which checks do; arguments as in `read_verdicts`."""
    return {key: found.failed for key, found in read_verdicts(root, keys, said).items() if found.failed}


def write_verdicts(root: Path, verdicts: Verdicts, said: Callable[[str], None] = lambda sentence: None) -> Verdicts:
    """Add findings to those that are there: the newer of two takes the other's place, a skipped one no other's.

    Args:
        root: The store's folder.
        verdicts: Of one cell.
        said: Hears of findings that were there and cannot be used; these take their place.

    Returns:
        All findings of the cell.

    Raises:
        UsageError: The folder cannot be written.
    """
    kept = kept_verdicts(root, [verdicts.key])
    for reason in kept.unusable.values():
        said(f"former findings of the cell {verdicts.key[:12]} cannot be used ({reason}); only those of now are kept.")
    known = kept.found.get(verdicts.key)
    merged = verdicts if known is None else known.merged(verdicts)
    path = _path(root, verdicts.key)
    if link := next((folder for folder in path.parents[:2] if folder.is_symlink()), None):
        raise UsageError(f"cannot write '{path}': '{link}' is a link; remove it or choose another folder (--out).")
    text = sealed_json(merged.model_dump(mode="json"))
    write_file(path, text, through_links=False, remedy="choose another folder (--out)")
    return merged


def _joined(older: bytes, newer: bytes) -> bytes:
    """The findings of two files of one cell in one file.

    Raises:
        ValueError: One of them cannot be used.
    """
    first = Verdicts.model_validate(unsealed_json(older))
    return sealed_json(first.merged(_verdicts(newer, first.key)).model_dump(mode="json"))


def _files(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((Path(root) / FOLDER).glob("??/*.json")) if _KEY.fullmatch(path.stem)}


def _verdicts(text: bytes, key: str) -> Verdicts:
    """The findings of one cell, under their seal or, of versions that wrote none, without.

    Raises:
        ValueError: Why they cannot be used, in a few words.
    """
    try:
        content = unsealed_json(text)
    except NoSealError:
        content = json.loads(text)
    if type(content.get("format")) is int and content["format"] != FORMAT:
        raise ValueError("they are of another version")
    try:
        found = Verdicts.model_validate(content)
    except (ValidationError, RecursionError):
        raise ValueError("they are damaged") from None
    if found.key != key:
        raise ValueError("they are of another cell")
    return found


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _path(root: Path, key: str) -> Path:
    return Path(root) / FOLDER / key[:2] / f"{key}.json"


NOTES = Notes("verdicts", _files, _path, _joined)
"""How verdicts travel to a store at a URL and back."""
