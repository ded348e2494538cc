"""The level `re-scored`: the weights give a row's scores on the track's images, and on the kept attacked ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cards.catalog import Catalog
from bench.cards.threat import Norm
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.evaluation.fits import fit_or_recall
from bench.evaluation.images import TEST, Images
from bench.evaluation.keys import weights_hashes
from bench.evaluation.scoring import Draws, device_of, predict_classes, score_images
from bench.leaderboards import arrays as names
from bench.leaderboards.checks import Findings
from bench.leaderboards.claims import in_ball
from bench.leaderboards.companions import Files
from bench.leaderboards.row import Entry, Row
from bench.metrics import iqr
from bench.metrics.scores import Scores
from bench.threat_models.geometry import ORDERS

SAME = 1e-3
"""Scores of one image agree within this share of the IQR of clean ID scores: other machines round otherwise."""

LOOSE = 1e-2
"""The same for a detector that declares that roundings show in its score."""

ACCURACY_ROUNDING = 2e-3
"""An image on the border of two classes may fall to either side on another machine."""


def check_rescored(
    row: Row,
    files: Files,
    catalog: Catalog,
    *,
    device: str = "cpu",
    data_dir: Path | None = None,
    scorer: "Scorer | None" = None,
) -> Findings:
    """What the weights say of a row's scores.

    Args:
        row: A row whose claims hold.
        files: What lies beside it.
        catalog: Where weights are found.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        scorer: The row's detector and images, where they are loaded already.

    Raises:
        BenchError: Weights or data are missing, or the detector cannot be loaded.
    """
    scorer = scorer if scorer is not None else Scorer.load(row, catalog, device=device, data_dir=data_dir)
    found = Findings()
    found.judge("the weights here are the row's", _weights_problems(row, catalog))
    found.judge("images and ID accuracy are the row's", _image_problems(row, files, scorer))
    if found.problems:
        return found
    found.judge("the weights give its clean scores", _clean_problems(files, scorer), f"{len(scorer.ids):,} images")
    what = "the weights give the scores of its kept attacked images"
    if row.images is None:
        found.skip(what, "no attacked images lie beside the row")
        found.remarks.append("no attacked images lie beside the row; only the clean scores were computed again.")
    elif not found.problems:
        every = [
            problem for number in range(len(row.entries)) for problem in _attacked_problems(row, files, number, scorer)
        ]
        found.judge(what, every, f"{row.images.count} images of each worst case, which the submitter's run has kept")
    return found


class Scorer:
    """A row's detector and images on a device.

    Args:
        row: The row.
        detector: As its card describes it.
        images: The track's sets at the row's limit, of which the OOD sets are put into the row's order.
    """

    def __init__(self, row: Row, detector: Detector, images: Images) -> None:
        self.row = row
        self.detector = detector
        ood = {name: images.ood[name] for name in row.scores.sets if name != TEST}
        self.images = images = replace(images, ood=ood)
        self.ids = np.concatenate([part.ids.numpy() for part in (images.test, *images.ood.values())])
        self.base = torch.cat([part.pixels() for part in images.ood.values()]).numpy()

    @classmethod
    def load(cls, row: Row, catalog: Catalog, *, device: str, data_dir: Path | None) -> "Scorer":
        """Weights and data from where they lie.

        Raises:
            BenchError: They are missing, or the detector cannot be loaded.
        """
        card = catalog.track(row.track.name)
        spec = catalog.detector_spec(row.detector.name, card.name)
        track = Track(card, data_dir, workspace=catalog.workspace)
        detector = load_detector(spec, card, catalog, device)
        if spec.fit_when_loaded:
            fit_or_recall(detector, spec, track, catalog)
        return cls(row, detector, Images.of(track, row.track.limit, card.of_rows()))

    def id_accuracy(self) -> float | None:
        """Of the classifier inside on the ID test images; None without one."""
        test = self.images.test
        pixels = test.pixels().to(device_of(self.detector))
        predicted = predict_classes(self.detector, pixels, self.row.micro_batch)
        labels = test.labels.numpy()
        known = labels >= 0
        return float(np.mean(predicted[known] == labels[known])) if known.any() and (predicted >= 0).any() else None

    @property
    def tolerance(self) -> float:
        """How far scores of one image may differ, in IQRs."""
        return LOOSE if self.detector.info.jumps or self.detector.info.roundings else SAME

    def clean(self) -> Scores:
        """(n + m,) scores of the ID test images, then of every OOD set."""
        sets = {TEST: self.images.test, **self.images.ood}
        parts = [self._score(part.pixels(), Draws(part.ids)) for part in sets.values()]
        return np.concatenate(parts)

    def attacked(self, images: NDArray[np.float32], rows: NDArray[np.int64], entry: Entry) -> Scores:
        """(k,) scores of images that belong to these OOD images, by the draws of an entry of the row."""
        ids = torch.from_numpy(self.ids[len(self.images.test) :][rows])
        return self._score(torch.from_numpy(images), Draws(ids, self.row.seed, round=3 if entry.members else 2))

    def outside(
        self, images: NDArray[np.float32], rows: NDArray[np.int64], norm: Norm, eps: float
    ) -> NDArray[np.bool_]:
        """(k,) whether an image lies outside the ball around its OOD image, or outside the box."""
        moved = (images.astype(np.float64) - self.base[rows]).reshape(len(images), -1)
        norms = np.linalg.norm(moved, ord=ORDERS[norm], axis=1)
        boxed = ((images >= 0) & (images <= 1)).reshape(len(images), -1).all(axis=1)
        return np.asarray(~in_ball(norms, eps) | ~boxed)

    def _score(self, pixels: torch.Tensor, draws: Draws) -> Scores:
        return score_images(self.detector, pixels.to(device_of(self.detector)), self.row.micro_batch, draws)


def _weights_problems(row: Row, catalog: Catalog) -> Iterator[str]:
    spec = catalog.detector_spec(row.detector.name, row.track.name)
    if weights_hashes(spec, catalog) != tuple(part.sha256 for part in row.detector.weights):
        yield "the weights here are other ones than the row's."


def _image_problems(row: Row, files: Files, scorer: Scorer) -> Iterator[str]:
    if not np.array_equal(scorer.ids, files.table.arrays[names.IDS]):
        yield "its scores are of other images than the track has here."
        return
    here = {name: part.digest for name, part in scorer.images.sets().items()}
    if {name: digest for name, digest in row.track.set_digests.items() if name in here} != here:
        yield "the content of the track's sets here is not that of the row."
    if _differ(row.id_accuracy, accuracy := scorer.id_accuracy()):
        yield f"id_accuracy is given as {row.id_accuracy}, and the weights make it {accuracy}."


def _clean_problems(files: Files, scorer: Scorer) -> Iterator[str]:
    spread = iqr(files.table.test) or 1.0
    off = np.abs(scorer.clean() - files.table.arrays[names.CLEAN]) / spread
    if (wrong := int(np.sum(~(off <= scorer.tolerance)))) > 0:
        yield (
            f"the weights give other scores for {wrong} of {len(off)} clean images (by up to {float(off.max()):.2g} "
            f"IQR, allowed is {scorer.tolerance:g})."
        )


def _differ(given: float | None, found: float | None) -> bool:
    if given is None or found is None:
        return given is not found
    return abs(given - found) > ACCURACY_ROUNDING


def _attacked_problems(row: Row, files: Files, number: int, scorer: Scorer) -> Iterator[str]:
    entry = row.entries[number]
    rows, images = files.images[names.rows_name(number)], files.images[names.images_name(number)]
    where = f"{entry.threat} at {entry.norm} {entry.eps:g}"
    if (outside := int(scorer.outside(images, rows, entry.norm, entry.eps).sum())) > 0:
        yield f"{where}: {outside} of {len(rows)} kept images lie outside the ball or the box."
    spread = iqr(files.table.test) or 1.0
    off = np.abs(scorer.attacked(images, rows, entry) - files.table.arrays[names.worst_name(number)][rows]) / spread
    if (wrong := int(np.sum(~(off <= scorer.tolerance)))) > 0:
        yield (
            f"{where}: the weights give other scores for {wrong} of {len(rows)} kept images (by up to "
            f"{float(off.max()):.2g} IQR, allowed is {scorer.tolerance:g})."
        )
