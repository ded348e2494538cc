"""Whether the card of a threat can be used."""

from bench.cards.catalog import Kind
from bench.cards.documents import Location
from bench.cards.threat import Side, ThreatCard
from bench.threat_models.wanted import THREAT
from bench.validation.check import Check


class ThreatCheck(Check):
    """The check of a threat: its method and parameters, or the members of which the worst case is taken."""

    def card(self, card: ThreatCard) -> None:
        """Find everything that is wrong with it."""
        known = self.catalog.names(Kind.THREAT)
        for side, members in card.members.items():
            for name in members:
                self.member(("members", str(side)), name, card, side, known)
        if card.source is not None and card.source.threat not in known:
            self.problem(("source", "threat"), f"unknown threat '{card.source.threat}'; allowed: {', '.join(known)}")
        if card.method is None:
            return
        method = self.imported(("method",), card.method, THREAT)
        if method is not None:
            self.settings(method.Params, card.params, [("params",)])

    def member(self, location: Location, name: str, card: ThreatCard, side: Side, known: list[str]) -> None:
        """A member of a worst case must be a threat of its own, of the same norm, that attacks the same side."""
        if name not in known:
            self.problem(location, f"unknown threat '{name}'; allowed: {', '.join(known)}")
            return
        other = self.catalog.threat(name)
        if other.members:
            self.problem(location, f"'{name}' is a worst case itself; name single attacks")
        elif side not in other.sides:
            self.problem(location, f"'{name}' attacks {', '.join(other.sides)}, not '{side}'; leave it out")
        elif other.norm is not card.norm:
            self.problem(location, f"'{name}' has the norm {other.norm} and the worst case {card.norm}; leave it out")
