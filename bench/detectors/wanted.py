"""What cards may name as a detector, a network or a function to be scored by; torch is imported only to ask."""

import inspect
from typing import Any

from bench.cards.code.wanted import Wanted


def _is_detector(found: Any) -> bool:
    from bench.detectors.base import Detector

    return isinstance(found, type) and issubclass(found, Detector) and found.score is not Detector.score


def _is_network(found: Any) -> bool:
    """A subclass of `Network`, or a function that is declared to return one."""
    from bench.detectors.networks.base import Network

    if isinstance(found, type):
        return issubclass(found, Network)
    if not inspect.isfunction(found):
        return False
    returned: Any = found.__annotations__.get("return")
    if isinstance(returned, str):  # annotations that are kept as text: a name in the function's own module
        returned = found.__globals__.get(returned.strip("'\""))
    return isinstance(returned, type) and issubclass(returned, Network)


def _is_scorer(found: Any) -> bool:
    """A function of somebody's own, or an object made already that can be called; never a class."""
    return callable(found) and not isinstance(found, type) and not inspect.isbuiltin(found)


DETECTOR = Wanted(_is_detector, "a subclass of bench.detectors.base.Detector")
NETWORK = Wanted(
    _is_network,
    "a subclass of bench.detectors.networks.base.Network, or a function declared to return one (-> Network)",
)
SCORER = Wanted(_is_scorer, "a function, or an nn.Module that is made already", needs_bench=False)
