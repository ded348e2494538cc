"""The class of a method's parameters, as the annotation of its `params` names it."""

import inspect
import sys
from typing import Any

from pydantic import BaseModel


def annotated_params(method: type, base: type[BaseModel]) -> Any:
    """The subclass of `base` with which a class itself annotates `params`; None where there is no such annotation.

    Args:
        method: The class of a detector or a threat.
        base: Of the parameters of its kind.
    """
    try:
        found = inspect.get_annotations(method).get("params")
    except NameError:  # of another annotation, which names what only a type checker imports
        return None
    if isinstance(found, str):  # annotations that are kept as text
        found = getattr(sys.modules.get(method.__module__), found, None)
    return found if isinstance(found, type) and issubclass(found, base) else None
