"""`bench.evaluate`: from Python what `bench run` does from the shell, with any module that has a `score`."""

import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.catalog import Catalog
from bench.datasets.track import Track
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
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
from bench.specs import DetectorSpec, Goal, Knowledge, Loss, Norm, RecordedSpec, Side, ThreatCard, TrackCard
from bench.threat_models.base import Threat


def evaluate(
    detector: str | nn.Module,
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
        detector: A catalog name, a `Detector`, or any module whose `score` takes (N, C, H, W) images in [0, 1] and
            returns (N,) scores, higher for in-distribution; it is moved to `device`.
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
    objects = Given(
        detectors={} if isinstance(detector, str) else {_slug(detector): as_detector(detector, card).to(device)},
        threats={attacker.name: threat} if isinstance(threat, Threat) else {},
        tracks={card.name: own_track} if own_track else {},
    )
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
    outcomes = run_plan(planned, kept, catalog, device=device, data_dir=data_dir, progress=progress, given=objects)
    return tuple(_cell(outcome, kept) for outcome in outcomes)


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


class ScoreModule(Detector):
    """Any module with a `score`, as a detector.

    Args:
        module: Its `score` takes (N, C, H, W) images in [0, 1]; `objective`, `logits`, `bits_per_dim` and `bound` are
            used where it has them, and mean what they mean in `Detector`.
        shape: (C, H, W) of the images.
        classes: The number of ID classes.
    """

    info = DetectorInfo(classifier=False)

    def __init__(self, module: nn.Module, *, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(None, shape=shape, classes=classes, params=DetectorParams())
        self.module = module

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """The module's own score."""
        scores: Tensor = self.module.score(x)  # type: ignore[operator]
        return scores

    def objective(self, x: Tensor) -> Tensor:
        """The module's objective where it has one, else its score."""
        own = getattr(self.module, "objective", None)
        directed: Tensor = own(x) if callable(own) else self.score(x)
        return directed

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One pass where the module has no objective of its own."""
        if callable(getattr(self.module, "objective", None)):
            return super().score_and_objective(x)
        score = self.score(x)
        return score, score

    def logits(self, x: Tensor) -> Tensor | None:
        """The module's logits where it has them."""
        own = getattr(self.module, "logits", None)
        logits: Tensor | None = own(x) if callable(own) else None
        return logits

    def bits_per_dim(self, x: Tensor) -> Tensor | None:
        """The module's bits per dimension where it has them."""
        own = getattr(self.module, "bits_per_dim", None)
        bits: Tensor | None = own(x) if callable(own) else None
        return bits

    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        """The module's certified bound where it has one."""
        own = getattr(self.module, "bound", None)
        bound: Tensor | None = own(x, norm, eps) if callable(own) else None
        return bound


def as_detector(module: nn.Module, track: TrackCard) -> Detector:
    """The module itself where it is a detector, else wrapped as one.

    Raises:
        UsageError: It has no `score`.
    """
    if isinstance(module, Detector):
        return module
    if not callable(getattr(module, "score", None)):
        raise UsageError(f"{type(module).__name__} has no method `score`; give it one that returns (N,) scores.")
    return ScoreModule(module, shape=track.shape, classes=track.classes)


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


def _spec(module: nn.Module, track: TrackCard) -> DetectorSpec:
    return DetectorSpec(
        name=_slug(module), track=track.name, version=1, method=_method(module), params={}, network=None,
        weights=(), training=None, recorded=RecordedSpec(),
    )  # fmt: skip


def _set_names(card: TrackCard, *, train: bool) -> list[str]:
    return ["test", "calibration", *card.ood, *(["train"] if train else [])]


def _slug(thing: object) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(thing).__name__).lower()
    return re.sub(r"[^a-z0-9-]+", "-", words).strip("-")[:64] or "object"


def _method(thing: object) -> str:
    kind = type(thing)
    return f"{kind.__module__}:{kind.__name__}"
