"""What is wrong with a card, one sentence a field: file, line, field, what was given and what is allowed."""

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bench.cards.documents import Document, Location
from bench.errors import shorten

# What the patterns of cards ask for, in words.
PATTERNS = {
    r"^[a-z0-9][a-z0-9-]{0,63}$": "a name of 1 to 64 lower-case letters, digits and '-'",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "package.module:attribute",
    r"^((torchvision|timm|hf|file):[^\x00-\x1f]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$": (
        "package.module:attribute, torchvision:NAME, timm:NAME, hf:ORG/NAME or file:PATH"
    ),
    r"^[0-9a-f]{64}$": "64 hex digits (0-9, a-f)",
    r"^https?://\S+$": "an address that starts with http:// or https://",
}

_WORDS = {
    "missing": "a value",
    "string_type": "text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "'field: value' lines",
    "model_type": "'field: value' lines",
    "model_attributes_type": "'field: value' lines",
}


_LENGTHS = {
    "too_short": "{given} of {min_length} or more",
    "too_long": "{given} of {max_length} or fewer",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
}


def describe(
    error: ValidationError, model: type[BaseModel], document: Document, within: Iterable[Location] = ((),)
) -> list[str]:
    """One sentence for every field that is wrong.

    Args:
        error: What pydantic found.
        model: The model that was asked for.
        document: The file, for its lines.
        within: Where in the file the model's content may lie; the first place that has the field is named.
    """
    places = list(within)
    found: dict[tuple[Location, bool], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        inside = _best_place(detail["loc"], places, document)
        location = document.known((*inside, *detail["loc"]))
        if detail["type"] in ("missing", "extra_forbidden"):
            location = (*inside, *detail["loc"])
        found.setdefault((location, detail["type"] == "missing"), []).append(
            detail
        )  # the arms of a union are one error
    by_line = sorted(found.items(), key=lambda item: document.line(item[0][0]))
    return [_sentence(location, details, model, document) for (location, _), details in by_line]


def _best_place(loc: Location, places: list[Location], document: Document) -> Location:
    def is_there(place: Location) -> bool:
        return len(document.known((*place, *loc))) > len(place)

    return next((place for place in places if is_there(place)), places[-1])


def _sentence(location: Location, details: list[ErrorDetails], model: type[BaseModel], document: Document) -> str:
    detail = details[0]
    field = ".".join(map(str, location))
    place = document.place(location)
    if detail["type"] == "missing":
        return f"{place}: field '{field}' is missing; add it to the card."
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(known) or 'none'}; remove or rename it."
        return f"{place}: unknown field {_quoted(field)}; {hint}"
    allowed = " or ".join(dict.fromkeys(_allowed(each) for each in details))
    if detail["type"] == "value_error" and not location:
        return f"{place}: {allowed}; fix the card."
    given = shorten(detail["input"])
    return f"{place}: field {_quoted(field)}: given {given}, allowed: {allowed}; fix the card."


def _quoted(field: str) -> str:
    return shorten(field, 160)


def _allowed(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx") or {}
    kind = detail["type"]
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind in ("enum", "literal_error"):
        return f"one of {context['expected']}"
    if kind == "value_error":
        return str(context["error"]).removeprefix("must be ")
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _LENGTHS:
        given = "'field: value' lines" if isinstance(detail["input"], dict) else "a list"
        return _LENGTHS[kind].format(given=given, **context)
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _fields_at(model: type[BaseModel], loc: Location) -> list[str]:
    """The names of the fields that a part of a card may have."""
    here: Any = model
    for step in loc:
        inner = here.model_fields[step].annotation if _is_model(here) and step in here.model_fields else None
        here = _model_inside(inner if inner is not None else here)
    return sorted(here.model_fields) if _is_model(here) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _model_inside(kind: Any) -> Any:
    """The model in `Model | None`, `dict[str, Model]` or `tuple[Model, ...]`."""
    if _is_model(kind):
        return kind
    if get_origin(kind) in (Union, types.UnionType, dict, tuple, list, Annotated):
        return next((found for found in map(_model_inside, get_args(kind)) if found is not None), None)
    return None


def first_problem(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong, in a clause: `count is not allowed (Input should be greater than 0)`.

    Args:
        error: What pydantic found.
        whole: What is wrong where no field is.
    """
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole} is not allowed ({first['msg']})"
