"""What stands behind the figures: cards as they are in force, environment and hashes."""

from collections.abc import Iterable
from dataclasses import dataclass

import yaml
from pydantic import BaseModel

from bench.errors import BenchError
from bench.evaluation.keys import Cards, threat_hash, track_hash
from bench.evaluation.results import CellMeta
from bench.report.conditions import budget_of
from bench.report.html.scores import label_of


@dataclass(frozen=True)
class CardText:
    """A card as YAML, and whether it is still what the cells were computed with."""

    title: str
    text: str
    note: str


@dataclass(frozen=True)
class Provenance:
    """Where one cell comes from: names and values."""

    title: str
    facts: tuple[tuple[str, str], ...]


def cards_of(metas: Iterable[CellMeta], cards: Cards) -> list[CardText]:
    """The cards that the cells name, each once: tracks, detectors, threats."""
    every = list(metas)
    found: dict[tuple[str, str, str], CardText] = {}
    for meta in every:
        place = ("track", meta.track, meta.track_hash)
        found.setdefault(place, _track(meta, cards))
    for meta in every:
        found.setdefault(("detector", f"{meta.detector} on {meta.track}", meta.detector_hash), _detector(meta, cards))
    for meta in every:
        place = ("threat", meta.threat, meta.threat_hash)
        found.setdefault(place, _threat(meta, cards))
    return [found[place] for kind in ("track", "detector", "threat") for place in sorted(found) if place[0] == kind]


def provenance_of(meta: CellMeta) -> Provenance:
    """Every hash, version and setting of one cell."""
    facts = {
        "key of the cell": meta.key,
        "images": f"track {meta.track}, limit {meta.limit or 'none'}",
        "OOD sets left out": ", ".join(meta.without),
        "seed": meta.seed,
        "micro-batch": meta.micro_batch,
        "early stop": meta.early_stop,
        "device": meta.device,
        "budget": budget_of(meta),
        "settings of the threat": ", ".join(f"{name} {value}" for name, value in meta.threat_params.items()),
        "detector": meta.detector_hash,
        "weights": ", ".join(meta.weights_sha256),
        "threat": meta.threat_hash,
        "track": meta.track_hash,
        "code": meta.source_hash,
        "samples": meta.samples_sha256,
        "arrays": meta.arrays_sha256,
        "made from": ", ".join(meta.needs),
        "left out": "; ".join(f"{name}: {why}" for name, why in meta.left_out.items()),
        "failed": "; ".join(f"{name}: {why}" for name, why in meta.failed_needs.items()),
        "read": "; ".join(f"{name} from {form}" for name, form in meta.forms.items()),
        **{f"set {name}": digest for name, digest in meta.set_digests.items()},
        **{f"version of {name}": version for name, version in meta.versions.items()},
    }
    said = tuple((name, str(value)) for name, value in facts.items() if value not in ("", None))
    return Provenance(f"{label_of(meta)}, {meta.track}, side {meta.side}, seed {meta.seed}", said)


def _track(meta: CellMeta, cards: Cards) -> CardText:
    title = f"track {meta.track}"
    try:
        card = cards.track(meta.track)
    except BenchError as error:
        return _absent(title, error)
    return _card(title, card, same=track_hash(card) == meta.track_hash)


def _detector(meta: CellMeta, cards: Cards) -> CardText:
    title = f"detector {meta.detector} on {meta.track}"
    try:
        spec = cards.detector_spec(meta.detector, meta.track)
    except BenchError as error:
        return _absent(title, error)
    return _card(title, spec, same=spec.content_hash() == meta.detector_hash)


def _threat(meta: CellMeta, cards: Cards) -> CardText:
    title = f"threat {meta.threat}"
    try:
        card = cards.threat(meta.threat)
    except BenchError as error:
        return _absent(title, error)
    return _card(title, card, same=threat_hash(card, meta.threat_params) == meta.threat_hash)


def _card(title: str, card: BaseModel, *, same: bool) -> CardText:
    text = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=90)
    note = "" if same else "This card, or its settings, are not those that the cells were computed with."
    return CardText(title, text, note)


def _absent(title: str, error: BenchError) -> CardText:
    return CardText(title, "", f"No card is at hand: {error}")
