"""What cards may name as a recipe; torch is imported only to ask."""

import inspect
from typing import Any

from bench.cards.code.wanted import Wanted
from bench.lazy import lazily

with lazily():
    from bench.training import base


def _is_recipe(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, base.Recipe) and not inspect.isabstract(found)


RECIPE = Wanted(_is_recipe, "a subclass of bench.training.base.Recipe")
