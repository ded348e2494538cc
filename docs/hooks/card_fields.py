"""The pages of fields: what may stand in a card, and what stands in a row."""

from collections.abc import Iterable, Mapping
from typing import Any

from explained import comments, fields, text_of
from pydantic import BaseModel
from schema_words import allowed
from writing import code, page, prose, table, value

from bench.cards.detector import DetectorCard, ThresholdSource
from bench.cards.network import NetworkCard
from bench.cards.threat import Goal, Knowledge, Norm, Side, ThreatCard
from bench.cards.track import SetKind, TrackCard
from bench.leaderboards.baseline import Baseline
from bench.leaderboards.records import VerifiedRecord
from bench.leaderboards.row import Row

FILES = (Row, VerifiedRecord, Baseline)
CARDS = (TrackCard, NetworkCard, DetectorCard, ThreatCard)
ENUMERATIONS = (Side, Goal, Norm, Knowledge, SetKind, ThresholdSource)


def cards_page() -> str:
    """Every field of the four kinds of card, and of their parts."""
    lines = [
        "# Fields of cards",
        "",
        "A card is a YAML file `NAME.yaml` in `datasets/`, `detectors/networks/`, `detectors/` or `threat_models/` of "
        "a workspace. Unknown fields and duplicate keys are errors; `bench validate FILE` says what is wrong with a "
        "card, `bench show NAME` prints one with every default written out. This page is made from `bench/cards/` "
        "when the site is built.",
    ]
    for card in CARDS:
        lines += model_section(card, depth=2)
    lines += ["", "## Parts of cards"]
    for part in sorted(parts_of(CARDS) - set(CARDS), key=lambda each: each.__name__):
        lines += model_section(part, depth=3)
    lines += ["", "## Words"]
    for words in ENUMERATIONS:
        told = comments(words)
        lines += ["", f"### {words.__name__}", "", *(f"{prose(text)}\n" for text in text_of(words)), ""]
        lines += [f"- {code(member)}{f': {prose(told[name])}' if name in told else ''}" for name, member in
                  words.__members__.items()]  # fmt: skip
    return page(lines)


def row_page() -> str:
    """Every field of a row of the leaderboard, of what a verifier found of one, and of a baseline."""
    lines = [
        "# Fields of a row",
        "",
        "A row of the leaderboard, the record of its verification and a baseline are JSON files; unknown fields are "
        "errors. The schemas of rows and baselines are published as [row.schema.json](row.schema.json) and "
        "[baseline.schema.json](baseline.schema.json). This page is made from the code when the site is built.",
    ]
    for model in FILES:
        lines += model_section(model, depth=2)
    lines += ["", "## Parts"]
    for part in sorted(parts_of(FILES) - set(FILES), key=lambda each: each.__name__):
        lines += model_section(part, depth=3)
    return page(lines)


def model_section(model: type[BaseModel], *, depth: int) -> list[str]:
    """A heading, what the model is, and a table of its fields."""
    lines = ["", f"{'#' * depth} {model.__name__}", "", *(f"{prose(text)}\n" for text in text_of(model))]
    return lines + fields_table(model, ("field", "what it may hold", "default", "what it is"))


def fields_table(model: type[BaseModel], header: tuple[str, str, str, str]) -> list[str]:
    """One line a field: its name, what it may hold, its default, and what it is."""
    schema = model.model_json_schema()
    parts: Mapping[str, Any] = schema.get("$defs", {})
    told = fields(model)
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else default_words(field.get_default(call_default_factory=True))
        may = allowed(schema["properties"][name], parts)
        rows.append((code(name), may, default, prose(told.get(name, ""))))
    return table(header, rows)


def parts_of(models: Iterable[type[BaseModel]]) -> set[type[BaseModel]]:
    """These models and all that their fields are made of."""
    found: set[type[BaseModel]] = set()
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model not in found:
            found.add(model)
            waiting += [each for field in model.model_fields.values() for each in _models_in(field.annotation)]
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in getattr(annotation, "__args__", ()) for each in _models_in(part)]


def default_words(content: Any) -> str:
    """A default value as Markdown."""
    if content in (None, "", (), {}):
        return "nothing"
    if isinstance(content, BaseModel):
        return "its own defaults"
    if isinstance(content, tuple):
        content = [str(part) if isinstance(part, str) else part for part in content]
    return value(str(content) if isinstance(content, str) else content)
