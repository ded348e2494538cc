"""Whether the card of a detector can be used: its method, networks, weights and recipes, on each track."""

from typing import Any

from bench.cards.catalog import Kind
from bench.cards.detector import DetectorCard, DetectorSpec
from bench.cards.documents import Location
from bench.detectors.wanted import DETECTOR
from bench.errors import BenchError
from bench.validation.standing import StandingCheck


class DetectorCheck(StandingCheck):
    """The check of a detector, its variants and each of its tracks."""

    def card(self, card: DetectorCard) -> None:
        """Find everything that is wrong with it."""
        method = self.imported(("method",), card.method, DETECTOR)
        if card.on_network:
            self.score(card, method)
            return
        for variant in (None, *card.variants):
            own = card.variants[variant].tracks if variant is not None else {}
            for track in own or card.tracks:
                here: Location = ("tracks", track)
                if variant is not None and own:
                    here = ("variants", variant, *here)
                if track not in self.catalog.names(Kind.TRACK):
                    known = ", ".join(self.catalog.names(Kind.TRACK)) or "none"
                    self.problem(here, f"field '{'.'.join(map(str, here))}': unknown track; the catalog has: {known}")
                    continue
                self.on_track(card.on_track(track, variant), variant, here, method)
        if not card.tracks and not any(variant.tracks for variant in card.variants.values()):
            self.notes.append(f"{self.document.place(())}: the detector has no track, so it cannot be run.")

    def score(self, card: DetectorCard, method: Any) -> None:
        """A score is tried on the own network of every track that names one."""
        tried = 0
        for name in self.catalog.names(Kind.TRACK):
            for variant in (None, *card.variants):
                try:
                    base = self.catalog.base(None, name)
                except BenchError:
                    continue  # the track has none, or the network's own check says what is wrong with it
                own = card.variants[variant].tracks if variant is not None else {}
                here: Location = ("tracks", name)
                if variant is not None and own:
                    here = ("variants", variant, *here)
                self.on_track(card.on(base, name, variant), variant, here, method, len(base.weights))
                tried += 1
        unknown = set(card.tracks) - set(self.catalog.names(Kind.TRACK))
        if unknown:
            self.problem(("tracks", min(unknown)), f"field 'tracks.{min(unknown)}': unknown track")
        if not tried:
            self.notes.append(f"{self.document.place(())}: no track names a network, so the score was not tried.")

    def named(self, spec: DetectorSpec, name: str) -> str:
        """How a command is told what a file is for."""
        return f"--detector {name} --track {spec.track}"
