"""Where new cards go, and that they take no file's place."""

import re
from pathlib import Path

from bench.cards.catalog import Catalog, Kind
from bench.cards.folders import MARKER
from bench.errors import UsageError
from bench.files import write_file

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def new_workspace(catalog: Catalog) -> tuple[Catalog, list[Path]]:
    """The workspace in force, or a new one in the current folder, with the files that were written for it."""
    if catalog.workspace is not None:
        return catalog, []
    root = Path.cwd()
    marker = root / MARKER
    write_file(marker, b"[workspace]\n", remedy="change into a folder of your own")
    return Catalog(root, builtin=catalog.builtin), [marker]


def card_path(catalog: Catalog, kind: Kind, name: str) -> Path:
    """The file of a new card in the workspace.

    Raises:
        UsageError: The name is not allowed, or there is such a card.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"name '{name[:80]}' is not allowed; give 1 to 64 small letters, digits and '-'.")
    assert catalog.workspace is not None
    if name in catalog.names(kind):
        where = catalog.where(kind, name)
        raise UsageError(f"there is a {kind} '{name}' already ({where}); choose another name, or edit that card.")
    return catalog.workspace / kind.folder / f"{name}.yaml"


def module_path(catalog: Catalog, name: str) -> Path:
    """The file of a new module in the workspace.

    Raises:
        UsageError: There is such a file.
    """
    assert catalog.workspace is not None
    path = catalog.workspace / f"{name.replace('-', '_')}.py"
    if path.exists():
        raise UsageError(f"{path} is there already; choose another name.")
    return path


def put(path: Path, text: str) -> Path:
    """Write a new file with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode(), remedy="choose another workspace")
    return path
