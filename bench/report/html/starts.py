"""Clean images of a track, where its data are at hand."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import ImageSet
from bench.datasets.track import Track
from bench.errors import BenchError
from bench.evaluation.keys import Cards, track_hash
from bench.evaluation.results import CellMeta


class StartImages:
    """Clean images, set by set, loaded when they are first asked for.

    Args:
        cards: Where the tracks' cards are.
        data_dir: Where data files lie; None for the default.
        workspace: A folder that is searched for the modules of a user's own sources.

    Attributes:
        notices: One sentence for each track and set whose images are not at hand, or not those of the cells.
    """

    def __init__(self, cards: Cards, data_dir: Path | None, workspace: Path | None) -> None:
        self.notices: list[str] = []
        self._cards, self._data_dir, self._workspace = cards, data_dir, workspace
        self._tracks: dict[str, Track | None] = {}
        self._sets: dict[tuple[str, str], ImageSet | None] = {}

    def of(self, meta: CellMeta, name: str, positions: list[int], ids: list[int]) -> "list[NDArray[np.float32] | None]":
        """(C, H, W) images of one set, or None for each that is not at hand.

        Args:
            meta: The cell whose images they are.
            name: The set.
            positions: In the whole set.
            ids: Stable ids, which must be those of the images at these positions.
        """
        found = self._set(meta, name)
        if found is None:
            return [None] * len(positions)
        pixels = found.pixels()
        return [
            pixels[at].numpy() if 0 <= at < len(found) and int(found.ids[at]) == sample else None
            for at, sample in zip(positions, ids, strict=True)
        ]

    def _set(self, meta: CellMeta, name: str) -> ImageSet | None:
        place = (meta.track_hash, name)
        if place not in self._sets:
            self._sets[place] = self._loaded(meta, name)
        return self._sets[place]

    def _loaded(self, meta: CellMeta, name: str) -> ImageSet | None:
        track = self._track(meta)
        if track is None:
            return None
        try:
            if meta.set_digests.get(name) != track.digest(name):
                self.notices.append(f"{meta.track}: the images of {name} are not those of the cells any more.")
                return None
            return track.set(name)
        except BenchError as error:
            self.notices.append(f"{meta.track}: {error}")
            return None

    def _track(self, meta: CellMeta) -> Track | None:
        if meta.track_hash not in self._tracks:
            self._tracks[meta.track_hash] = None
            try:
                card = self._cards.track(meta.track)
                if track_hash(card) == meta.track_hash:
                    self._tracks[meta.track_hash] = Track(card, self._data_dir, workspace=self._workspace)
                else:
                    self.notices.append(f"{meta.track}: the track's card has changed since the cells were computed.")
            except BenchError as error:
                self.notices.append(f"{meta.track}: {error}")
        return self._tracks[meta.track_hash]
