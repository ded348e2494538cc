"""The largest radius that tells detectors apart: found once for the images of a track, and kept beside the cells."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.cards.base import content_hash
from bench.cards.threat import Norm
from bench.cards.track import TrackCard
from bench.evaluation.notes import Notes
from bench.files import put_file, read_file
from bench.lazy import lazily
from bench.report.captions import REACHABLE_LIMIT, needs_radii
from bench.report.table import Table
from bench.seals import SealError, sealed_json, unsealed_json

with lazily():
    import numpy as np

    from bench import metrics
    from bench.datasets import track
    from bench.evaluation import images as compared
    from bench.evaluation import sets

_FILES = ("radii.json", ".robustood-radii.json")
"""Where radii are kept; the second name where the user has a file of their own under the first."""

_MAX_BYTES = 2**20


def radii_for(
    table: Table, card: TrackCard, *, root: Path, data_dir: Path | None, workspace: Path | None = None
) -> dict[Norm, float]:
    """The radii for the norms in which one of the table is too large: those that are kept, or found now and kept.

    Args:
        table: The table.
        card: The card of its track.
        root: The folder of the cells.
        data_dir: Where data files lie; None for the default.
        workspace: A folder that is searched for the modules of a user's own sources.
    """
    needed = needs_radii(table)
    known = stored_radii(root, table)
    if needed <= set(known):
        return known
    absent = sorted(needed - set(known))
    found = known | {norm: _find(table, card, norm, data_dir, workspace) for norm in absent}
    keep_radii(root, table, found)
    return found


def _find(table: Table, card: TrackCard, norm: Norm, data_dir: Path | None, workspace: Path | None) -> float:
    """The largest radius at which at most 5 % of the OOD images are reachable; 0 where some are copies of ID images."""
    chosen = sets.SetChoice(without=table.without).of(card)
    images = compared.Images.of(track.Track(card, data_dir, workspace=workspace), table.limit, chosen)
    names = [column.name for column in table.columns if column.counts] or list(images.ood)
    distances = np.concatenate([images.distances(name, norm) for name in names])
    return metrics.radii_for_reach(distances, [REACHABLE_LIMIT])[0]


def stored_radii(root: Path, table: Table) -> dict[Norm, float]:
    """The radii that `keep_radii` kept for the images of this table; empty where there are none."""
    found = _read(_place(root)).get(_images_key(table), {})
    return {Norm(norm): float(radius) for norm, radius in found.items()}


def keep_radii(root: Path, table: Table, radii: Mapping[Norm, float]) -> None:
    """Keep radii for the images of this table; where the folder is gone or cannot be written they are only not kept."""
    if not root.is_dir():
        return
    path = _place(root)
    content = _read(path) | {_images_key(table): {str(norm): radius for norm, radius in radii.items()}}
    with suppress(OSError):
        put_file(path, sealed_json(content), through_links=False)


def _images_key(table: Table) -> str:
    """The images that are compared: where they are the same, so are the distances between them."""
    meta = table.metas[0]
    counted = sorted(column.name for column in table.columns if column.counts)
    return content_hash([meta.track_hash, meta.set_digests, table.limit, counted])


def _place(root: Path) -> Path:
    """The file for a folder's radii: one that this program sealed, or that is not there yet."""
    first, second = (root / name for name in _FILES)
    return first if _sealed(first) is not None or not os.path.lexists(first) else second


def _read(path: Path) -> dict[str, Any]:
    """The content of the file; what cannot be used counts as absent, since it can be found again."""
    return {key: norms for key, norms in (_sealed(path) or {}).items() if _usable(norms)}


def _sealed(path: Path) -> dict[str, Any] | None:
    """What this program wrote, as it was written; None for anything else."""
    try:
        return unsealed_json(read_file(path, _MAX_BYTES))
    except (OSError, SealError):
        return None


def _usable(norms: object) -> bool:
    return isinstance(norms, dict) and all(
        norm in set(Norm) and isinstance(radius, int | float) and math.isfinite(radius)
        for norm, radius in norms.items()
    )


def _joined(older: bytes, newer: bytes) -> bytes:
    """The radii of two files in one; raises ValueError where one of them cannot be used."""
    both = {key: norms for text in (older, newer) for key, norms in unsealed_json(text).items() if _usable(norms)}
    return sealed_json(dict(sorted(both.items()))) if both else older


def _files(root: Path) -> dict[str, Path]:
    return {"radii": path} if (path := _place(root)).exists() else {}


NOTES = Notes("radii", _files, lambda root, id_: _place(root), _joined)
"""How radii travel to a store at a URL and back."""
