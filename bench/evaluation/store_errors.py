"""What a store that cannot be read or written says: the cause, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError


class StoreError(UsageError):
    """The store cannot be read or written; what it holds already is kept."""


@dataclass(frozen=True)
class _Sentence:
    cause: str
    remedy: str


_FILE_IN_THE_WAY = _Sentence("a file is in the way of a folder", "choose another folder")

_SENTENCES = {
    errno.ENOSPC: _Sentence("there is no space left on the disk", "free some space or choose another folder"),
    errno.EDQUOT: _Sentence("the disk quota is used up", "free some space or choose another folder"),
    errno.EFBIG: _Sentence("a file would be larger than is allowed", "raise the limit or choose another folder"),
    errno.EROFS: _Sentence("the file system is read-only", "choose another folder"),
    errno.EACCES: _Sentence("permission is denied", "choose a folder of your own"),
    errno.EPERM: _Sentence("permission is denied", "choose a folder of your own"),
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.ENOTEMPTY: _Sentence("what is no cell is in the place of one", "move it away or choose another folder"),
    errno.ELOOP: _Sentence("a link is in the way of a folder", "remove the link or choose another folder"),
}


def store_error(error: OSError, root: Path, doing: str) -> StoreError:
    """The sentence for an error of the operating system.

    Args:
        error: The error.
        root: The store's folder.
        doing: "read" or "write".
    """
    known = _SENTENCES.get(error.errno or 0, _Sentence(error.strerror or str(error), "choose another folder"))
    kept = "; the cells that are stored are kept" if doing == "write" else ""
    return StoreError(f"cannot {doing} the store '{root}': {known.cause}; {known.remedy} (--out){kept}.")


@contextmanager
def said(root: Path, doing: str) -> Iterator[None]:
    """Turn errors of the operating system into sentences; arguments as in `store_error`."""
    try:
        yield
    except OSError as error:
        raise store_error(error, root, doing) from error
