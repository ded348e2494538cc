"""Files written for a user: as a whole or not at all, through links, into pipes, and never in the place of these."""

import errno
import fcntl
import os
import stat
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError, UsageError

READER_SECONDS = 10.0
"""How long a named pipe waits for somebody who reads it."""

_POLL_SECONDS = 0.02
_NOT_HERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)
_STANDARD = (1, 2)
_LINK = "it is a link, and nothing is written through a link here"


def write_file(
    path: Path,
    content: bytes,
    *,
    through_links: bool = True,
    remedy: str = "choose another place for it",
    error: type[BenchError] = UsageError,
) -> None:
    """`put_file`, whose failure is one sentence.

    Args:
        path: Where to.
        content: All of it.
        through_links: See `put_file`.
        remedy: What the user can do about it, for the sentence.
        error: The kind of error that is raised.

    Raises:
        BenchError: Of the kind `error`: the file cannot be written.
    """
    try:
        put_file(path, content, through_links=through_links)
    except OSError as refused:
        raise error(f"cannot write '{path}': {why(refused)}; {remedy}.") from refused


def put_file(path: Path, content: bytes, *, through_links: bool = True) -> None:
    """Write all of a file, or leave the one that is there as it is.

    A regular file is written aside and renamed; it keeps its mode and owner, and other hard links to the old content
    stay. A link is followed, and what it leads to is written. A pipe or a character device is written into, and so is
    whatever this process has open for writing already, such as `/dev/stdout`. A disk or a socket is refused. Folders
    that lack are made.

    Args:
        path: Where to.
        content: All of it.
        through_links: False where not the user has named the file but this program: a link that somebody else left
            there is then refused.

    Raises:
        OSError: It cannot be written.
    """
    if not through_links and path.is_symlink():
        raise OSError(errno.ELOOP, _LINK)
    try:
        found = path.stat()
    except FileNotFoundError:  # nothing, or a link to nothing
        _replace(Path(os.path.realpath(path)), content, None)
        return
    if (descriptor := _open_already(found)) is not None:
        _stream(os.dup(descriptor), content)
    elif stat.S_ISREG(found.st_mode):
        _replace(Path(os.path.realpath(path)), content, found)
    elif stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        _stream(_opened(path), content)
    elif stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    else:
        raise OSError(errno.EINVAL, "it is a disk or a socket")


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`; nothing is waited for, whatever is there.

    Raises:
        FileTooLargeError: It is larger.
        OSError: It cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise FileTooLargeError(errno.EFBIG, f"it is larger than {max_bytes:,} bytes", str(path))
    return content


class FileTooLargeError(OSError):
    """A file is larger than any of its kind."""


def why(error: OSError) -> str:
    """The reason of an error in a few words, that follow a colon."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _replace(target: Path, content: bytes, found: os.stat_result | None) -> None:
    """Write a regular file aside and rename it; in place only where its folder allows no other file."""
    if found is None:
        target.parent.mkdir(parents=True, exist_ok=True)
    elif not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    aside = target.with_name(f".robustood-{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb") as file:
            if found is not None:
                _like(file.fileno(), found)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except OSError as error:
        if found is None or error.errno not in _NOT_HERE:
            raise
        _stream(os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), content)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _like(descriptor: int, found: os.stat_result) -> None:
    """Give an open file the owner and the mode of another."""
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o777)


def _open_already(found: os.stat_result) -> int | None:
    """The descriptor by which this process writes the file already, standard output first; None where there is none.

    A new file in its place would part from what is printed there before and after.
    """
    for descriptor in (*_STANDARD, *_others()):
        with suppress(OSError):  # closed meanwhile, or never opened
            writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if writes and os.path.samestat(os.fstat(descriptor), found):
                return descriptor
    return None


def _others() -> list[int]:
    try:
        found = [int(path.name) for path in Path("/dev/fd").iterdir() if path.name.isdigit()]
    except OSError:
        return []
    return sorted(set(found) - set(_STANDARD))


def _opened(path: Path) -> int:
    """A descriptor that writes into a pipe or a device; a pipe is given some time to find its reader."""
    patience = time.monotonic() + READER_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > patience:
                raise OSError(errno.ENXIO, "it is a pipe that nobody reads, or a device that is not there") from None
            time.sleep(_POLL_SECONDS)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


def _stream(descriptor: int, content: bytes) -> None:
    """Write into what is open, after what was printed so far, and close the descriptor."""
    for printed in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or replaced by something else
            printed.flush()
    with open(descriptor, "wb") as file:
        file.write(content)
