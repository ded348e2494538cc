"""A track: the sets of a card as images, each loaded when it is first asked for."""

import hashlib
from functools import cached_property
from pathlib import Path

import torch

from bench.cards.track import FormSpec, SetSpec, TrackCard
from bench.datasets.base import ImageSet, TrainingData, sample_ids
from bench.datasets.decoding import decoded, said_of
from bench.datasets.forms import declared_digest, default_data_dir, form_at_hand, form_name
from bench.datasets.labels import label_notes
from bench.datasets.sources import reads_files
from bench.datasets.sources._files import missing
from bench.datasets.sources._passed import named
from bench.datasets.sources.folder import class_names
from bench.errors import DataError, unknown_name

IN_DISTRIBUTION = ("train", "calibration", "test")
"""The sets whose labels are the track's classes."""


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
        self._data_dir = data_dir
        self._sets: dict[str, ImageSet] = {}

    @property
    def data_dir(self) -> Path:
        """Where data files lie.

        Raises:
            DataError: No folder is given and none is known.
        """
        return self._data_dir if self._data_dir is not None else default_data_dir()

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
        """sha256 of one set's content: the card's where the form at hand has exactly one, else of what lies on disk.

        Where none of several forms is present, it is the only one that the card names, if there is one.

        "outliers" stands for all parts of the training outliers together.
        """
        if name == "outliers":
            parts = [self.digest(f"outliers-{k + 1}") for k in range(len(self.card.outliers))]
            return hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return declared_digest(self._spec(name), self._data_dir) or self.set(name).digest

    def form(self, name: str) -> FormSpec:
        """The form in which one set lies on disk: the first of those that its card accepts that is present.

        Raises:
            UsageError: The track has no such set.
            DataError: None of several forms is present.
        """
        spec = self._spec(name)
        found = form_at_hand(spec, self._data_dir)
        if found is None:
            raise missing(" or ".join(map(form_name, spec.forms)), self.data_dir)
        return found

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
            notes=tuple(sentence for part in parts for sentence in part.notes),
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
        with said_of(where):
            form = self.form(name)
            folder = self.data_dir if reads_files(form.source) else Path()
        found = decoded(
            spec,
            form,
            folder,
            self.workspace,
            shape=self.card.shape,
            where=where,
            agree=lambda names: self._agree_on_classes(name, names),
        )
        notes = list(found.notes)
        if name in IN_DISTRIBUTION:
            notes += label_notes(found.labels, self.card.classes, where)
        return ImageSet(
            name=name,
            images=torch.from_numpy(found.images),
            labels=torch.from_numpy(found.labels),
            ids=sample_ids(name, found.count)[torch.from_numpy(found.positions)],
            digest=found.digest,
            skipped=found.skipped,
            notes=tuple(notes),
            available=found.available,
            form=form_name(form) if spec.also else "",
            pages=found.pages,
        )

    def _agree_on_classes(self, name: str, names: tuple[str, ...]) -> None:
        """Class folders of ID sets must be as many as the track's classes, and the same in every set.

        Raises:
            DataError: They are not: a label would mean one class here and another one there.
        """
        if name not in IN_DISTRIBUTION or not names:
            return
        if len(names) != self.card.classes:
            raise DataError(
                f"there are {len(names):,} class folders ({named(list(names))}) and the track has {self.card.classes} "
                "classes: correct one of the two, name them by `classes` in args, or give args `labels: none`."
            )
        for other in IN_DISTRIBUTION:
            there = _folder_classes(form_at_hand(self.specs()[other], self.data_dir), self.data_dir)
            if there and there != names:
                raise DataError(
                    f"its class folders are {named(list(names))}, those of '{other}' are {named(list(there))}: labels "
                    "would mean different classes; name the folders alike, or give both the same `classes` in args."
                )


def _folder_classes(form: FormSpec | None, data_dir: Path) -> tuple[str, ...]:
    """The class folders of a set, () where there are none or nothing can be read."""
    if form is None or not form.source.startswith("folder:"):
        return ()
    try:
        return class_names({**form.args, "path": form.source.removeprefix("folder:")}, data_dir)
    except (DataError, OSError):
        return ()  # that set says it itself
