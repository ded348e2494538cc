"""What an attack spends on an image where nothing stops it early, told before it runs."""

from dataclasses import dataclass

from bench.cards.threat import Side


@dataclass(frozen=True)
class Case:
    """What the cost of an attack may depend on beside its parameters.

    Attributes:
        side: Which images are attacked.
        shape: (C, H, W).
        classes: Of the track.
        images: How many are attacked.
        sources: Of a transfer attack, how many detectors its images come from.
    """

    side: Side
    shape: tuple[int, ...]
    classes: int
    images: int
    sources: int = 0


@dataclass(frozen=True)
class Cost:
    """At most so much for one image, as `AttackResult` counts it.

    Attributes:
        gradients: Scores with their gradient.
        queries: Scores without one.
    """

    gradients: float
    queries: float


def ascent_cost(steps: int, restarts: int, case: Case) -> Cost:
    """Of `bench.threat_models.ascent`: at most one query tells at which classes restarts aim."""
    aims = int(restarts > 1 and case.side is not Side.FOOL)
    return Cost(steps * restarts, 1 + aims + restarts)
