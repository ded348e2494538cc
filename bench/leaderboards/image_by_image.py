"""Where two rows differ, image by image: of every attacked image the share of ID images that score above it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.leaderboards import arrays as names
from bench.leaderboards.ranking import Standing
from bench.report.html.gallery import image_uri

_MOST = 200_000
"""Figures that one page holds; rows beyond have none."""

_LETTERS = 2 * 2**20
"""Letters of all pictures of a page."""


def image_data(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """For each row the sets, ids and shares (in thousandths) of its images in the worst case, and pictures of some.

    The mean of the shares of a set is its AUROC, up to ties.

    Args:
        standings: The rows.
    """
    found: list[dict[str, Any]] = []
    count = letters = 0
    for own in standings:
        table, entry = own.files.table, own.row.entries.index(own.row.worst_entry)
        counting = [name for name in table.sets if name in table.counting]
        scores, ids = table.by_set(table.arrays[names.worst_name(entry)]), table.ids_by_set()
        count += sum(len(scores[name]) for name in counting)
        if count > _MOST:
            found.append({"sets": {}, "pictures": {}})
            continue
        test = np.sort(table.test)
        sets = {name: {"ids": ids[name].tolist(), "shares": _shares(test, scores[name])} for name in counting}
        pictures = _pictures(own, entry, _LETTERS - letters)
        letters += sum(map(len, pictures.values()))
        found.append({"sets": sets, "pictures": pictures})
    return found


def _shares(test: "np.ndarray", scores: "np.ndarray") -> list[int]:
    """Thousandths of the ID images that score above each image; half of those that tie."""
    above = len(test) - (np.searchsorted(test, scores, "left") + np.searchsorted(test, scores, "right")) / 2
    return [int(share) for share in np.rint(1000 * above / len(test))]


def _pictures(own: Standing, entry: int, letters: int) -> dict[str, str]:
    """Kept images of the worst case by set and id, as long as they fit."""
    files = own.found.files
    if files is None:
        return {}
    rows, images = files.images.get(names.rows_name(entry)), files.images.get(names.images_name(entry))
    if rows is None or images is None or images.ndim != 4 or images.shape[1] not in (1, 3):
        return {}
    keys = [f"{name} {number}" for name, ids in files.table.ids_by_set().items() if name != "test" for number in ids]
    found: dict[str, str] = {}
    for at, image in zip(rows.tolist(), images, strict=False):
        uri = image_uri(image)
        letters -= len(uri)
        if letters < 0:
            break
        if 0 <= at < len(keys):
            found[keys[at]] = uri
    return found
