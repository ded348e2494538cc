"""Whether a card can be used: its fields, what it refers to, the code it names, and its weights.

Checking a card imports the modules that it names, which runs them, makes its detector and scores one black image where
all weights are here; `Checked.imported` says which modules outside bench these were. What a card names must be of the
kind that its place asks for, and is refused unrun where its source shows that it is not: see `bench.cards.code`.
Without `run_code` nothing is imported or made: fields, references and weights are checked, and code by its source.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bench.cards.base import Card
from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import check_unrun, import_method
from bench.cards.code.wanted import Wanted
from bench.cards.detector import DetectorCard, DetectorSpec, WeightsSpec
from bench.cards.documents import Document, Location, read_document
from bench.cards.errors import describe
from bench.cards.folders import refuse_twins
from bench.cards.reading import card_from
from bench.cards.threat import Side, ThreatCard
from bench.cards.track import SetSpec, TrackCard
from bench.datasets.wanted import SOURCE
from bench.detectors.wanted import DETECTOR, NETWORK
from bench.errors import BenchError, CardError, shorten
from bench.threat_models.wanted import THREAT
from bench.training.wanted import RECIPE

if TYPE_CHECKING:  # torch takes seconds
    from bench.detectors.base import Detector

EMBEDDED_TRACK = "digits"
"""The track whose data and weights are part of the built-in content: there, a missing file is a failure."""


@dataclass(frozen=True)
class Checked:
    """What was found in one card.

    Attributes:
        path: The file.
        kind: What the card describes; None where that cannot be told.
        problems: One sentence for everything that makes the card unusable.
        notes: One sentence for everything that is worth knowing and no failure.
        imported: Modules outside bench that were imported for it.
    """

    path: Path
    kind: Kind | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the card can be used."""
        return not self.problems


def check_catalog(catalog: Catalog, *, run_code: bool = True) -> Iterator[Checked]:
    """Check every card in force, tracks first: detectors refer to them."""
    for kind in (Kind.TRACK, Kind.THREAT, Kind.DETECTOR):
        for name in catalog.names(kind):
            yield check_file(catalog.where(kind, name), catalog, run_code=run_code)


def check_file(path: Path, catalog: Catalog, *, run_code: bool = True) -> Checked:
    """Check one card, which need not lie in the catalog; what it refers to must."""
    try:
        refuse_twins(path)
        document = read_document(path)
    except CardError as error:
        return Checked(path, None, (str(error),))
    kind = _kind(document)
    try:
        card = card_from(document, kind.model)
    except CardError as error:
        return Checked(path, kind, tuple(str(error).splitlines()))
    check = _Check(document, catalog, run_code)
    if card.name != path.stem:
        check.problem(("name",), f"field 'name': given '{card.name}', allowed: the file's own; rename one")
    check.card(card)
    return Checked(path, kind, *map(_once, (check.problems, check.notes, check.modules)))


def _once(found: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))


def _kind(document: Document) -> Kind:
    """By the folder where there is one of the three, else by what only such cards have."""
    for kind in Kind:
        if document.path.resolve().parent.name == kind.folder:
            return kind
    if document.content.keys() & {"ood", "calibration", "shape"}:
        return Kind.TRACK
    return Kind.THREAT if document.content.keys() & {"knowledge", "norm", "eps", "sides"} else Kind.DETECTOR


