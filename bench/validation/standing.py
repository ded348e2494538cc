"""What the checks of detectors and of networks share: one that stands on a track, with its network and weights."""

import inspect
from typing import TYPE_CHECKING, Any

from bench.cards.catalog import Kind
from bench.cards.detector import DetectorSpec
from bench.cards.documents import Location
from bench.cards.network import WeightsSpec, is_named
from bench.detectors.wanted import NETWORK
from bench.errors import BenchError
from bench.lazy import lazily
from bench.training.wanted import RECIPE
from bench.validation.check import Check

with lazily():
    import torch

    from bench.detectors import base, loading
    from bench.detectors import weights as weights_files

if TYPE_CHECKING:  # torch takes seconds
    from bench.detectors.base import Detector

EMBEDDED_TRACK = "digits"
"""The track whose data and weights are part of the built-in content: there, a missing file is a failure."""


class StandingCheck(Check):
    """The check of a card that stands on a track; subclasses say on which, and how a command is told of it."""

    def on_track(self, spec: DetectorSpec, variant: str | None, here: Location, method: Any, shared: int = 0) -> None:
        """Check what the card says of one track, for the plain detector or a variant.

        Args:
            spec: Resolved.
            variant: Its name.
            here: Where the card says it.
            method: The class, None where it cannot be had.
            shared: So many of the weights are those of a network, whose own check is told of them.
        """
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
        if not shared:
            self.network(spec, here)
        if spec.training is not None and (not shared or len(spec.weights) > shared):
            recipe = self.imported((*here, "training", "recipe"), spec.training.recipe, RECIPE)
            if recipe is not None and hasattr(recipe, "Args"):
                self.settings(recipe.Args, spec.training.args, [(*here, "training", "args")])
        for number, weights in enumerate(spec.weights[shared:]):
            maker = self.maker(weights.file, spec.track)
            if maker is None and spec.training is not None and number == len(spec.weights) - shared - 1:
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
        try:
            track = self.catalog.track(spec.track)
        except BenchError:
            return  # the track's own check says what is wrong with it
        try:
            detector = loading.load_detector(spec, track, self.catalog)
            if not spec.fit_when_loaded:  # that takes the training images, which a check does not read
                detector.score(torch.zeros(1, *track.shape))
        except BenchError as error:
            self.problem(here, str(error).rstrip("."))
        except Exception as error:  # a stranger's code may raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.problem(here, f"the detector cannot score an image of the track ({reason}); correct method or network")

    def network(self, spec: DetectorSpec, here: Location) -> None:
        """Check what makes the network, and its way from pixels."""
        network = spec.network
        if network is None:
            return
        at: Location = (*here, "network") if here else ()
        made_by = None
        if not is_named(network.method):
            made_by = self.imported((*at, "method"), network.method, NETWORK)
        if inspect.isclass(made_by) or inspect.isfunction(made_by):
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
        """Check that a file is there and is the one that the card means."""
        path = self.catalog.weights_path(weights.file)
        if path is None:
            self.missing(spec, weights, location, maker)
        elif weights.sha256 is None:
            self.notes.append(f"{self.document.place(location)}: weights '{weights.file}' have no sha256 in the card.")
        elif (got := weights_files.file_sha256(path)) != weights.sha256:
            self.problem(
                (*location, "sha256"),
                f"weights {path} have sha256 {got}, the card says {weights.sha256}; "
                "put the right file there, or correct the card if the weights were made anew",
            )

    def missing(self, spec: DetectorSpec, weights: WeightsSpec, location: Location, maker: str | None) -> None:
        """A failure where the file should be part of the built-in content or nothing says where it comes from."""
        ways = []
        if maker is not None:
            ways.append(f"run `bench train {self.named(spec, maker)}`")
        if weights.source is not None:
            ways.append(f"run `bench convert FILE {self.named(spec, spec.name)}` with {weights.source}")
        todo = " or ".join(ways) or "put the file into detectors/weights"
        folders = [self.catalog.builtin / kind.folder for kind in Kind]
        ships = self.document.path.resolve().parent in folders and spec.track == EMBEDDED_TRACK
        if ships or not ways:
            self.problem(location, f"weights '{weights.file}' are not here; {todo}")
        else:
            self.notes.append(f"{self.document.place(location)}: weights '{weights.file}' are not here; {todo}.")

    def named(self, spec: DetectorSpec, name: str) -> str:
        """How a command is told what a file is for."""
        raise NotImplementedError

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


def _predicts_classes(method: "type[Detector]") -> bool:
    """Whether a detector of this class has a classifier inside, or logits of its own."""
    return method.info.classifier or method.logits is not base.Detector.logits
