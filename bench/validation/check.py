"""What the checks of all kinds of card share: where a problem lies, the code that is named, settings of a method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import check_unrun, import_method
from bench.cards.code.wanted import Wanted
from bench.cards.documents import Document, Location
from bench.cards.errors import describe
from bench.errors import CardError, shorten


@dataclass(frozen=True)
class Checked:
    """What was found in one card.

    Attributes:
        path: The file.
        kind: What the card describes; None where that cannot be told.
        problems: One sentence for everything that makes the card unusable.
        notes: One sentence for everything that is worth knowing and no failure.
        imported: Modules outside bench that were imported for it.
    """

    path: Path
    kind: Kind | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the card can be used."""
        return not self.problems


class Check:
    """The check of one card, and what it found.

    Args:
        document: The card's file, for its lines.
        catalog: Where what the card refers to is found.
        run_code: Import the code that the card names.
    """

    def __init__(self, document: Document, catalog: Catalog, run_code: bool) -> None:
        self.run_code = run_code
        self.modules: list[str] = []
        self.document = document
        self.catalog = catalog
        self.problems: list[str] = []
        self.notes: list[str] = []

    def card(self, card: Any) -> None:
        """Find everything that is wrong with a card of the kind that this checks."""
        raise NotImplementedError

    def problem(self, location: Location, sentence: str) -> None:
        """Note what makes the card unusable."""
        self.problems.append(f"{self.document.place(location)}: {sentence}.")

    def imported(self, location: Location, path: str, wanted: Wanted) -> Any:
        """The object that a path names; None, and a problem, where there is none or it is not what is wanted.

        Also None where no code may run.
        """
        try:
            module, _ = check_unrun(path, self.catalog.workspace, wanted)
            if not self.run_code:
                self.notes.append(f"{self.document.place(location)}: {shorten(path)} was not imported, only read.")
                return None
            if module.partition(".")[0] != "bench":
                self.modules.append(module)
            return import_method(path, self.catalog.workspace, wanted)
        except CardError as error:
            self.problem(location, str(error).rstrip("."))
            return None

    def settings(self, model: type[BaseModel], given: dict[str, Any], places: list[Location]) -> None:
        """Check settings that lie, field by field, in one of several places of the card."""
        try:
            model.model_validate(given)
        except ValidationError as error:
            self.problems.extend(describe(error, model, self.document, within=places))
