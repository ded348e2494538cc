"""What cards may name as a source of images."""

import inspect
from typing import Any

from bench.cards.code.wanted import Wanted


def _is_source(found: Any) -> bool:
    """A function of the declared form, so that no function that happens to take two arguments is called."""
    if not inspect.isfunction(found):
        return False
    names = [name.lstrip("_") for name in list(inspect.signature(found).parameters)[:2]]
    return names == ["args", "data_dir"]


SOURCE = Wanted(_is_source, "a function (args, data_dir) -> RawImages")
