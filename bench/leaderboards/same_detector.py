"""Whether a detector is the one of a baseline: by what it computes, since card and weights do not hold its code.

The scores of images that nobody attacked tell: those of the clean cell, or of the side that a threat leaves as it is.
Without a clean cell, cards and weights have to be the same too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.cards.threat import Side
from bench.evaluation.plan import CLEAN
from bench.leaderboards.baseline import BaselineCell, Identity, Provenance
from bench.metrics import iqr
from bench.soundness.view import TEST

MOVED = 1e-3
"""Scores that differ by less than this share of the IQR of clean ID scores are those of the same detector."""

Pair = tuple[BaselineCell, BaselineCell | None]


@dataclass(frozen=True)
class Computed:
    """What detectors computed on images that nobody attacked, before and now.

    Attributes:
        same: (track, detector, limit) -> whether the clean scores are the same; only where both can be compared.
    """

    same: dict[tuple[str, str, int | None], bool]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "Computed":
        """From the clean cells among a baseline's cells and those that stand beside them."""
        found = {}
        for before, now in pairs:
            if now is None or before.identity.threat != CLEAN:
                continue
            if (alike := _alike(before, now, sets=list(before.samples))) is not None:
                found[_place(before.identity)] = alike
        return cls(found)

    def the_same(self, before: BaselineCell, now: BaselineCell) -> bool:
        """Whether one detector made both cells: by clean cells; else by the side left alone, and cards and weights."""
        if (known := self.same.get(_place(before.identity))) is not None:
            return known
        untouched = {Side.EVADE: [TEST], Side.ALARM: [name for name in before.samples if name != TEST]}
        alike = _alike(before, now, sets=untouched.get(before.identity.side, []))
        return alike is not False and _same_files(before.provenance, now.provenance)


def _place(identity: Identity) -> tuple[str, str, int | None]:
    return identity.track, identity.detector, identity.limit


def _alike(before: BaselineCell, now: BaselineCell, *, sets: list[str]) -> bool | None:
    """Whether these sets have the same scores; None where there is none, or the images are others."""
    ids = [(name, before.samples[name].ids_sha256) for name in sets]
    if not ids or any(name not in now.samples or now.samples[name].ids_sha256 != digest for name, digest in ids):
        return None
    if any(before.provenance.set_digests.get(name) != now.provenance.set_digests.get(name) for name in sets):
        return None
    old, new = before.scores(), now.scores()
    scale = iqr(old[TEST]) if TEST in sets else max(iqr(old[name]) for name in sets)
    return all(_furthest(old[name], new[name]) <= MOVED * max(scale, float(np.finfo(np.float32).tiny)) for name in sets)


def _furthest(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def _same_files(old: Provenance, new: Provenance) -> bool:
    return (old.detector_hash, old.weights_sha256) == (new.detector_hash, new.weights_sha256)
