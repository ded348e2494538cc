"""What cards may name as a detector, a network or a function to be scored by; torch is imported only to ask."""

import inspect
from typing import Any

from bench.cards.code.source_hash import is_own
from bench.cards.code.wanted import Wanted
from bench.lazy import lazily

with lazily():
    from torch import nn

    from bench.detectors import base


def _is_detector(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, base.Detector) and found.score is not base.Detector.score


def _is_network(found: Any) -> bool:
    """A module or a class of modules, or a function of somebody's own or that is declared to return one."""
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    if isinstance(found, nn.Module):
        return True
    if not inspect.isfunction(found):
        return False
    returned: Any = found.__annotations__.get("return")
    if isinstance(returned, str):  # annotations that are kept as text: a name in the function's own module
        returned = found.__globals__.get(returned.strip("'\""))
    if isinstance(returned, type):
        return issubclass(returned, nn.Module)
    return returned is None and is_own(found.__module__)


def _is_scorer(found: Any) -> bool:
    """A function of somebody's own, or an object made already that can be called; never a class."""
    return callable(found) and not isinstance(found, type) and not inspect.isbuiltin(found)


DETECTOR = Wanted(_is_detector, "a subclass of bench.detectors.base.Detector")
NETWORK = Wanted(
    _is_network,
    "an nn.Module, a subclass of it, or a function that is your own or declared to return one (-> nn.Module)",
)
SCORER = Wanted(_is_scorer, "a function, or an nn.Module that is made already", needs_bench=False)
