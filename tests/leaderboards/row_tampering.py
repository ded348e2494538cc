"""Ways to change a row, and to seal it again as a forger would."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.leaderboards.arrays import array_sha256, bytes_sha256, pack
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, Row, read_row, row_bytes
from bench.seals import sealed_json

EVERY_TYPE = (0.5, 3, True, "linf", "https://example.org/x", [], {})

Place = tuple[str | int, ...]


def leaves(content: Any, place: Place = ()) -> Iterator[Place]:
    """Every value of a JSON content that is no object and no list; empty ones are values too."""
    if isinstance(content, dict) and content:
        for name, inner in content.items():
            yield from leaves(inner, (*place, name))
    elif isinstance(content, list) and content:
        for number, inner in enumerate(content):
            yield from leaves(inner, (*place, number))
    else:
        yield place


def at(content: Any, place: Place) -> Any:
    """The value at a place."""
    for step in place:
        content = content[step]
    return content


def changes(content: Any) -> Iterator[tuple[Place, Any]]:
    """The content with another value at one place, for every place; where it is null, with values of every type."""
    for place in leaves(content):
        value = at(content, place)
        for other in EVERY_TYPE if value is None else (another(value),):
            changed = copy.deepcopy(content)
            at(changed, place[:-1])[place[-1]] = other
            yield place, changed


def another(value: Any) -> Any:
    """A value of the same type that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value + 0.01 if value < 0.5 else value - 0.01
    if isinstance(value, str):
        if set(value) <= set("0123456789abcdef") and len(value) == 64:
            return ("1" if value[0] != "1" else "2") + value[1:]
        return {"l2": "linf", "linf": "l2", "PASS": "INFO", "SKIPPED": "PASS", "INFO": "PASS"}.get(value, value + "x")
    return {"x": "y"} if isinstance(value, dict) else ["x"]


def loads(path: Path) -> Any:
    return json.loads(path.read_text())


def with_fields(path: Path, **changes: Any) -> None:
    """Change fields of a sealed JSON file, and seal it again."""
    content = loads(path) | changes
    content.pop("seal", None)
    path.write_bytes(sealed_json(content))


def reseal(path: Path, row: Row, files: Mapping[str, bytes] | None = None) -> Path:
    """Write a changed row so that hashes, names and digests of its files fit it again, beside the old one.

    Args:
        path: The old row.
        row: The changed one.
        files: New companions by their endings; the old ones where it is None.
    """
    old = read_row(path).stem
    given = {}
    for ending in (SCORES_SUFFIX, IMAGES_SUFFIX):
        beside = path.with_name(old + ending)
        if beside.exists():
            given[ending] = (files or {}).get(ending) or beside.read_bytes()
    update: dict[str, Any] = {
        "scores": row.scores.model_copy(
            update={"file": row.stem + SCORES_SUFFIX, "sha256": bytes_sha256(given[SCORES_SUFFIX])}
        )
    }
    if row.images is not None:
        digest = bytes_sha256(given[IMAGES_SUFFIX])
        update["images"] = row.images.model_copy(update={"file": row.stem + IMAGES_SUFFIX, "sha256": digest})
    row = row.model_copy(update=update).sealed()
    folder = path.parent
    for ending, content in given.items():
        (folder / f"{row.stem}{ending}").write_bytes(content)
    sealed = folder / f"{row.stem}.json"
    sealed.write_bytes(row_bytes(row))
    return sealed


def with_scores(row: Row, arrays: Mapping[str, np.ndarray]) -> tuple[Row, bytes]:
    """The row with the digests of other scores, and the file that holds them."""
    digests = {name: array_sha256(array) for name, array in sorted(arrays.items())}
    return row.model_copy(update={"scores": row.scores.model_copy(update={"digests": digests})}), pack(arrays)
