"""A track: the sets of a card as images, each loaded when it is first asked for."""

import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.datasets.base import ImageSet, RawImages, TrainingData, content_digest, sample_ids
from bench.datasets.sources import load_source
from bench.errors import DataError, unknown_name
from bench.specs import SetSpec, TrackCard


def default_data_dir() -> Path:
    """The folder of data files: `ROBUSTOOD_DATA`, or `data` in the user's cache folder."""
    if given := os.environ.get("ROBUSTOOD_DATA"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("robustood")) / "data"


class WrongContentError(DataError):
    """Data whose digest is not the card's."""


class Track:
    """The sets of one track.

    Args:
        card: The track's card.
        data_dir: Where data files lie; `default_data_dir` where it is None. Embedded sets need none.
        workspace: A folder that is searched for the modules of a user's own sources.
    """

    def __init__(self, card: TrackCard, data_dir: Path | None = None, *, workspace: Path | None = None) -> None:
        self.card = card
        self.workspace = workspace
        self.data_dir = data_dir if data_dir is not None else default_data_dir()
        self._sets: dict[str, ImageSet] = {}

    def specs(self) -> dict[str, SetSpec]:
        """Every set by name: "train", "calibration", "test", the OOD sets, and "outliers-1", "outliers-2", ..."""
        card = self.card
        parts = {f"outliers-{k}": spec for k, spec in enumerate(card.outliers, start=1)}
        return {"train": card.train, "calibration": card.calibration, "test": card.test, **card.ood, **parts}

    def set(self, name: str) -> ImageSet:
        """One set, loaded once.

        Raises:
            UsageError: The track has no such set.
            DataError: Its files are missing or unreadable, their content is not what the card says, or the images do
                not have the track's shape.
        """
        if name not in self._sets:
            self._sets[name] = self._load(name, self._spec(name))
        return self._sets[name]

    def digest(self, name: str) -> str:
        """sha256 of one set's content: the card's where it accepts exactly one, else of what lies on disk.

        "outliers" stands for all parts of the training outliers together.
        """
        if name == "outliers":
            parts = [self.digest(f"outliers-{k + 1}") for k in range(len(self.card.outliers))]
            return hashlib.sha256(" ".join(parts).encode()).hexdigest()
        declared = self._spec(name).digests()
        return declared[0] if len(declared) == 1 else self.set(name).digest

    def outliers(self) -> ImageSet | None:
        """All training outliers, one part after the other; None where the track has none."""
        return self._outliers

    @cached_property
    def _outliers(self) -> ImageSet | None:
        if not self.card.outliers:
            return None
        parts = [self.set(f"outliers-{k + 1}") for k in range(len(self.card.outliers))]
        return ImageSet(
            name="outliers",
            images=torch.cat([part.images for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            ids=torch.cat([part.ids for part in parts]),
            digest=self.digest("outliers"),
            skipped=tuple(sentence for part in parts for sentence in part.skipped),
        )

    def training_data(self) -> TrainingData:
        """What recipes and `fit` may see; raises as `set` does."""
        return TrainingData(self.set("train"), self.set("calibration"), self.outliers(), self.card.classes)

    def _spec(self, name: str) -> SetSpec:
        specs = self.specs()
        if name not in specs:
            raise unknown_name("set", name, specs)
        return specs[name]

    def _load(self, name: str, spec: SetSpec) -> ImageSet:
        where = f"set '{name}' of track '{self.card.name}'"
        try:
            raw = load_source(spec.source, spec.args, self.data_dir, self.workspace)
        except DataError as error:
            raise type(error)(f"{where}: {error}") from error
        digest = content_digest(raw.images, raw.labels)
        if (accepted := spec.digests()) and digest not in accepted:
            raise WrongContentError(
                f"{where} has content {digest}, expected {' or '.join(accepted)}: replace its files "
                "(`bench data check` names them), or make a track card of your own that accepts this content."
            )
        keep = chosen(raw, spec)
        if len(keep) == 0:
            raise DataError(
                f"{where} is empty: its source has {len(raw.images)} images and the card takes none of them."
            )
        images = prepared(raw.images[keep], spec)
        if images.shape[1:] != self.card.shape:
            raise DataError(
                f"{where} has images of shape {images.shape[1:]}, the track's is {self.card.shape}: set crop, pad or "
                "grey, or the source's shape, in the card."
            )
        ids = sample_ids(name, len(raw.images))[torch.from_numpy(keep)]
        return ImageSet(
            name, torch.from_numpy(images), torch.from_numpy(raw.labels[keep]), ids, digest, raw.skipped
        )  # fmt: skip


def chosen(raw: RawImages, spec: SetSpec) -> np.ndarray:
    """Positions that a card takes: `start` to `stop` of what the source gave, then without the excluded labels."""
    positions = np.arange(len(raw.images))[spec.start : spec.stop]
    return positions[~np.isin(raw.labels[positions], spec.exclude_labels)]


def prepared(images: np.ndarray, spec: SetSpec) -> np.ndarray:
    """(N, H, W, C) bytes as a card wants them, (N, C, H, W): grey (ITU-R 601 luma), cropped to their centre, padded."""
    if spec.grey and images.shape[3] == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])
    if spec.crop is not None:
        top, left = (max(0, side - spec.crop) // 2 for side in images.shape[1:3])
        images = images[:, top : top + spec.crop, left : left + spec.crop]
    pad = spec.pad
    images = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
