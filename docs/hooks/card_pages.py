"""The pages of the built-in cards: what each says, and what the code that it names says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from card_fields import default_words
from explained import attributes, comments, text_of
from pydantic import BaseModel
from writing import code, page, plain, prose, table, value

from bench.cards.base import Card, Paper
from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import import_method
from bench.cards.detector import DetectorCard, DetectorOnTrack, VariantSpec
from bench.cards.threat import ThreatCard
from bench.cards.track import SetSpec, TrackCard

_MADE = "This page is made from the cards, and from the code that they name, when the site is built."


def detectors_page() -> str:
    """One section a detector."""
    lines = [
        "# Detector cards",
        "",
        f"What they score and how they compare: [detectors](../detectors.md). {_MADE} Detectors whose name begins with "
        "`control-` are broken, or certified, on purpose: they test the harness.",
    ]
    for card in cards(Kind.DETECTOR):
        assert isinstance(card, DetectorCard)
        lines += _detector(card)
    return page(lines)


def threats_page() -> str:
    """One section a threat."""
    lines = [
        "# Threat cards",
        "",
        f"What they do and how strong they are: [threats](../threats.md). {_MADE} `--eps`, `--steps`, `--restarts` and "
        "`--step-size` take the place of what a card says.",
    ]
    for card in cards(Kind.THREAT):
        assert isinstance(card, ThreatCard)
        lines += _threat(card)
    return page(lines)


def tracks_page() -> str:
    """One section a track."""
    lines = ["# Track cards", "", f"{_MADE} `bench data check` says which files a track needs and where they belong."]
    for card in cards(Kind.TRACK):
        assert isinstance(card, TrackCard)
        lines += _track(card)
    return page(lines)


def cards(kind: Kind) -> Iterator[Card]:
    """The built-in cards of a kind, by name."""
    catalog = Catalog()
    return (catalog.read(kind, catalog.where(kind, name)) for name in catalog.names(kind))


def _detector(card: DetectorCard) -> list[str]:
    method = import_method(card.method)
    info = method.info
    needs = [
        *(["a classifier"] if info.classifier else []),
        *(["training outliers"] if info.outliers else []),
        *(["random numbers"] if info.random else []),
    ]
    facts = {
        "paper": _paper(card.paper),
        "code": code(card.method),
        "version": str(card.version),
        "needs": ", ".join(needs) or "nothing else",
        "gradient": _gradient(info),
        "components": ", ".join(map(code, info.components)) or "one",
        "extra data": plain(card.extra_data),
        "tuned on": plain(card.tuned_on),
        "thresholds": _thresholds(card.thresholds),
    }
    lines = [*_opening(card), *_facts(card, facts), *_told(method), *_parameters(method.Params, card.params)]
    lines += ["", "Tracks:", *_settings(card.tracks)] if card.tracks else []
    for name, variant in card.variants.items():
        lines += _variant(f"{card.name}.{name}", variant)
    return lines


def _variant(name: str, variant: VariantSpec) -> list[str]:
    lines = ["", f"### {name}", "", plain(variant.summary), ""]
    if variant.params:
        lines += ["", f"Parameters: {value(variant.params)}.", ""]
    if variant.thresholds is not None:
        lines += ["", f"Thresholds: {_thresholds(variant.thresholds)}.", ""]
    return lines + (_settings(variant.tracks) if variant.tracks else ["", "Tracks: those of the card.", ""])


def _settings(tracks: Mapping[str, DetectorOnTrack]) -> list[str]:
    rows = []
    for track, here in tracks.items():
        recorded = here.recorded
        rows.append((
            code(track),
            code(here.network.method.rpartition(":")[2]) if here.network else "none",
            ", ".join(code(weights.file) for weights in here.weights) or "none",
            code(here.training.recipe) if here.training else "none",
            "-" if recorded.clean_auroc is None else f"{recorded.clean_auroc:.4f}",
            "-" if recorded.id_accuracy is None else f"{recorded.id_accuracy:.4f}",
            value(here.params) if here.params else "-",
        ))  # fmt: skip
    header = ("track", "network", "weights", "recipe", "clean AUROC", "ID accuracy", "own parameters")
    return table(header, rows)


def _threat(card: ThreatCard) -> list[str]:
    facts = {
        "paper": _paper(card.paper),
        "code": code(card.method) if card.method else "the worst case over other threats",
        "version": str(card.version),
        "sides": ", ".join(code(side) for side in card.sides),
        "norm": code(card.norm) if card.norm else "none",
        "eps": ", ".join(f"{eps:.4g}" for eps in card.eps) or "none: only the box [0, 1] binds".replace("[", "\\["),
        "knowledge": code(card.knowledge),
        "looks for": "the nearest image that does it" if card.min_norm else "the best image in the ball",
    }
    if card.norm is None:
        del facts["looks for"]
    if card.misses is not None:
        facts["leaves out"] = plain(card.misses)
    lines = [*_opening(card), *_facts(card, facts)]
    if card.source is not None:
        of = ", ".join(map(code, card.source.detectors))
        over = f" with {value(card.source.params)}" if card.source.params else ""
        lines += ["", f"Its images are those of {_link(card.source.threat)}{over} on {of}.", ""]
    if card.members:
        rows = [(code(side), ", ".join(map(_link, names))) for side, names in card.members.items()]
        return lines + table(("side", "members"), rows)
    assert card.method is not None
    method = import_method(card.method)
    return [*lines, *_told(method), *_parameters(method.Params, card.params)]


def _track(card: TrackCard) -> list[str]:
    suite = ", ".join(f"`{entry.threat}` at {entry.eps:.4g}" for entry in card.suite)
    facts = {
        "version": str(card.version),
        "shape": "x".join(map(str, card.shape)),
        "classes": str(card.classes),
        "images of a set": "all" if card.default_limit is None else f"{card.default_limit:,} without `--limit`",
        "suite of its leaderboard": suite or "none",
        "sets that its rows leave out": ", ".join(card.suite_without) or "none",
        "images of a set in a row": "all" if card.row_limit is None else f"{card.row_limit:,}",
    }
    sets: list[tuple[str, SetSpec, str, str]] = [
        ("train", card.train, "training", ""),
        ("calibration", card.calibration, "thresholds, and images for attackers", ""),
        ("test", card.test, "ID test images", ""),
    ]
    for name, spec in card.ood.items():
        sets.append((name, spec, f"OOD, {spec.kind}, {'in' if spec.counts else 'not in'} the mean", spec.note))
    sets += [(f"outliers {i + 1}", spec, "training outliers", "") for i, spec in enumerate(card.outliers)]
    rows = [(code(name), " or ".join(code(form.source) for form in s.forms),
             " or ".join(value(form.args) if form.args else "-" for form in s.forms), used, plain(note))
            for name, s, used, note in sets]  # fmt: skip
    return [*_opening(card), *_facts(card, facts), *table(("set", "source", "arguments", "used for", "note"), rows)]


def _opening(card: DetectorCard | ThreatCard | TrackCard) -> list[str]:
    return ["", f"## {card.name}", "", plain(card.summary), ""]


def _facts(card: Card, facts: Mapping[str, str]) -> list[str]:
    return table(("hash", code(card.content_hash()[:16])), [(f"**{name}**", words) for name, words in facts.items()])


def _told(method: type) -> list[str]:
    """The docstring of the code that a card names, folded where it is long."""
    first, *more = [prose(text) for text in text_of(method)] or [""]
    folded = ["", f'??? note "What the code says of `{method.__name__}`"', ""]
    return ["", first, "", *folded, *(f"    {text}\n" for text in more)] if more else ["", first, ""]


def _parameters(model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """Each parameter with the card's value, or else the code's own."""
    if not model.model_fields:
        return ["", "No parameters.", ""]
    told = {**comments(model), **attributes(model)}
    rows: list[Sequence[str]] = []
    for name, field in model.model_fields.items():
        own = "required" if field.is_required() else default_words(field.default)
        rows.append((code(name), value(given[name]) if name in given else own, own, prose(told.get(name, ""))))
    return ["", *(f"{prose(text)}\n" for text in text_of(model)),
            *table(("parameter", "in this card", "default", "what it is"), rows)]  # fmt: skip


def _gradient(info: Any) -> str:
    if not info.differentiable:
        return "none"
    told = [info.approximate_gradient and f"approximate: {plain(info.approximate_gradient)}",
            info.jumps and f"the score jumps {plain(info.jumps)}"]  # fmt: skip
    return "; ".join(filter(None, told)) or "yes"


def _thresholds(spec: Any) -> str:
    words = f"accept 95 % of clean {spec.source} images"
    words += ", one for each class" if spec.per_class else ""
    if spec.percentiles:
        at = ", ".join(f"{p:g}" for p in spec.percentiles)
        words += f"; of each class also at percentile {at}"
    return words


def _paper(paper: Paper | None) -> str:
    if paper is None:
        return "none"
    title = plain(paper.title)
    return f"{plain(paper.authors)} ({paper.year}), {f'[{title}]({paper.url})' if paper.url else title}"


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"
