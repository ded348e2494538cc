"""The entries that are there: those of the workspace, and the built-in ones, by paper."""

from dataclasses import dataclass
from pathlib import Path

from bench.cards.base import Paper
from bench.cards.catalog import Catalog
from bench.cards.folders import card_files, entries
from bench.cards.reading import read_card
from bench.errors import CardError, UsageError, unknown_name
from bench.repro.entry import Entry

FOLDER = Path("benchmarks") / "papers"
"""Below the workspace and the built-in content."""

PAPER = "paper"
"""The file that names a paper, beside its entries."""

MOST_FILES = 300
"""The most entries of one paper that are read."""


@dataclass(frozen=True)
class PaperEntries:
    """One paper, and its entries by name.

    Attributes:
        name: Of its folder.
        paper: What it is.
        entries: By their names.
    """

    name: str
    paper: Paper
    entries: tuple[Entry, ...]


def papers(catalog: Catalog) -> tuple[PaperEntries, ...]:
    """Every paper that has entries; one of the workspace takes the place of a built-in one of its name.

    Raises:
        CardError: A file is not what it should be, or two entries have one name.
        UsageError: A folder holds too many files, or cannot be read.
    """
    found: dict[str, PaperEntries] = {}
    for root in catalog.content_roots():
        for folder in entries(root / FOLDER):
            if folder.is_dir() and folder.name not in found:
                found[folder.name] = _read(folder)
    seen: dict[str, str] = {}
    for one in found.values():
        for entry in one.entries:
            if entry.name in seen:
                raise CardError(
                    f"two entries have the name '{entry.name}', of '{seen[entry.name]}' and '{one.name}'; rename one."
                )
            seen[entry.name] = one.name
    return tuple(found[name] for name in sorted(found))


def asked_for(found: tuple[PaperEntries, ...], name: str) -> list[Entry]:
    """The entries of a name: `all`, a paper's, or one entry's own.

    Raises:
        UsageError: There is none.
    """
    every = {entry.name: entry for paper in found for entry in paper.entries}
    of_paper = {paper.name: list(paper.entries) for paper in found}
    if name == "all":
        return list(every.values())
    if name in every:
        return [every[name]]
    if name in of_paper:
        return of_paper[name]
    wrong = unknown_name("entry", name[:80], [*every, *of_paper])
    raise UsageError(str(wrong).replace("`bench list entrys`", "`bench repro list`"))


def _read(folder: Path) -> PaperEntries:
    files = card_files(folder)
    if len(files) > MOST_FILES:
        raise UsageError(f"'{folder}' holds {len(files)} files; the most that are read are {MOST_FILES}.")
    own = [path for path in files if path.stem == PAPER]
    if not own:
        raise CardError(f"{folder}: has no {PAPER}.yaml, which says title, authors and year of the paper; add it.")
    read = []
    for path in files:
        if path.stem == PAPER:
            continue
        entry = read_card(path, Entry)
        if entry.name != path.stem:
            raise CardError(
                f"{path}:1: field 'name': given '{entry.name}', allowed: '{path.stem}', the file's; fix it."
            )
        read.append(entry)
    return PaperEntries(folder.name, read_card(own[0], Paper), tuple(read))
