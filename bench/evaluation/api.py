"""`bench.evaluate`: from Python what `bench run` does from the shell, with any module or function too."""

import inspect
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec, RecordedSpec
from bench.cards.detector_names import names_code
from bench.cards.threat import Goal, Knowledge, Loss, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.detectors.adapters.callable import GivenDetector
from bench.detectors.base import Detector, DetectorParams
from bench.detectors.boundary import admit
from bench.detectors.loading import to_device
from bench.errors import CellError, DataError, UsageError
from bench.evaluation.engine import CellFailure, CellProgress, Outcome, run_plan
from bench.evaluation.eps import EpsChoice, parse_eps
from bench.evaluation.plan import (
    RunOptions,
    as_choice,
    as_side,
    check_options,
    digests_for,
    needs_train,
    plan_detector,
)
from bench.evaluation.results import Cell
from bench.evaluation.sets import chosen_sets, unusable_sets
from bench.evaluation.store import CellStore, MemoryStore, Store
from bench.evaluation.workbench import Given
from bench.threat_models.base import Threat


def evaluate(
    detector: str | nn.Module | Callable[..., Any],
    threat: str | ThreatCard | Threat = "pgd-l2",
    track: str | TrackCard | Track = "digits",
    *,
    eps: float | str | Iterable[float | str] | None = None,
    side: Side | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    early_stop: bool = True,
    micro_batch: int | None = None,
    goal: Goal | str = Goal.MISCLASSIFY,
    loss: Loss | str | None = None,
    ood: str | Iterable[str] | None = None,
    without: str | Iterable[str] | None = None,
    device: str = "cpu",
    store: Path | str | None = None,
    workspace: Path | None = None,
    data_dir: Path | None = None,
    progress: CellProgress | None = None,
    **params: Any,
) -> tuple[Cell, ...]:
    """Score a detector on a track, clean and under attack.

    A detector, threat or track that is given as an object is always computed anew, since nothing tells whether it
    has changed; what is given by name is taken from the store where it is there.

    Args:
        detector: A catalog name, a `Detector`, or a function or any module, which takes (N, C, H, W) images in [0, 1]
            and returns (N,) scores, higher for in-distribution, or (N, K) logits, as `callable:` takes it; a module
            is asked for its `score` where it has one. It is left as it was.
        threat: A catalog name, a card, or a `Threat` (its eps must then be given with the norm, as "l2:1").
        track: A catalog name, a card, or a `Track`.
        eps: Radii, as `bench run --eps` takes them; None for those of the threat's card.
        side: The attacked side: "evade", "alarm", "both", "fool" or "between"; None for the threat's own.
        limit: The most images of a set; None for the track's own limit.
        seed: Of the attack's random numbers.
        early_stop: Stop an image's attack once no rank can change any more.
        micro_batch: The batch shape of scores and gradients; None for the detector's own.
        goal: On side "fool": "misclassify" or "misclassify-and-accept".
        loss: What directs gradients there: "ce", "margin" or "joint"; None for the one that fits the goal.
        ood: The track's OOD sets to take, as names or one text with commas; None for all of them.
        without: The OOD sets to leave out: the mean is that of the others, and the cells say so.
        device: "cpu", "cuda" or "cuda:N".
        store: A folder for the cells; None keeps them in memory.
        workspace: A folder of cards; None for the nearest one upward.
        data_dir: Where data files lie; None for the default.
        progress: Hears of the cell at hand.
        params: Parameters over those of the threat's card, such as `steps=20`.

    Returns:
        The clean cell first, then one a radius; from `bench.evaluate` with their tables and figures.

    Raises:
        UsageError: A wrong name, radius or parameter, or missing data or weights.
        CellError: A cell could not be computed.
    """
    _check_kinds(detector, threat, track)
    catalog = Catalog.find(workspace)
    choice = parse_eps(eps)
    own_track = track if isinstance(track, Track) else None
    card = own_track.card if own_track else track if isinstance(track, TrackCard) else catalog.track(str(track))
    attacker = threat_card(threat, choice) if not isinstance(threat, str) else catalog.threat(threat)
    choice.check([attacker])
    options = RunOptions(
        seed, limit, as_side(side), params, early_stop, micro_batch, data_dir,
        as_choice(Goal, goal, "goal"), None if loss is None else as_choice(Loss, loss, "loss"),
        chosen_sets(ood, without),
    )  # fmt: skip
    check_options(options, [attacker])
    options.sets.check([card])
    spec = catalog.detector_spec(detector, card.name) if isinstance(detector, str) else _spec(detector, card)
    if own_track:
        digests = _own_digests(own_track, options.sets.of(card), train=needs_train(spec))
    else:
        digests = digests_for(catalog, [spec], [attacker], options.sets.of(card), data_dir)
    # What is given as an object has no content that could be hashed for certain: a name used once stands for it.
    once = (uuid.uuid4().hex,) if not isinstance(detector, str) or isinstance(threat, Threat) else None
    planned = plan_detector(
        catalog, spec, card, threats=[attacker], choice=choice, options=options, digests=digests, weights=once
    )
    kept: CellStore = Store(Path(store)) if store is not None else MemoryStore()
    with _back_on_its_device(detector):
        objects = Given(
            detectors={} if isinstance(detector, str) else {spec.name: as_detector(detector, card, device)},
            threats={attacker.name: threat} if isinstance(threat, Threat) else {},
            tracks={card.name: own_track} if own_track else {},
        )
        outcomes = run_plan(planned, kept, catalog, device=device, data_dir=data_dir, progress=progress, given=objects)
        return tuple(_cell(outcome, kept) for outcome in outcomes)


