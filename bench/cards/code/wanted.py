"""What a card may name, by kind: the class or function that it leads to is called, so nothing else is accepted."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wanted:
    """One kind of thing that cards name.

    Attributes:
        fits: Whether an imported object is one.
        sentence: What is allowed, as errors say it.
        needs_bench: Its module, or that of a base class, must import `bench`.
    """

    fits: Callable[[Any], bool]
    sentence: str
    needs_bench: bool = True


def _is_detector(found: Any) -> bool:
    from bench.detectors.base import Detector

    return isinstance(found, type) and issubclass(found, Detector) and found.score is not Detector.score


def _is_threat(found: Any) -> bool:
    from bench.threat_models.base import Threat

    return isinstance(found, type) and issubclass(found, Threat) and not inspect.isabstract(found)


def _is_recipe(found: Any) -> bool:
    from bench.training.base import Recipe

    return isinstance(found, type) and issubclass(found, Recipe) and not inspect.isabstract(found)


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


def _is_source(found: Any) -> bool:
    """A function of the declared form, so that no function that happens to take two arguments is called."""
    if not inspect.isfunction(found):
        return False
    names = [name.lstrip("_") for name in list(inspect.signature(found).parameters)[:2]]
    return names == ["args", "data_dir"]


def _is_scorer(found: Any) -> bool:
    """A function of somebody's own, or an object made already that can be called; never a class."""
    return callable(found) and not isinstance(found, type) and not inspect.isbuiltin(found)


DETECTOR = Wanted(_is_detector, "a subclass of bench.detectors.base.Detector")
THREAT = Wanted(_is_threat, "a subclass of bench.threat_models.base.Threat")
RECIPE = Wanted(_is_recipe, "a subclass of bench.training.base.Recipe")
NETWORK = Wanted(
    _is_network,
    "a subclass of bench.detectors.networks.base.Network, or a function declared to return one (-> Network)",
)
SOURCE = Wanted(_is_source, "a function (args, data_dir) -> RawImages")
SCORER = Wanted(_is_scorer, "a function, or an nn.Module that is made already", needs_bench=False)
