"""Taking cells out of a store: only what is proved to be a cell, and file by file, so that nothing else can go."""

from pathlib import Path

from bench.evaluation import cell_files
from bench.evaluation.cell_files import NAMES, DamagedError, OtherVersionError, UnsealedError
from bench.evaluation.leftovers import written_aside
from bench.evaluation.store import Store
from bench.evaluation.store_errors import said


class NotACellError(Exception):
    """What lies under a key cannot be proved to be a cell; the text says why."""


def remove_cell(store: Store, key: str) -> None:
    """Remove the files of a cell and its folder.

    A cell is a folder inside the store that is no link, holds regular files of a cell's names and nothing else, and
    whose figures are sealed and belong to the key. It is renamed away as a whole first, so that nobody meets half of
    it, and its files are removed by their names.

    Args:
        store: A folder's store.
        key: Of the cell.

    Raises:
        NotACellError: It is not proved to be one; nothing is touched.
        StoreError: The folder cannot be written.
        UsageError: It is no key.
    """
    folder = store.folder(key)
    with said(store.root, "write"):
        _prove(folder, key)
        with written_aside(store.root) as aside:
            folder.rename(aside)


def _prove(folder: Path, key: str) -> None:
    """Raise unless a folder is a cell."""
    if link := next((path for path in (folder, *folder.parents[:2]) if path.is_symlink()), None):
        raise NotACellError(f"'{link}' is a link")
    if not folder.is_dir():
        raise NotACellError(f"there is no folder '{folder}'")
    for path in sorted(folder.iterdir()):
        if path.name not in NAMES:
            raise NotACellError(f"'{folder}' holds '{path.name}', which no cell has")
        if path.is_symlink() or not path.is_file():
            raise NotACellError(f"'{path}' is no regular file")
    try:
        cell_files.read_meta(folder, key)
    except DamagedError as error:
        raise NotACellError(str(error)) from None
    except FileNotFoundError:
        raise NotACellError(f"'{folder}' has no {cell_files.META_FILE}") from None
    except OtherVersionError:
        raise NotACellError("it is of another version of bench") from None
    except UnsealedError:
        raise NotACellError("it has no seal") from None
