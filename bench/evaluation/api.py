"""`bench.evaluate`: from Python what `bench run` does from the shell, with any module or function too."""

import uuid
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.threat import Goal, Loss, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.detectors.precision import Precision, SearchPrecision
from bench.errors import CellError, DataError, UsageError
from bench.evaluation.engine import CellFailure, CellProgress, Outcome, run_plan
from bench.evaluation.eps import EpsChoice, parse_eps
from bench.evaluation.loaded import device_of_name, images_of, on_network, score_spec
from bench.evaluation.objects import as_detector, back_on_its_device, check_kinds, object_spec, threat_card
from bench.evaluation.plan import (
    RunOptions,
    as_choice,
    as_side,
    check_options,
    digests_for,
    needs_train,
    plan_detector,
)
from bench.evaluation.planned import PlannedCell
from bench.evaluation.remote_store import written_store
from bench.evaluation.results import Cell
from bench.evaluation.sets import chosen_sets, unusable_sets
from bench.evaluation.spending import Evidence
from bench.evaluation.store import CellStore, MemoryStore
from bench.evaluation.store_places import store_place
from bench.evaluation.workbench import Given
from bench.threat_models.base import Threat


def evaluate(
    detector: str | nn.Module | Callable[..., Any],
    threat: str | ThreatCard | Threat = "pgd-l2",
    track: str | TrackCard | Track = "digits",
    *,
    network: str | nn.Module | None = None,
    eps: float | str | Iterable[float | str] | None = None,
    side: Side | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    early_stop: bool = True,
    evidence: bool = True,
    tolerance: float = 0.001,
    audit: float = 0.1,
    precision: Precision | str = Precision.FLOAT32,
    compile_copy: bool = False,
    nested: bool = False,
    micro_batch: int | None = None,
    goal: Goal | str = Goal.MISCLASSIFY,
    loss: Loss | str | None = None,
    ood: str | Iterable[str] | None = None,
    without: str | Iterable[str] | None = None,
    device: str = "auto",
    store: Path | str | None = None,
    workspace: Path | str | None = None,
    data_dir: Path | str | None = None,
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
        track: A catalog name, a card, or a `Track`, as `bench.make_track` makes one of arrays or datasets.
        network: What a score such as "energy" or "knn" stands on, in place of the track's own: a name, or a module that
            is made already, from (N, C, H, W) images in [0, 1] to (N, K) logits, of which a copy is taken.
        eps: Radii, as `bench run --eps` takes them; None for those of the threat's card.
        side: The attacked side: "evade", "alarm", "both", "fool" or "between"; None for the threat's own.
        limit: The most images of a set; None for the track's own limit.
        seed: Of the attack's random numbers.
        early_stop: Stop an image's attack once no rank can change any more.
        evidence: Spend the whole budget on an audited share of the images, and on the others what that shows to be
            enough; False spends it on all.
        tolerance: How far the AUROC of a cheaper attack may lie from that of the full budget, by the audit; above 0
            and at most 0.1.
        audit: Share of the images of each set that are audited at most, at least 20 of them; above 0 and at most 1. A
            smaller sample is tried before.
        precision: The arithmetic of the first half of an attack's steps, on a copy that agrees with the detector:
            "float32" takes no copy; "tf32", "bf16", or "auto" for the fastest that the device declares to have.
        compile_copy: Compile that copy.
        nested: Let an attack by gradients at several radii go on from the best points of the next smaller one.
        micro_batch: The batch shape of scores and gradients; None for the detector's own.
        goal: On side "fool": "misclassify" or "misclassify-and-accept".
        loss: What directs gradients there: "ce", "margin" or "joint"; None for the one that fits the goal.
        ood: The track's OOD sets to take, as names or one text with commas; None for all of them.
        without: The OOD sets to leave out: the mean is that of the others, and the cells say so.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        store: A folder for the cells, or a URL such as "s3://bucket/prefix"; None keeps them in memory.
        workspace: A folder of cards; None for the nearest one upward.
        data_dir: Where data files lie; None for the default.
        progress: Hears of the cell at hand.
        params: Parameters over those of the threat's card, such as `steps=20`.

    Returns:
        The clean cell first, then one a radius, the smallest first where they are nested. `bench.evaluate` returns
        them as the `cells` of an `Evaluation`, which has their tables and figures.

    Raises:
        UsageError: A wrong name, radius or parameter, or missing data or weights.
        CellError: A cell could not be computed.
    """
    device, data_dir = device_of_name(device), None if data_dir is None else Path(data_dir)
    asked = _asked(
        detector, threat, track, network, parse_eps(eps), Catalog.find(None if workspace is None else Path(workspace))
    )
    options = RunOptions(
        seed,
        limit,
        as_side(side),
        params,
        early_stop,
        micro_batch,
        data_dir,
        as_choice(Goal, goal, "goal"),
        None if loss is None else as_choice(Loss, loss, "loss"),
        chosen_sets(ood, without),
        Evidence(tolerance, audit) if evidence else None,
        SearchPrecision(as_choice(Precision, precision, "precision"), compile_copy),
        nested,
    )
    planned = asked.planned(options)
    with back_on_its_device(detector), _opened(store) as kept:
        given = asked.given(device, data_dir)
        outcomes = run_plan(
            planned, kept, asked.catalog, device=device, data_dir=data_dir, progress=progress, given=given
        )
        return tuple(_cell(outcome, kept) for outcome in outcomes)


def _opened(store: Path | str | None) -> AbstractContextManager[CellStore]:
    if store is None:
        return nullcontext(MemoryStore())
    return written_store(store_place(store), said=lambda sentence: warnings.warn(sentence, stacklevel=2))


@dataclass(frozen=True)
class _Asked:
    """What is to be evaluated: as it was given, and the cards that it has or that stand for it."""

    catalog: Catalog
    detector: str | nn.Module | Callable[..., Any]
    threat: str | ThreatCard | Threat
    track: str | TrackCard | Track
    network: nn.Module | None
    choice: EpsChoice
    spec: DetectorSpec
    threat_card: ThreatCard
    track_card: TrackCard

    def planned(self, options: RunOptions) -> list[PlannedCell]:
        """The cells, the clean one first.

        Raises:
            UsageError: The request does not fit together, or data or weights are missing.
        """
        check_options(options, [self.threat_card])
        options.sets.check([self.track_card])
        # What is given as an object has no content that could be hashed for certain: a name used once stands for it.
        named = isinstance(self.detector, str) and self.network is None and not isinstance(self.threat, Threat)
        return plan_detector(
            self.catalog,
            self.spec,
            self.track_card,
            threats=[self.threat_card],
            choice=self.choice,
            options=options,
            digests=self._digests(options),
            weights=None if named else (uuid.uuid4().hex,),
        )

    def given(self, device: str, data_dir: Path | None) -> Given:
        """What was given as an object, by the names of the cells."""
        card, attacker = self.track_card, self.threat_card
        detectors = {}
        if self.network is not None:
            images = images_of(self.track, card, data_dir, self.catalog)
            detectors[self.spec.name] = on_network(self.spec, self.network, images, self.catalog, device)
        elif not isinstance(self.detector, str):
            detectors[self.spec.name] = as_detector(self.detector, card, device)
        threats = {attacker.name: self.threat} if isinstance(self.threat, Threat) else {}
        return Given(detectors, threats, {card.name: self.track} if isinstance(self.track, Track) else {})

    def _digests(self, options: RunOptions) -> dict[str, str]:
        card = options.sets.of(self.track_card)
        if isinstance(self.track, Track):
            return _own_digests(self.track, card, train=needs_train(self.spec))
        return digests_for(self.catalog, [self.spec], [self.threat_card], card, options.data_dir)


def _asked(
    detector: str | nn.Module | Callable[..., Any],
    threat: str | ThreatCard | Threat,
    track: str | TrackCard | Track,
    network: str | nn.Module | None,
    choice: EpsChoice,
    catalog: Catalog,
) -> _Asked:
    """The request with its cards.

    Raises:
        UsageError: Something is of a kind that cannot be evaluated, or a name or radius is wrong.
    """
    check_kinds(detector, threat, track)
    card = track.card if isinstance(track, Track) else track if isinstance(track, TrackCard) else catalog.track(track)
    attacker = catalog.threat(threat) if isinstance(threat, str) else threat_card(threat, choice)
    choice.check([attacker])
    if network is not None and not isinstance(detector, str):
        raise UsageError("network goes with the name of a score, such as 'energy'; a detector at hand has its own.")
    if isinstance(network, nn.Module):
        spec = score_spec(str(detector), network, card, catalog)
        return _Asked(catalog, detector, threat, track, network, choice, spec, attacker, card)
    if network is not None:
        detector = f"{detector}@{network}"
    spec = catalog.detector_spec(detector, card.name) if isinstance(detector, str) else object_spec(detector, card)
    return _Asked(catalog, detector, threat, track, None, choice, spec, attacker, card)


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


def _set_names(card: TrackCard, *, train: bool) -> list[str]:
    return ["test", "calibration", *card.ood, *(["train"] if train else [])]
