"""What came of running an entry, kept beside the cells: the page is made of these, and needs no cell."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from bench.cards.base import Card, Name
from bench.errors import UsageError
from bench.files import FileTooLargeError, read_file, write_file
from bench.repro.claims import Measured, Ref
from bench.repro.entry import Scale
from bench.repro.panels import Panel
from bench.seals import SealError, sealed_json, unsealed_json

FORMAT = 1
FOLDER = "reproductions"
"""Of a store, beside its cells."""

_MAX_BYTES = 1 << 24
_Line = Annotated[str, StringConstraints(max_length=2000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class StoredFigure(Card):
    """A figure at its place in the table."""

    row: _Line
    column: _Line
    value: _Finite
    low: _Finite
    high: _Finite


class Record(Card):
    """What came of an entry at one scale.

    Attributes:
        format: Version of this layout.
        entry: Its name.
        scale: At which it was run.
        date: Of the day when the last of its cells was computed or read, as YYYY-MM-DD.
        seconds: That its cells took to compute, added up, whenever that was.
        gradients: That they took.
        device: On which.
        cells: How many they are.
        figures: Of the table.
        failed: Cells that could not be computed, and why.
        panels: What is drawn beside the table.
    """

    format: int = FORMAT
    entry: Name
    scale: Scale
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    seconds: float = Field(ge=0, allow_inf_nan=False)
    gradients: int = Field(ge=0)
    device: _Line
    cells: int = Field(ge=0)
    figures: tuple[StoredFigure, ...] = Field(max_length=3000)
    failed: dict[_Line, _Line] = {}
    panels: tuple[Panel, ...] = Field(default=(), max_length=40)

    def lookup(self) -> dict[Ref, Measured]:
        """The figures by row and column."""
        return {(f.row, f.column): Measured(f.value, f.low, f.high) for f in self.figures}


def stored_figures(figures: dict[Ref, Measured]) -> tuple[StoredFigure, ...]:
    """Figures as a record holds them."""
    return tuple(
        StoredFigure(row=row, column=column, value=m.value, low=m.low, high=m.high)
        for (row, column), m in figures.items()
    )


def write_record(root: Path, record: Record) -> Path:
    """Keep a record in the folder of a store; a former one of the same entry and scale goes.

    Raises:
        UsageError: It cannot be written.
    """
    path = _path(root, record.entry, record.scale)
    content = sealed_json(record.model_dump(mode="json"))
    write_file(path, content, through_links=False, remedy="name another folder (--out)")
    return path


def read_record(root: Path, entry: str, scale: Scale) -> Record | None:
    """The record of an entry; None where there is none.

    Raises:
        UsageError: It is there and is not what was written.
    """
    path = _path(root, entry, scale)
    try:
        content = unsealed_json(read_file(path, _MAX_BYTES))
        record = Record.model_validate(content)
        record.lookup()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (FileTooLargeError, SealError, ValidationError, ValueError) as error:
        raise UsageError(
            f"'{path}' is not what was written there ({type(error).__name__}); remove it and run the entry again."
        ) from None
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read ({error.strerror}); check its permissions.") from error
    return record


def _path(root: Path, entry: str, scale: Scale) -> Path:
    return root / FOLDER / f"{entry}.{scale}.json"
