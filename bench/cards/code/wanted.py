"""What a place in a card asks for: the class or function that a name leads to is called, so nothing else is accepted.

Each room says beside its base class what is one of its own: `bench.detectors.wanted`, `bench.threat_models.wanted`,
`bench.training.wanted`, `bench.datasets.wanted`.
"""

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
