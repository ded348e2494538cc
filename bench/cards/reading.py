"""A card from a file: its text read safely, its fields checked."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.cards.documents import Document, read_document
from bench.cards.errors import describe
from bench.errors import CardError, reading, shorten

Model = TypeVar("Model", bound=BaseModel)


def read_card(path: Path, model: type[Model]) -> Model:
    """The card in a file.

    Raises:
        CardError: The file is no safe YAML, or its content no such card; one line an error.
    """
    return card_from(read_document(path), model)


def card_from(document: Document, model: type[Model]) -> Model:
    """The card in a document that was read already.

    Numbers of a list `eps`, and the `eps` of attacks in a `suite`, may be written as fractions: `8/255`.

    Raises:
        CardError: The content is no such card; one line an error.
    """
    with reading(f"card {shorten(document.path)}", CardError):
        content = {key: _with_numbers(key, value) for key, value in document.content.items()}
        try:
            return model.model_validate(content)
        except ValidationError as error:
            raise CardError("\n".join(describe(error, model, document))) from error


def _with_numbers(key: str, value: Any) -> Any:
    if key == "suite" and isinstance(value, list):
        return [
            {name: _with_numbers(name, part) for name, part in attack.items()} if isinstance(attack, dict) else attack
            for attack in value
        ]
    return _fractions(value) if key == "eps" else value


def _fractions(value: Any) -> Any:
    """Numbers for texts such as `8/255`; anything else as it is, for the card's own check to judge."""
    if isinstance(value, list):
        return [_fractions(item) for item in value]
    if isinstance(value, str) and len(value) <= 40:
        top, slash, bottom = value.partition("/")
        try:
            return float(top) / float(bottom) if slash else value
        except (ValueError, ZeroDivisionError):
            return value
    return value
