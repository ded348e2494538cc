"""What a published archive holds: no member gets a file of its own, and no more is unpacked than is known before."""

import gzip
import tarfile
import zlib
from pathlib import Path

from bench.errors import DataError
from bench.files import write_file

MAX_MEMBERS = 1_000
"""Members of a tar file that are looked at; CIFAR's archives have eight."""


def unpack_gzip(packed: Path, target: Path, size: int) -> None:
    """Unpack one file of known size; it gets its name when it is whole.

    Args:
        packed: The gzip file.
        target: Where to.
        size: Bytes that it must unpack to.

    Raises:
        DataError: It is damaged, or unpacks to more or less.
    """
    try:
        with gzip.open(packed) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(packed, type(error).__name__) from error
    if len(content) != size:
        raise damaged(packed, f"it unpacks to {'more' if len(content) > size else 'fewer'} than {size:,} bytes")
    write_file(target, content, through_links=False, error=DataError)


def read_members(archive: Path, names: tuple[str, ...], max_bytes: int) -> list[bytes]:
    """The content of some files in a tar.gz, in the order of their names; nothing is written to disk.

    Args:
        archive: The tar.gz file.
        names: Its members to read: regular files.
        max_bytes: Bytes that they may take together, and the largest that any member before them may be.

    Raises:
        DataError: It is damaged, has no such files, or they take more.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:  # one pass, and no index of all that it might hold
            for number, member in enumerate(tar):
                if number == MAX_MEMBERS or member.size > max_bytes:
                    raise damaged(archive, "it holds more than was published")
                if member.name not in names or member.name in found:
                    continue
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise damaged(archive, f"'{member.name}' in it is no plain file")
                found[member.name] = stream.read()
                if sum(map(len, found.values())) > max_bytes:
                    raise damaged(archive, f"its files unpack to more than {max_bytes:,} bytes")
                if len(found) == len(names):
                    break
    except (OSError, EOFError, zlib.error, ValueError, tarfile.TarError) as error:
        raise damaged(archive, type(error).__name__) from error
    if absent := [name for name in names if name not in found]:
        raise damaged(archive, f"it has no {absent[0]}")
    return [found[name] for name in names]


def damaged(path: Path, why: str) -> DataError:
    """The error for a file that cannot be used though it was fetched."""
    return DataError(f"{path} is damaged ({why}): remove it and run the command again.")
