"""Whether the card of a network can be used: what makes it, its steps from pixels, its layers and its weights."""

from bench.cards.catalog import Kind
from bench.cards.detector import DetectorSpec
from bench.cards.detector_names import of_logits
from bench.cards.network import NetworkCard
from bench.validation.standing import StandingCheck


class NetworkCheck(StandingCheck):
    """The check of a network, held to its track by a score that needs nothing but logits."""

    def card(self, card: NetworkCard) -> None:
        """Find everything that is wrong with it."""
        if card.track not in self.catalog.names(Kind.TRACK):
            known = ", ".join(self.catalog.names(Kind.TRACK)) or "none"
            self.problem(("track",), f"field 'track': unknown track '{card.track}'; the catalog has: {known}")
            return
        self.on_track(of_logits(card), None, (), None)

    def named(self, spec: DetectorSpec, name: str) -> str:
        """How a command is told what a file is for."""
        return f"--network {name}"
