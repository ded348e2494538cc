"""Where new cards go, and that they take no file's place."""

import os
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


_README = """\
# {name}

A workspace of [robustood](https://pypi.org/project/robustood/): `robustood.toml` makes it one. Commands that are
started here, or in a folder below, read its cards before the built-in ones. Cards name code, so use only cards whose
code you would run.

| to have your own | command |
|---|---|
| images (`datasets/NAME.yaml`) | `bench new track NAME --id FOLDER --ood FOLDER` |
| network (`detectors/networks/NAME.yaml`) | `bench new network NAME --from my_module:build --track TRACK` |
| score (`detectors/NAME.yaml`) | `bench new detector NAME` |
| attack (`threat_models/NAME.yaml`) | `bench new threat NAME` |

`bench validate` checks the cards, `bench list` shows them, and `bench run` keeps what it computes in `runs/`.
"""


def init_workspace(folder: Path) -> list[Path]:
    """Make a folder a workspace, with a README that says what belongs where; what is there stays.

    Args:
        folder: Made where it is not there.

    Returns:
        The files that were written.

    Raises:
        UsageError: It is a workspace already, or cannot be written.
    """
    marker, readme = folder / MARKER, folder / "README.md"
    if os.path.lexists(marker):
        raise UsageError(f"'{folder}' is a workspace already (it has a {MARKER}); `bench new` writes cards into it.")
    written = [marker]
    write_file(marker, b"[workspace]\n", remedy="name a folder of your own")
    if not os.path.lexists(readme):
        text = _README.format(name=folder.resolve().name or "workspace")
        write_file(readme, text.encode(), remedy="name a folder of your own")
        written.append(readme)
    return written


def card_path(catalog: Catalog, kind: Kind, name: str, *, replace: bool | None = None) -> Path:
    """The file of a new card in the workspace.

    Args:
        catalog: Of the workspace.
        kind: Of card.
        name: Of the card.
        replace: Whether it may take the place of a card of the workspace; None where no option asks for that.

    Raises:
        UsageError: The name is not allowed, or there is such a card that stays.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"name '{name[:80]}' is not allowed; give 1 to 64 small letters, digits and '-'.")
    assert catalog.workspace is not None
    if name in catalog.names(kind):
        where = catalog.where(kind, name)
        own = where.is_relative_to(catalog.workspace)
        if own and replace:
            return where
        remedy = "write over it by --replace" if own and replace is not None else "edit that card"
        what = f"there is a {kind} '{name}' already ({where})"
        raise UsageError(f"{what}; choose another name{f', or {remedy}' if own else ''}.")
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
