"""The sentence for a weights file that is not there; planning a run says it too, so nothing here imports torch."""

from typing import Protocol

from bench.cards.catalog import Kind
from bench.cards.detector import DetectorSpec
from bench.cards.network import NetworkCard, WeightsSpec
from bench.errors import BenchError, WeightsError


class Detectors(Protocol):
    """What is asked of the catalog."""

    def names(self, kind: Kind | str) -> list[str]:
        """The names of all cards of a kind."""

    def detector_spec(self, name: str, track: str) -> DetectorSpec:
        """A detector's settings on one track."""

    def network(self, name: str) -> NetworkCard:
        """The card of a network."""


def missing_weights(weights: WeightsSpec, spec: DetectorSpec, catalog: Detectors) -> WeightsError:
    """The error for a weights file of a detector, with the command that makes it.

    That is the training of whichever detector has the file as its last, or a conversion of a published checkpoint.
    """
    return WeightsError(
        f"weights '{weights.file}' of detector '{spec.name}' on track '{spec.track}' are missing; "
        f"{_way_to(weights, spec, catalog)} makes them."
    )


def _way_to(weights: WeightsSpec, spec: DetectorSpec, catalog: Detectors) -> str:
    source = f", with FILE from {weights.source}," if weights.source else ""
    for name in catalog.names(Kind.NETWORK):
        try:
            card = catalog.network(name)
        except BenchError:  # a broken card
            continue
        if weights.file in [part.file for part in card.weights]:
            if card.training is not None and card.weights[-1].file == weights.file:
                return f"`bench train --network {name}`"
            return f"`bench convert FILE --network {name}`{source}"
    if spec.training is not None and spec.weights[-1].file == weights.file:
        return f"`bench train --detector {spec.name} --track {spec.track}`"
    for name in catalog.names(Kind.DETECTOR):
        try:
            other = catalog.detector_spec(name, spec.track)
        except BenchError:  # a card that is broken or has no such track
            continue
        if other.training is not None and other.weights and other.weights[-1].file == weights.file:
            return f"`bench train --detector {name} --track {spec.track}`"
    return f"`bench convert FILE --detector {spec.name} --track {spec.track}`{source}"
