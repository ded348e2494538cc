"""Detectors and threats that are given as objects: what may be one, and what stands for its card."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from bench.cards.detector import DetectorSpec
from bench.cards.detector_names import names_code
from bench.cards.network import RecordedSpec
from bench.cards.threat import Knowledge, ThreatCard
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.detectors.adapters.callable import GivenDetector
from bench.detectors.base import Detector, DetectorParams
from bench.detectors.boundary import admit
from bench.detectors.loading import to_device
from bench.errors import UsageError
from bench.evaluation.eps import EpsChoice
from bench.threat_models.base import Threat


def check_detector_kind(detector: object) -> None:
    """Raise unless it is of a kind that can be evaluated.

    Raises:
        UsageError: In one sentence, what was given and what is allowed.
    """
    if isinstance(detector, type) or not (isinstance(detector, str) or callable(detector)):
        what = f"the class {detector.__name__}" if isinstance(detector, type) else f"of type {type(detector).__name__}"
        raise UsageError(
            f"detector is {what}; give a name, a function from images to scores, an nn.Module that is made already, or "
            "a list of them."
        )


def check_kinds(threat: object, track: object) -> None:
    """Raise unless each is of a kind that can be evaluated.

    Raises:
        UsageError: In one sentence, what was given and what is allowed.
    """
    if not isinstance(threat, str | ThreatCard | Threat):
        raise UsageError(
            f"threat is of type {type(threat).__name__}; give a name, a ThreatCard, a Threat, or a list of them."
        )
    if not isinstance(track, str | TrackCard | Track):
        raise UsageError(
            f"track is of type {type(track).__name__}; give a name, a TrackCard or a Track: images of your own become "
            "a track by a card that names their folder or a function that loads them (`bench list tracks` shows those "
            "there are)."
        )


@contextmanager
def back_on_its_device(given: object) -> Iterator[None]:
    """Leave a module where it was: a run moves it to its own device."""
    tensors = [*given.parameters(), *given.buffers()] if isinstance(given, nn.Module) else []
    devices = {tensor.device for tensor in tensors}
    try:
        yield
    finally:
        if isinstance(given, nn.Module) and len(devices) == 1 and any(t.device not in devices for t in tensors):
            given.to(devices.pop())


def as_detector(given: nn.Module | Callable[..., Any], track: TrackCard, device: str = "cpu") -> Detector:
    """What was given as a detector on a device, behind the boundary that holds for every way in.

    Raises:
        UsageError: It is no module and no function, or cannot score images of the track.
    """
    if isinstance(given, Detector):
        if given.shape != track.shape:
            raise UsageError(
                f"{type(given).__name__} takes images of shape {given.shape}, and those of track '{track.name}' have "
                f"{track.shape}; make it for this track."
            )
        return admit(to_device(given, device), type(given).__name__)
    name = getattr(given, "__name__", None) if not isinstance(given, nn.Module) else type(given).__name__
    settings = DetectorParams()
    detector = GivenDetector(
        given, str(name or type(given).__name__), shape=track.shape, classes=track.classes, params=settings
    )
    return admit(to_device(detector, device), detector.title)


def threat_card(threat: ThreatCard | Threat, choice: EpsChoice) -> ThreatCard:
    """The card itself, or one that stands for an attacker that is given as an object.

    Raises:
        UsageError: Radii without their norm, or of several norms.
    """
    if isinstance(threat, ThreatCard):
        return threat
    if choice.bare or len(choice.by_norm) > 1:
        raise UsageError(
            "eps of a threat that is given as an object needs its norm: write it as 'l2:1' or 'linf:8/255'."
        )
    norm, eps = next(iter(choice.by_norm.items()), (None, ()))
    return ThreatCard(
        name=_slug(threat),
        summary="given as an object",
        method=_method(threat),
        norm=norm,
        eps=eps,
        knowledge=Knowledge.GRADIENTS,
        params=threat.params.model_dump(mode="json"),
    )


def object_spec(module: Callable[..., Any], track: TrackCard) -> DetectorSpec:
    """What stands for the settings of a detector that is given as an object."""
    return DetectorSpec(
        name=_slug(module),
        track=track.name,
        version=1,
        method=_method(module),
        params={},
        network=None,
        weights=(),
        training=None,
        recorded=RecordedSpec(),
    )


def _slug(thing: object) -> str:
    kind = _kind(thing)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).lower()
    return re.sub(r"[^a-z0-9-]+", "-", words).strip("-")[:64] or "object"


def _method(thing: object) -> str:
    kind = _kind(thing)
    path = f"{kind.__module__}:{kind.__name__}"
    return path if names_code(path) else f"{type(thing).__module__}:{type(thing).__name__}"


def _kind(thing: object) -> Any:
    """What has the name of an object: its class, or a function itself."""
    return thing if inspect.isroutine(thing) else type(thing)
