"""The cards of threats that ship, with their threats as the cards set them."""

import importlib
from pathlib import Path

import yaml

from bench.cards.threat import ThreatCard
from bench.threat_models.base import Threat

FOLDER = Path(__file__).parents[2] / "threat_models"


def shipped(name: str) -> tuple[ThreatCard, Threat]:
    """A card, and its threat with the card's parameters."""
    card = ThreatCard.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    assert card.method is not None
    module, _, attribute = card.method.partition(":")
    method = getattr(importlib.import_module(module), attribute)
    return card, method(method.Params(**card.params))