class _Check:
    """The checks of one card, and what they found."""

    def __init__(self, document: Document, catalog: Catalog, run_code: bool) -> None:
        self.run_code = run_code
        self.modules: list[str] = []
        self.document = document
        self.catalog = catalog
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, location: Location, sentence: str) -> None:
        self.problems.append(f"{self.document.place(location)}: {sentence}.")

    def card(self, card: Card) -> None:
        if isinstance(card, TrackCard):
            self.track(card)
        elif isinstance(card, ThreatCard):
            self.threat(card)
        elif isinstance(card, DetectorCard):
            self.detector(card)

    # ------------------------------------------------------------------ tracks

    def track(self, card: TrackCard) -> None:
        parts: list[tuple[Location, SetSpec]] = [
            (("train",), card.train), (("calibration",), card.calibration), (("test",), card.test),
            *((("ood", name), spec) for name, spec in card.ood.items()),
            *((("outliers", number), spec) for number, spec in enumerate(card.outliers)),
        ]  # fmt: skip
        for location, spec in parts:
            self.source((*location, "source"), spec.source)
            if spec.stop is not None and spec.stop <= spec.start:
                self.problem((*location, "stop"), f"stop is {spec.stop}; allowed is more than start, {spec.start}")
            if not spec.digests():
                self.notes.append(f"{self.document.place(location)}: no digest is given, so any content is accepted.")
        from bench.leaderboards.suite import suite_problems

        for location, sentence in suite_problems(card, self.catalog):
            self.problem(location, sentence)
        if not card.natural():
            self.notes.append(f"{self.document.place(('ood',))}: no OOD set enters the mean.")

    def source(self, location: Location, source: str) -> None:
        from bench.datasets.sources import source_names

        if source.startswith("folder:"):
            return
        if ":" in source:
            self.imported(location, source, SOURCE)
        elif source not in source_names():
            known = ", ".join(source_names())
            self.problem(location, f"unknown source '{source}'; allowed: {known}, folder:PATH, package.module:function")

    # ----------------------------------------------------------------- threats

    def threat(self, card: ThreatCard) -> None:
        known = self.catalog.names(Kind.THREAT)
        for side, members in card.members.items():
            for name in members:
                self.member(("members", str(side)), name, card, side, known)
        if card.source is not None and card.source.threat not in known:
            self.problem(("source", "threat"), f"unknown threat '{card.source.threat}'; allowed: {', '.join(known)}")
        if card.method is None:
            return
        method = self.imported(("method",), card.method, THREAT)
        if method is not None:
            self.settings(method.Params, card.params, [("params",)])

    def member(self, location: Location, name: str, card: ThreatCard, side: Side, known: list[str]) -> None:
        """A member of a worst case must be a threat of its own, of the same norm, that attacks the same side."""
        if name not in known:
            self.problem(location, f"unknown threat '{name}'; allowed: {', '.join(known)}")
            return
        other = self.catalog.threat(name)
        if other.members:
            self.problem(location, f"'{name}' is a worst case itself; name single attacks")
        elif side not in other.sides:
            self.problem(location, f"'{name}' attacks {', '.join(other.sides)}, not '{side}'; leave it out")
        elif other.norm is not card.norm:
            self.problem(location, f"'{name}' has the norm {other.norm} and the worst case {card.norm}; leave it out")

    # --------------------------------------------------------------- detectors

    def detector(self, card: DetectorCard) -> None:
        method = self.imported(("method",), card.method, DETECTOR)
        for variant in (None, *card.variants):
            own = card.variants[variant].tracks if variant is not None else {}
            for track in own or card.tracks:
                here: Location = ("tracks", track)
                if variant is not None and own:
                    here = ("variants", variant, *here)
                if track not in self.catalog.names(Kind.TRACK):
                    known = ", ".join(self.catalog.names(Kind.TRACK)) or "none"
                    self.problem(here, f"field '{'.'.join(map(str, here))}': unknown track; the catalog has: {known}")
                    continue
                self.on_track(card.on_track(track, variant), variant, here, method)
        if not card.tracks and not any(variant.tracks for variant in card.variants.values()):
            self.notes.append(f"{self.document.place(())}: the detector has no track, so it cannot be run.")

    def on_track(self, spec: DetectorSpec, variant: str | None, here: Location, method: Any) -> None:
        if method is not None:
            places: list[Location] = [(*here, "params")]
            if variant is not None:
                places.append(("variants", variant, "params"))
            self.settings(method.Params, spec.params, [*places, ("params",)])
            if method.info.classifier and spec.network is None:
                self.problem(here, f"the method needs a classifier; give field '{'.'.join(map(str, here))}.network'")
            for field, given in (("per_class", "true"), ("percentiles", str(list(spec.thresholds.percentiles)))):
                if getattr(spec.thresholds, field) and not _predicts_classes(method):
                    self.problem(
                        ("thresholds", field),
                        f"field 'thresholds.{field}': given {given}, and the method predicts no classes; leave it out",
                    )
        self.network(spec, here)
        if spec.training is not None:
            recipe = self.imported((*here, "training", "recipe"), spec.training.recipe, RECIPE)
            if recipe is not None and hasattr(recipe, "Args"):
                self.settings(recipe.Args, spec.training.args, [(*here, "training", "args")])
        for number, weights in enumerate(spec.weights):
            maker = self.maker(weights.file, spec.track)
            if maker is None and spec.training is not None and number == len(spec.weights) - 1:
                maker = spec.name
            self.weights(spec, weights, (*here, "weights", number), maker)
        if (
            self.run_code
            and not self.problems
            and all(self.catalog.weights_path(weights.file) for weights in spec.weights)
        ):
            self.assembled(spec, here)

    def assembled(self, spec: DetectorSpec, here: Location) -> None:
        """Whether method, network and weights make a detector for the track's images together."""
        import torch

        from bench.detectors.loading import load_detector

        try:
            track = self.catalog.track(spec.track)
        except BenchError:
            return  # the track's own check says what is wrong with it
        try:
            detector = load_detector(spec, track, self.catalog)
            if not spec.fit_when_loaded:  # that takes the training images, which a check does not read
                detector.score(torch.zeros(1, *track.shape))
        except BenchError as error:
            self.problem(here, str(error).rstrip("."))
        except Exception as error:  # a stranger's code may raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.problem(here, f"the detector cannot score an image of the track ({reason}); correct method or network")

    def network(self, spec: DetectorSpec, here: Location) -> None:
        network = spec.network
        if network is None:
            return
        at: Location = (*here, "network")

        made_by = self.imported((*at, "method"), network.method, NETWORK)
        if made_by is not None:
            try:
                inspect.signature(made_by).bind(**network.args)
            except TypeError as error:
                self.problem((*at, "args"), f"'{network.method}' does not take these args ({error}); correct them")
        try:
            channels, height, width = self.catalog.track(spec.track).shape
        except BenchError:
            return  # the track's own check says what is wrong with it
        if network.crop is not None and network.crop > min(height, width):
            self.problem((*at, "crop"), f"crop is {network.crop}; allowed is at most the track's {min(height, width)}")
        for name, values in (("mean", network.mean), ("std", network.std)):
            if values is not None and len(values) != channels:
                self.problem((*at, name), f"{name} has {len(values)} numbers; allowed is one a channel, {channels}")
        if network.std is not None and min(network.std) <= 0:
            self.problem((*at, "std"), f"std is {list(network.std)}; allowed are numbers above 0")

    def weights(self, spec: DetectorSpec, weights: WeightsSpec, location: Location, maker: str | None) -> None:
        from bench.detectors.weights import file_sha256

        path = self.catalog.weights_path(weights.file)
        if path is None:
            self.missing(spec, weights, location, maker)
        elif weights.sha256 is None:
            self.notes.append(f"{self.document.place(location)}: weights '{weights.file}' have no sha256 in the card.")
        elif (got := file_sha256(path)) != weights.sha256:
            self.problem(
                (*location, "sha256"),
                f"weights {path} have sha256 {got}, the card says {weights.sha256}; "
                "put the right file there, or correct the card if the weights were made anew",
            )

    def missing(self, spec: DetectorSpec, weights: WeightsSpec, location: Location, maker: str | None) -> None:
        """A failure where the file should be part of the built-in content or nothing says where it comes from."""
        ways = []
        if maker is not None:
            ways.append(f"run `bench train --detector {maker} --track {spec.track}`")
        if weights.source is not None:
            ways.append(f"run `bench convert FILE --detector {spec.name} --track {spec.track}` with {weights.source}")
        todo = " or ".join(ways) or "put the file into detectors/weights"
        ships = self.document.path.resolve().parent.parent == self.catalog.builtin and spec.track == EMBEDDED_TRACK
        if ships or not ways:
            self.problem(location, f"weights '{weights.file}' are not here; {todo}")
        else:
            self.notes.append(f"{self.document.place(location)}: weights '{weights.file}' are not here; {todo}.")

    def maker(self, file: str, track: str) -> str | None:
        """The detector whose training makes this file; None where no card says so."""
        for name in self.catalog.names(Kind.DETECTOR):
            try:
                spec = self.catalog.detector_spec(name, track)
            except BenchError:
                continue  # a card that is broken or has no such track
            if spec.training is not None and spec.weights and spec.weights[-1].file == file:
                return name
        return None

    # ------------------------------------------------------------------ shared

    def imported(self, location: Location, path: str, wanted: Wanted) -> Any:
        """The object that a path names; None, and a problem, where there is none or it is not what is wanted.

        Also None where no code may run.
        """
        try:
            module, _ = check_unrun(path, self.catalog.workspace, wanted)
            if not self.run_code:
                self.notes.append(f"{self.document.place(location)}: {shorten(path)} was not imported, only read.")
                return None
            if module.partition(".")[0] != "bench":
                self.modules.append(module)
            return import_method(path, self.catalog.workspace, wanted)
        except CardError as error:
            self.problem(location, str(error).rstrip("."))
            return None

    def settings(self, model: type[BaseModel], given: dict[str, Any], places: list[Location]) -> None:
        """Check settings that lie, field by field, in one of several places of the card."""
        try:
            model.model_validate(given)
        except ValidationError as error:
            self.problems.extend(describe(error, model, self.document, within=places))


def _predicts_classes(method: "type[Detector]") -> bool:
    """Whether a detector of this class has a classifier inside, or logits of its own."""
    from bench.detectors.base import Detector

    return method.info.classifier or method.logits is not Detector.logits
