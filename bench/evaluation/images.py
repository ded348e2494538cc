"""The images of one cell: the sets of a track, cut to the limit in force."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.cards.threat import Norm
from bench.cards.track import TrackCard
from bench.datasets.base import ImageSet
from bench.datasets.track import Track
from bench.errors import DataError
from bench.evaluation.sets import unusable_sets

TEST = "test"
CALIBRATION = "calibration"
TRAIN = "train"

GALLERY = 8
"""How many attacked images of every set are kept where not all are."""


@dataclass(frozen=True)
class Images:
    """What a cell scores and attacks.

    Attributes:
        card: The track's card.
        test: ID test images.
        calibration: Held-out ID images, from which thresholds come and which an attacker may use. The track's own
            limit cuts them, never that of a run, so that thresholds and ceilings are those of a full run.
        ood: The OOD sets in the card's order.
    """

    card: TrackCard
    test: ImageSet
    calibration: ImageSet
    ood: dict[str, ImageSet]

    @classmethod
    def of(cls, track: Track, limit: int | None, card: TrackCard | None = None) -> "Images":
        """The sets of a track, at most `limit` images of each.

        Args:
            track: The track.
            limit: The most images of a set; None for all.
            card: The track's card with the OOD sets that are asked for; None for all of them.

        Raises:
            DataError: Files are missing, or their content is not what the card says; all such sets are named.
        """
        card = track.card if card is None else card
        found, problems = {}, {}
        for name in (TEST, CALIBRATION, *card.ood):
            try:
                found[name] = track.set(name)
            except DataError as error:
                problems[name] = error
        if problems:
            raise unusable_sets(card, problems)
        return cls(
            card=card,
            test=found[TEST].limited(limit),
            calibration=found[CALIBRATION].limited(track.card.default_limit),
            ood={name: found[name].limited(limit) for name in card.ood},
        )

    def sets(self) -> dict[str, ImageSet]:
        """Every set by name, in the order of a cell's samples."""
        return {TEST: self.test, CALIBRATION: self.calibration, **self.ood}

    def groups(self) -> dict[str, list[str]]:
        """The OOD sets of each group that the card names, in its order."""
        found: dict[str, list[str]] = {}
        for name in self.ood:
            if (group := self.card.ood[name].group) is not None:
                found.setdefault(group, []).append(name)
        return found

    def skipped(self) -> list[str]:
        """What was passed over or changed on reading, and what labels stand for: sentences after the set's name."""
        return [f"{name}: {said}" for name, images in self.sets().items() for said in (*images.notes, *images.skipped)]

    def distances(self, name: str, norm: Norm) -> NDArray[np.float64]:
        """(N,) distances of an OOD set's images to the nearest calibration image, computed once."""
        if (name, norm) not in self._distances:
            pool, ood = self.calibration.images.numpy(), self.ood[name].images.numpy()
            self._distances[name, norm] = metrics.nearest_distances(ood, pool, norm)
            for one in (self.calibration, self.ood[name]):
                one.was_read(one.images.nbytes)
        return self._distances[name, norm]

    def pool(self) -> Tensor:
        """(M, C, H, W) float32 ID images that an attacker may use."""
        return self.calibration.pixels()

    @cached_property
    def _distances(self) -> dict[tuple[str, Norm], NDArray[np.float64]]:
        return {}


def threshold_images(track: Track) -> ImageSet:
    """The training images from which thresholds come where a detector's card says so: all of them.

    Neither a run's limit nor the track's cuts them. They are scored once for a detector, and the papers that take
    thresholds from the training set take the whole of it: a percentile of a class's hundred images is one of them.

    Raises:
        DataError: As `Images.of`.
    """
    return track.set(TRAIN)
