"""Whether the card of a track can be used."""

from bench.cards.catalog import Kind
from bench.cards.documents import Location
from bench.cards.track import SetSpec, TrackCard
from bench.datasets.forms import form_name, is_pinned
from bench.datasets.wanted import SOURCE
from bench.lazy import lazily
from bench.validation.check import Check

with lazily():
    from bench.datasets import sources
    from bench.leaderboards import suite


class TrackCheck(Check):
    """The check of a track: its sets, their sources and digests, the suite of its leaderboard."""

    def card(self, card: TrackCard) -> None:
        """Find everything that is wrong with it."""
        if card.network is not None and card.network not in self.catalog.names(Kind.NETWORK):
            known = ", ".join(self.catalog.names(Kind.NETWORK)) or "none"
            self.problem(("network",), f"field 'network': unknown network '{card.network}'; the catalog has: {known}")
        parts: list[tuple[Location, SetSpec]] = [
            (("train",), card.train),
            (("calibration",), card.calibration),
            (("test",), card.test),
            *((("ood", name), spec) for name, spec in card.ood.items()),
            *((("outliers", number), spec) for number, spec in enumerate(card.outliers)),
        ]
        for location, spec in parts:
            self.source((*location, "source"), spec.source)
            self.part(location, spec)
            for number, form in enumerate(spec.also):
                self.source((*location, "also", number, "source"), form.source)
                if form.has_part:
                    self.part((*location, "also", number), spec.taken_of(form))
            if any_content := [form_name(form) for form in spec.forms if not is_pinned(form)]:
                of = f" for {' and '.join(any_content)}" if spec.also else ""
                self.notes.append(
                    f"{self.document.place(location)}: no digest is given{of}, so any content is accepted."
                )
        for location, sentence in suite.suite_problems(card, self.catalog):
            self.problem(location, sentence)
        if not card.natural():
            self.notes.append(f"{self.document.place(('ood',))}: no OOD set enters the mean.")

    def part(self, location: Location, spec: SetSpec) -> None:
        """A part must hold an image."""
        if spec.stop is not None and spec.stop <= spec.start:
            self.problem((*location, "stop"), f"stop is {spec.stop}; allowed is more than start, {spec.start}")

    def source(self, location: Location, source: str) -> None:
        """A source must be one of the package, a folder or a function of the user's own."""
        if source.startswith("folder:"):
            return
        if ":" in source:
            self.imported(location, source, SOURCE)
        elif source not in sources.source_names():
            known = ", ".join(sources.source_names())
            self.problem(location, f"unknown source '{source}'; allowed: {known}, folder:PATH, package.module:function")
