"""What cards may name as a threat; torch is imported only to ask."""

import inspect
from typing import Any

from bench.cards.code.wanted import Wanted
from bench.lazy import lazily

with lazily():
    from bench.threat_models import base


def _is_threat(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, base.Threat) and not inspect.isabstract(found)


THREAT = Wanted(_is_threat, "a subclass of bench.threat_models.base.Threat")
