"""The cells of today that are those of a baseline: found among stored ones, or planned to be computed again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cards.detector_names import ADAPTERS
from bench.cards.threat import Goal
from bench.cards.track import TrackCard
from bench.errors import UsageError
from bench.evaluation.keys import Cards, track_hash
from bench.evaluation.plan import CLEAN, PlannedCell, plan
from bench.evaluation.results import Cell
from bench.evaluation.sets import ALL_SETS, SetChoice
from bench.evaluation.spending import Evidence
from bench.leaderboards.baseline import BaselineCell, Identity
from bench.leaderboards.recording import ambiguous, recorded_cells, without_members


@dataclass(frozen=True)
class Replay:
    """What has to be computed to stand beside a baseline.

    Attributes:
        planned: Every cell once, those that others need first.
        keys: Which of them stands beside which cell of the baseline.
        reasons: Why there is none, for those that cannot be planned.
    """

    planned: list[PlannedCell] = field(default_factory=list)
    keys: dict[Identity, str] = field(default_factory=dict)
    reasons: dict[Identity, str] = field(default_factory=dict)


def replay(cells: Iterable[BaselineCell], cards: Cards, *, data_dir: Path | None = None) -> Replay:
    """Plan the cells of a baseline with the cards as they are now.

    A parameter that was asked for over that of a card is asked for again; any other is that of the card now. A
    detector that is a program or a function without a card is not run because a file names it.

    Args:
        cells: Of the baseline.
        cards: Where names become cards.
        data_dir: Where data files lie; None for the default.
    """
    found, planned = Replay(), dict[str, PlannedCell]()
    for cell in cells:
        own = cell.identity
        try:
            _check_has_card(own.detector)
            chosen = _planned(cell, cards, data_dir)
        except UsageError as error:
            found.reasons[own] = str(error).rstrip(".")
            continue
        planned |= {one.key: one for one in chosen}
        found.keys[own] = chosen[-1].key
    found.planned.extend(planned.values())
    return found


def of_today(cells: Iterable[Cell], cards: Cards, *, data_dir: Path | None = None) -> list[Cell]:
    """The cells of a run; where it holds several states of one, only that which cards and code give as they are now.

    Members of worst cases that have a namesake which was asked for are left out. Where several states differ in
    parameters alone, nothing says which is meant, and all of them stay.

    Args:
        cells: Of the run.
        cards: As they are now.
        data_dir: Where data files lie; None for the default.
    """
    asked = without_members(list(cells))
    recorded = {cell.meta.key: recorded_cells(cell, cards) for cell in asked}
    states: dict[Identity, list[str]] = {}
    for key, parts in recorded.items():
        for part in parts:
            states.setdefault(part.identity, []).append(key)
    stale: set[str] = set()
    for identity, keys in states.items():
        if len(keys) > 1:
            own = {key: next(part for part in recorded[key] if part.identity == identity) for key in keys}
            old = {k for k, part in own.items() if replay([part], cards, data_dir=data_dir).keys.get(identity) != k}
            stale |= old if len(old) < len(keys) else set()
    return [cell for cell in asked if cell.meta.key not in stale]


def current_cells(cells: Sequence[Cell], before: Sequence[BaselineCell]) -> dict[Identity, BaselineCell]:
    """The cells of a run that are those of a baseline, as a baseline would hold them.

    Args:
        cells: Of the run.
        before: The baseline's.

    Raises:
        UsageError: The run holds several states of one of them, and nothing says which is today's.
    """
    wanted = {cell.identity for cell in before}
    names = {(own.track, own.detector, own.threat) for own in wanted}
    candidates = [cell for cell in cells if (cell.meta.track, cell.meta.detector, cell.meta.threat) in names]
    found: dict[Identity, list[BaselineCell]] = {}
    for cell in candidates:
        for part in recorded_cells(cell):
            if part.identity in wanted:
                found.setdefault(part.identity, []).append(part)
    for identity, several in found.items():
        if len(several) > 1:
            raise ambiguous(identity, len(several))
    return {identity: several[0] for identity, several in found.items()}


def missing_reasons(cells: Sequence[Cell], before: Sequence[BaselineCell]) -> dict[Identity, str]:
    """Why a run has no cell beside one of a baseline: which seed, limit, radius or side it holds instead.

    Args:
        cells: Of the run.
        before: The baseline's.
    """
    held = [part.identity for cell in cells for part in recorded_cells(cell)]
    reasons = {}
    for own in (cell.identity for cell in before):
        alike = [other for other in held if _plain_name(other) == _plain_name(own)]
        if own in alike or not alike:
            continue
        nearest = min(alike, key=lambda other: len(_unlike(own, other)))
        asked, there = zip(*_unlike(own, nearest), strict=True)
        reasons[own] = f"the run holds it with {', '.join(there)}, and the baseline with {', '.join(asked)}"
    return reasons


def _plain_name(identity: Identity) -> tuple[str, str, str]:
    return identity.track, identity.detector, identity.threat


def _unlike(own: Identity, other: Identity) -> list[tuple[str, str]]:
    """(field and value of the one, of the other) for every field in which they differ."""
    pairs = zip(own.model_dump().items(), other.model_dump().values(), strict=True)
    return [(f"{name} {_shown(a)}", f"{name} {_shown(b)}") for (name, a), b in pairs if a != b]


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _planned(cell: BaselineCell, cards: Cards, data_dir: Path | None) -> list[PlannedCell]:
    """The clean cell and, behind it, the attack, where it is one."""
    own, known = cell.identity, cell.provenance.evidence
    radii = cell.request.radii or ((own.eps,) if own.eps is not None else ())
    return plan(
        cards,
        [own.detector],
        [own.threat],
        [f"{own.norm}:{eps!r}" for eps in radii] if own.norm is not None and radii else None,
        [own.track],
        seed=own.seed,
        limit=own.limit,
        side=None if own.threat == CLEAN else own.side,
        overrides=cell.request.overrides,
        early_stop=cell.provenance.early_stop,
        data_dir=data_dir,
        evidence=None if known is None else Evidence(known.tolerance, known.audit),
        goal=own.goal or Goal.MISCLASSIFY,
        loss=cell.request.loss,
        sets=_sets(cell, cards.track(own.track)),
    )


def _sets(cell: BaselineCell, card: TrackCard) -> SetChoice:
    """The OOD sets that a cell was about, where the track's card is still the same; else all that it has now."""
    names = tuple(name for name in card.ood if name in cell.provenance.set_digests)
    some = 0 < len(names) < len(card.ood) and cell.provenance.track_hash == track_hash(card)
    return SetChoice(only=names) if some else ALL_SETS


def _check_has_card(detector: str) -> None:
    adapter = ADAPTERS.get(detector.partition(":")[0]) if ":" in detector else None
    if adapter is not None and not adapter.wraps_classifier:
        raise UsageError(
            f"'{detector}' is a program without a card; compute it with `bench run` and give its folder (--run)"
        )
