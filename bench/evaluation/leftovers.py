"""Where a store writes aside, and what dead writers left there.

    .robustood-writing/TOKEN.lock    who writes: locked as long as the writer lives, says whose lock it is
    .robustood-writing/TOKEN/        what is written: renamed into the store when it is whole

Nothing is removed but these two, under the names that are written here, and only where nobody holds the lock.
"""

import errno
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.evaluation.cell_files import NAMES
from bench.evaluation.locks import UNKNOWN, hold, is_still, kernel

FOLDER = ".robustood-writing"
"""Of a store; never a name that somebody else would choose."""

PROBE = "probe"
STALE_SECONDS = 24 * 3600.0
"""What may still be written by a machine whose locks are not seen here is left alone for so long."""

_FIRST_LINE = "robustood writes a cell: this file may be removed when no `bench` is running"
_LOCK = re.compile(r"[0-9a-f]{32}\.lock")
_MAX_LOCK_BYTES = 1024


@contextmanager
def written_aside(root: Path) -> Iterator[Path]:
    """A folder on the same file system as the cells, that is gone afterwards unless it was renamed.

    Args:
        root: The store's folder; made if need be.

    Raises:
        OSError: It cannot be made, or a link is in its place.
    """
    place = root / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(place))
    lock, descriptor = _locked(place)
    try:
        aside = lock.with_suffix("")
        aside.mkdir()
        yield aside
    finally:
        _remove(lock)
        os.close(descriptor)


def clear_leftovers(root: Path, now: float) -> None:
    """Remove what dead writers left.

    Args:
        root: The store's folder.
        now: The time by the clock of its file system.
    """
    place = root / FOLDER
    if place.is_symlink():
        return
    with suppress(OSError):
        for lock in sorted(place.iterdir()):
            if _LOCK.fullmatch(lock.name):
                with suppress(OSError):  # of somebody else, or gone meanwhile
                    _clear(lock, now)


def _locked(place: Path) -> tuple[Path, int]:
    """A new lock, and the descriptor that holds it."""
    while True:
        lock = place / f"{uuid.uuid4().hex}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            held = hold(descriptor, wait=True)
            where = kernel(descriptor) if held else UNKNOWN
            os.write(descriptor, f"{_FIRST_LINE}\n{lock.stem}\n{where}\n".encode())
            if is_still(lock, descriptor):  # else another process took the lock of nobody away before it was held
                return lock, descriptor
        except BaseException:
            with suppress(OSError):
                lock.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)


def _clear(lock: Path, now: float) -> None:
    """Remove a lock and what was written under it, if its writer is dead for certain."""
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return
        lines = os.read(descriptor, _MAX_LOCK_BYTES).decode("ascii", "replace").splitlines()
        held = hold(descriptor, wait=False)
        if held is None or not is_still(lock, descriptor):
            return
        if not lines:  # its writer died, or is about to find that it needs another one: nothing is written under it
            lock.unlink()
        elif lines[:2] == [_FIRST_LINE, lock.stem]:
            seen_here = held and lines[2:] == [kernel(descriptor)] != [UNKNOWN]
            if seen_here or now - found.st_mtime > STALE_SECONDS:
                _remove(lock)
    finally:
        os.close(descriptor)


def _remove(lock: Path) -> None:
    """Remove what was written under a lock, file by file, and then the lock."""
    aside = lock.with_suffix("")
    with suppress(OSError):
        if not aside.is_symlink():
            for name in (*NAMES, PROBE):
                (aside / name).unlink(missing_ok=True)
            aside.rmdir()
    if not os.path.lexists(aside):
        with suppress(OSError):
            lock.unlink()
