"""What cells share while they are computed: loaded tracks, the detector at hand, clean cells."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import import_method
from bench.cards.detector import ThresholdSource
from bench.cards.threat import Goal, Knowledge, Loss, Side, ThreatCard
from bench.datasets.base import ImageSet
from bench.datasets.track import Track
from bench.detectors.base import Detector, silent
from bench.detectors.boundary import Bounded
from bench.detectors.loading import load_detector
from bench.detectors.networks.passes import Passes
from bench.errors import BenchError, CardError, CellError, DataError, NotApplicableError, mishap
from bench.evaluation.cell import attacked_cell, attacked_share, between_cell, clean_cell
from bench.evaluation.copies import Copies
from bench.evaluation.fits import fit_or_recall
from bench.evaluation.fooling import fooled_cell
from bench.evaluation.images import Images, threshold_images
from bench.evaluation.keys import code_hash
from bench.evaluation.parts import Parts, name_of
from bench.evaluation.pieces import Share
from bench.evaluation.planned import Part, PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.scoring import device_of
from bench.evaluation.spending import cheaper_forms
from bench.evaluation.stage import Stage, Watcher
from bench.evaluation.store import CellStore, StoreError
from bench.evaluation.worst import worst_cell
from bench.threat_models.base import Context, Threat
from bench.threat_models.wanted import THREAT


@dataclass(frozen=True)
class Given:
    """Detectors, threats and tracks that were given as objects, by the names of their cells."""

    detectors: Mapping[str, Detector] = field(default_factory=dict)
    threats: Mapping[str, Threat] = field(default_factory=dict)
    tracks: Mapping[str, Track] = field(default_factory=dict)


_COMPUTE = {Side.FOOL: fooled_cell, Side.BETWEEN: between_cell}
"""How the sides that do not attack the score are computed."""

_TRIED = 8
"""Images of a set at which a gradient is looked for that made-up images do not have."""

_SOURCES_SHARE = 0.9
"""Of a transfer attack, about the part that crafting on the other detectors takes."""


class Workbench:
    """Computes cells one by one; what one loads, the next one uses.

    Args:
        catalog: Where cards, weights and modules are found.
        store: Where clean cells are found and kept.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        given: Objects that take the place of what would be loaded.
        fitting: Hears of fits, as (cell, steps done, steps in all, what they are).

    Attributes:
        failed: Cells, by their keys, that were tried elsewhere and why they failed: none that needs one tries it again.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: CellStore,
        *,
        device: str = "cpu",
        data_dir: Path | None = None,
        given: Given | None = None,
        fitting: Callable[[PlannedCell, int, int, str], None] | None = None,
    ) -> None:
        self._fitting = fitting
        self._catalog = catalog
        self._store = store
        self._device = device
        self._data_dir = data_dir
        self._given = given or Given()
        self._tracks = dict(self._given.tracks)
        self._images: dict[tuple[str, int | None, tuple[str, ...]], Images | DataError] = {}
        self._loaded: tuple[str, Detector] | None = None  # one at a time: a device's memory may hold no more
        self._clean: dict[str, Cell | BenchError] = {}
        self._passes = Passes()
        self._copies = Copies()
        self.failed: dict[str, BenchError] = {}

    def compute(self, planned: PlannedCell, watch: Watcher, shares: Sequence[Share] = ()) -> Cell:
        """Compute one cell, and the clean cell that it needs, and store both.

        Args:
            planned: The cell.
            watch: Hears of the progress.
            shares: All shares of the attacked images, in order, where `share` has computed them.

        Raises:
            StoreError: Nothing can be stored.
            BenchError: In one sentence, why it cannot be computed.
        """
        if planned.refused is not None:
            raise planned.refused
        if planned.clean is None:
            return self._clean_cell(planned)
        clean = self._clean_cell(planned.clean)
        if planned.threat.members:
            return self._worst(planned, clean, watch)
        planned, parts = self._sources(planned, watch)
        if parts.failed and (known := self._store.get(planned.key)) is not None:
            return known
        stage, threat = self._attack(planned, parts, clean, watch)
        side = planned.ingredients.side
        other = _COMPUTE.get(side)
        cheaper = self._cheaper(planned)
        cell = attacked_cell(stage, threat, shares, cheaper) if other is None else other(stage, threat)
        self._check_gradients_spent(planned, stage.detector, cell)
        goal, loss = planned.ingredients.goal or Goal.MISCLASSIFY, planned.ingredients.loss or Loss.MARGIN
        asked = Context(side, goal=goal, loss=loss)
        missed = threat.leaves_out(stage.detector.info, asked)
        notes = (*cell.meta.notes, *parts.notes, *self._copies.notes(planned, stage.detector, stage.images))
        found: dict[str, Any] = {
            "notes": notes,
            "search": str(planned.ingredients.search_precision or ""),
            "leaves_out": missed,
        }
        found |= parts.absent(planned)
        found["asked_twice"] = clean.meta.asked_twice
        return self._store.put(replace(cell, meta=cell.meta.model_copy(update=found)))

    def share(self, planned: PlannedCell, part: Part, watch: Watcher, audited: Sequence[Share] = ()) -> Share:
        """Attack some of the images of a cell that `can_be_shared`; nothing but cells that it needs is stored.

        Args:
            planned: The cell.
            part: Which of its images.
            watch: Hears of the progress.
            audited: All shares of the cell's audit, in order, where the part is one of the other images.

        Raises:
            StoreError: Nothing can be stored.
            BenchError: In one sentence, why it cannot be computed.
        """
        assert planned.clean is not None
        clean = self._clean_cell(planned.clean)
        planned, parts = self._sources(planned, watch)
        return attacked_share(*self._attack(planned, parts, clean, watch), part, audited, self._cheaper(planned))

    def _sources(self, planned: PlannedCell, watch: Watcher) -> tuple[PlannedCell, Parts]:
        """The cells that an attack is made from, and the cell as it is made from those there are."""
        parts = self._needed(planned, lambda share, auroc: watch(share * _SOURCES_SHARE, None))
        return planned.made_from(parts.keys), parts

    def _attack(self, planned: PlannedCell, parts: Parts, clean: Cell, watch: Watcher) -> tuple[Stage, Threat]:
        threat = self._threat(planned.threat, planned)
        stage = self._stage(planned, clean, watch)
        search = self._copies.taken(planned, stage.detector, stage.images)
        stage = replace(stage.made_from(parts.cells), search=search)
        self._check_gradient(planned, stage.detector)
        return stage, threat

    def load_images(self, planned: PlannedCell) -> None:
        """Load the images of a cell, which further cells then use.

        Raises:
            DataError: Some are missing or cannot be used.
        """
        self._sets(planned)

    def images(self, planned: PlannedCell) -> Images:
        """The images of a cell.

        Raises:
            DataError: Some are missing or cannot be used.
        """
        return self._sets(planned)

    def track(self, planned: PlannedCell) -> Track:
        """The track of a cell."""
        return self._track(planned)

    def stage(self, planned: PlannedCell) -> Stage:
        """What the cell of an attack begins with, for further runs beside it.

        Raises:
            BenchError: In one sentence, why the clean cell cannot be computed.
        """
        assert planned.clean is not None
        return self._stage(planned, self._clean_cell(planned.clean), lambda share, auroc: None)

    def threat(self, planned: PlannedCell) -> Threat:
        """The cell's attacker with the parameters in force.

        Raises:
            BenchError: In one sentence, why it cannot be made.
        """
        return self._threat(planned.threat, planned)

    def _stage(self, planned: PlannedCell, clean: Cell, watch: Watcher) -> Stage:
        return Stage(planned, self._detector(planned), self._sets(planned), clean, watch)

    def _worst(self, planned: PlannedCell, clean: Cell, watch: Watcher) -> Cell:
        parts = self._needed(planned, watch)
        planned = planned.made_from(parts.keys)
        if parts.failed and (known := self._store.get(planned.key)) is not None:
            return known
        members = {cell.meta.threat: cell for cell in parts.cells}
        cell = worst_cell(self._stage(planned, clean, watch), members, parts.notes)
        found = {"asked_twice": clean.meta.asked_twice, **parts.absent(planned)}
        return self._store.put(replace(cell, meta=cell.meta.model_copy(update=found)))

    def _needed(self, planned: PlannedCell, watch: Watcher) -> Parts:
        """The cells that a cell is made from, and why some of them cannot be had.

        Raises:
            NotApplicableError: None of them can be run on the detector.
            CellError: None of them can be had.
        """
        parts = Parts.of(planned)
        for number, need in enumerate(planned.needs):
            done = number / len(planned.needs), 1 / len(planned.needs)

            def hear(share: float, auroc: float | None, done: tuple[float, float] = done) -> None:
                watch(done[0] + done[1] * share, auroc)

            name = name_of(planned, need)
            try:
                parts.add(name, self._needed_cell(need, hear))
            except StoreError:
                raise
            except NotApplicableError as error:
                parts.leave_out(name, need, error)
            except BenchError as error:
                parts.fail(name, error)
            except (Exception, SystemExit) as error:  # one attack's own mistake: the others go on
                if os.environ.get("BENCH_DEBUG") and not isinstance(error, MemoryError):
                    raise
                parts.fail(name, mishap(error))
        parts.check(planned)
        return parts

    def _needed_cell(self, planned: PlannedCell, watch: Watcher) -> Cell:
        if (known := self._store.get(planned.key)) is not None:
            return known
        if planned.key in self.failed:
            raise self.failed[planned.key]
        return self.compute(planned, watch)

    def _clean_cell(self, planned: PlannedCell) -> Cell:
        known = self._clean.get(planned.key) or self._store.get(planned.key)
        if known is None:
            try:
                detector = self._detector(planned)
                with self._shared(planned, detector):
                    known = clean_cell(planned, detector, self._sets(planned), self._train(planned))
                known = self._store.put(known)
            except StoreError:
                raise
            except BenchError as error:
                known = error  # every cell of the detector fails for the same reason: it is found out once
        self._clean[planned.key] = known
        if isinstance(known, BenchError):
            raise known
        return known

    def _sets(self, planned: PlannedCell) -> Images:
        limit = planned.ingredients.limit
        place = (planned.track.name, limit, tuple(planned.track.ood))
        if place not in self._images:
            try:
                self._images[place] = Images.of(self._track(planned), limit, planned.track)
            except DataError as error:
                self._images[place] = error  # found out once for all cells
        found = self._images[place]
        if isinstance(found, DataError):
            raise found
        return found

    def _train(self, planned: PlannedCell) -> ImageSet | None:
        if planned.detector.thresholds.source is not ThresholdSource.TRAIN:
            return None
        return threshold_images(self._track(planned))

    def _track(self, planned: PlannedCell) -> Track:
        name = planned.track.name
        if name not in self._tracks:
            self._tracks[name] = Track(planned.track, self._data_dir, workspace=self._catalog.workspace)
        return self._tracks[name]

    def _detector(self, planned: PlannedCell) -> Detector:
        if planned.detector.name in self._given.detectors:
            return self._given.detectors[planned.detector.name]
        token = planned.ingredients.detector_hash
        if self._loaded is None or self._loaded[0] != token:
            self._loaded = None
            self._copies.clear()
            detector = load_detector(planned.detector, planned.track, self._catalog, self._device)
            self._check_code(planned)
            if planned.detector.fit_when_loaded:
                self._fit(planned, detector)
            self._loaded = token, detector
        return self._loaded[1]

    def _fit(self, planned: PlannedCell, detector: Detector) -> None:
        heard = self._fitting
        progress = silent if heard is None else lambda done, total, note: heard(planned, done, total, note)
        with self._shared(planned, detector):
            fit_or_recall(detector, planned.detector, self._track(planned), self._catalog, progress=progress)

    def _shared(self, planned: PlannedCell, detector: Detector) -> AbstractContextManager[None]:
        """While it is entered, the detector's network is not asked for what an equal one was asked for before."""
        settings = planned.detector.network
        own = planned.detector.name not in self._given.detectors and settings is not None
        return self._passes.shared(detector.network, settings.model_dump(mode="json") if own and settings else None)

    def _check_code(self, planned: PlannedCell) -> None:
        """Raise where the code that was loaded is not the one that the cell's key was made of.

        Raises:
            CellError: A file was edited while the run was under way.
        """
        roots = self._catalog.content_roots()
        now = code_hash(planned.detector, planned.threat, planned.track, roots)
        if now != planned.ingredients.source_hash:
            raise CellError(
                f"{planned.label}: the code was edited since the run began, so that its figures would stand for other "
                "code; run the same command again."
            )

    def _check_gradient(self, planned: PlannedCell, detector: Detector) -> None:
        """Raise where a threat follows gradients, and the detector has none: it would only seem to be robust.

        What a threat that is given as an object asks for is not known before it has run.
        """
        card = planned.threat
        if card.knowledge is not Knowledge.GRADIENTS or card.name in self._given.threats:
            return
        if not detector.info.differentiable:
            raise self._no_gradient(planned, "none")
        if isinstance(detector, Bounded) and detector.flat and not self._slopes_somewhere(planned, detector):
            raise self._no_gradient(planned, "one that is zero at every image that was tried")

    def _check_gradients_spent(self, planned: PlannedCell, detector: Detector, cell: Cell) -> None:
        """The same where a threat of another card, or without one, has followed gradients that there are not."""
        if cell.meta.gradients and not detector.info.differentiable:
            raise self._no_gradient(planned, "none")

    def _slopes_somewhere(self, planned: PlannedCell, detector: Bounded) -> bool:
        """Whether the gradient is above zero at some image of the track, or of noise between them."""
        sets = self._sets(planned)
        few = torch.cat([part.limited(_TRIED).pixels() for part in (sets.test, *sets.ood.values())])
        mixed = torch.lerp(few, few.flip(0), torch.rand(len(few), 1, 1, 1, generator=torch.Generator().manual_seed(0)))
        parts = torch.split(torch.cat([few, mixed]).to(device_of(detector)), _TRIED)
        return any(detector.gives_gradients(part) for part in parts)

    def _no_gradient(self, planned: PlannedCell, what: str) -> NotApplicableError:
        card = planned.threat
        others = [self._catalog.threat(name) for name in self._catalog.names(Kind.THREAT)]
        usable = ", ".join(other.name for other in others if other.knowledge is Knowledge.SCORES) or "none"
        return NotApplicableError(
            f"threat '{card.name}' follows gradients and detector '{planned.detector.name}' has {what}, so it would "
            f"only seem to be robust; choose a threat that asks for scores: {usable}.",
            why="it follows gradients, and the detector has none",
        )

    def _cheaper(self, planned: PlannedCell) -> tuple[Threat, ...]:
        """The cell's attacker with less to spend; none of one that is given as an object, which may hold more."""
        if planned.ingredients.evidence is None or planned.threat.name in self._given.threats:
            return ()
        forms = cheaper_forms(planned.params)
        return tuple(
            self._threat(planned.threat, replace(planned, params={**planned.params, **form})) for form in forms
        )

    def _threat(self, card: ThreatCard, planned: PlannedCell) -> Threat:
        if card.name in self._given.threats:
            return self._given.threats[card.name]
        assert card.method is not None  # a worst case has no attack of its own
        kind: type[Threat] = import_method(card.method, self._catalog.workspace, THREAT)
        if card is planned.threat and not card.method.startswith("bench."):
            self._check_code(planned)
        if unlisted := [name for name in planned.ignored if name in kind.Params.model_fields]:
            raise CellError(
                f"threat '{card.name}' has the parameter '{unlisted[0]}', but its card does not list it, so it cannot "
                "be set for a run; write its default into the card."
            )
        try:
            return kind(kind.Params.model_validate(planned.params))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise CardError(
                f"threat '{card.name}': parameter '{field}' is {first['input']!r}: {first['msg']}; correct the card "
                "or the option."
            ) from None
