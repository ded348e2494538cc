"""The copy with which a cell's attack searches, made once for all cells of a detector."""

import torch

from bench.detectors.base import Detector
from bench.detectors.searching import Copy, NoCopy, search_copy
from bench.evaluation.images import Images
from bench.evaluation.pieces import batch_of_a_search
from bench.evaluation.planned import PlannedCell
from bench.evaluation.scoring import device_of


class Copies:
    """The last copy that was asked for: a device's memory may hold no more."""

    def __init__(self) -> None:
        self._made: tuple[object, Detector, Copy | NoCopy] | None = None

    def clear(self) -> None:
        """Let go of it."""
        self._made = None

    def taken(self, planned: PlannedCell, detector: Detector, images: Images) -> Copy | None:
        """What the first half of a cell's steps may ask; None for the detector itself."""
        found = self._of(planned, detector, images)
        return found if isinstance(found, Copy) else None

    def notes(self, planned: PlannedCell, detector: Detector, images: Images) -> tuple[str, ...]:
        """What a cell says of it; nothing where no copy was asked for."""
        found = self._of(planned, detector, images)
        return () if found is None else (found.said,)

    def _of(self, planned: PlannedCell, detector: Detector, images: Images) -> Copy | NoCopy | None:
        """With what the first half of the steps is searched, or why with nothing; None where it was not asked for."""
        search_precision, device = planned.ingredients.search_precision, device_of(detector)
        if search_precision is None:
            return None
        size = batch_of_a_search(planned.track.shape, planned.ingredients.micro_batch, device)
        asked = search_precision, size, planned.track.name
        if self._made is None or self._made[0] != asked or self._made[1] is not detector:
            few = images.calibration.pixels(slice(0, size))
            batch = torch.cat([few, few[-1:].expand(size - len(few), -1, -1, -1)])
            self._made = asked, detector, search_copy(detector, batch.to(device), search_precision)
        return self._made[2]