def _check_kinds(detector: object, threat: object, track: object) -> None:
    """Raise unless each is of a kind that can be evaluated.

    Raises:
        UsageError: In one sentence, what was given and what is allowed.
    """
    if isinstance(detector, type) or not (isinstance(detector, str) or callable(detector)):
        what = f"the class {detector.__name__}" if isinstance(detector, type) else f"of type {type(detector).__name__}"
        raise UsageError(
            f"detector is {what}; give a name, a function from images to scores, or an nn.Module that is made already."
        )
    if not isinstance(threat, str | ThreatCard | Threat):
        raise UsageError(f"threat is of type {type(threat).__name__}; give a name, a ThreatCard or a Threat.")
    if not isinstance(track, str | TrackCard | Track):
        raise UsageError(
            f"track is of type {type(track).__name__}; give a name, a TrackCard or a Track: images of your own become "
            "a track by a card that names their folder or a function that loads them (`bench list tracks` shows those "
            "there are)."
        )


@contextmanager
def _back_on_its_device(given: object) -> Iterator[None]:
    """Leave a module where it was: a run moves it to its own device."""
    tensors = [*given.parameters(), *given.buffers()] if isinstance(given, nn.Module) else []
    devices = {tensor.device for tensor in tensors}
    try:
        yield
    finally:
        if isinstance(given, nn.Module) and len(devices) == 1 and any(t.device not in devices for t in tensors):
            given.to(devices.pop())


def _own_digests(track: Track, card: TrackCard, *, train: bool) -> dict[str, str]:
    """The content digests of the sets that cells use, of a track at hand."""
    digests, problems = {}, {}
    for name in _set_names(card, train=train):
        try:
            digests[name] = track.digest(name)
        except DataError as error:
            problems[name] = error
    if problems:
        raise unusable_sets(card, problems)
    return digests


def _cell(outcome: Outcome, store: CellStore) -> Cell:
    if isinstance(outcome, CellFailure):
        raise outcome.error
    cell = store.get(outcome.meta.key)
    if cell is None:
        raise CellError(f"{outcome.planned.label} was stored and is gone; does something else clear the store?")
    return cell


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
    detector = GivenDetector(given, str(name or type(given).__name__), shape=track.shape, classes=track.classes,
                             params=settings)  # fmt: skip
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


def _spec(module: Callable[..., Any], track: TrackCard) -> DetectorSpec:
    return DetectorSpec(
        name=_slug(module), track=track.name, version=1, method=_method(module), params={}, network=None,
        weights=(), training=None, recorded=RecordedSpec(),
    )  # fmt: skip


def _set_names(card: TrackCard, *, train: bool) -> list[str]:
    return ["test", "calibration", *card.ood, *(["train"] if train else [])]


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
