"""Small files beside the cells that several machines add to, such as verdicts: at a URL every version is an object.

    NAME/ID/TIME-HASH.json    a version; TIME is when it was put, in microseconds since 1970

Nothing is replaced there, so nobody's addition is lost: what counts is all versions, joined from the oldest on. A copy
of each is kept in the folder that mirrors the store. What does not fit its hash, or cannot be joined, is passed over.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.evaluation.mirror import at_once
from bench.evaluation.object_files import Objects
from bench.evaluation.store_errors import said
from bench.files import put_file, read_file

COPIES = ".robustood-notes"
"""The folder of the copies, in the one that mirrors the store."""

_VERSION = re.compile(r"([a-z]{1,20})/([0-9a-z]{1,64})/(\d{16}-([0-9a-f]{32})\.json)")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Notes:
    """One kind of such files.

    Attributes:
        name: Of the kind, in small letters.
        found: The files of a store's folder, by their ids.
        place: Where the file of an id lies in a store's folder.
        joined: Two contents, the older first, as one; of a content and itself that content. Raises ValueError where
            one of them cannot be used.
    """

    name: str
    found: Callable[[Path], Mapping[str, Path]]
    place: Callable[[Path, str], Path]
    joined: Callable[[bytes, bytes], bytes]


def bring_notes(kind: Notes, root: Path, objects: Objects) -> None:
    """Join what other machines put into the files of a store's folder.

    Raises:
        StoreError: It cannot be read, or the folder cannot be written.
    """
    versions = [found for name in objects.names(kind.name) if (found := _VERSION.fullmatch(name))]
    absent = [found for found in versions if found[1] == kind.name and not _copy(root, found[0]).exists()]
    at_once(lambda found: _fetch(found, root, objects), absent)
    for id_ in sorted({found[2] for found in absent}):
        _join(kind, root, id_)


def publish_notes(kind: Notes, root: Path, objects: Objects, seen: dict[Path, tuple[int, int]]) -> None:
    """Put what is new in the files of a store's folder.

    Args:
        kind: Of the files.
        root: The folder.
        objects: Of the store.
        seen: What the files were when they were looked at last; one that has not changed is not read again.

    Raises:
        StoreError: It cannot be put.
    """
    for id_, path in kind.found(root).items():
        with suppress(FileNotFoundError):
            found = path.stat()
            state = found.st_mtime_ns, found.st_size
            if seen.get(path) == state:
                continue
            content = read_file(path, _MAX_BYTES)
            digest, versions = _digest(content), _versions(kind, root, id_)
            if digest not in map(_digest, versions) and content != _folded(kind, versions):
                name = f"{kind.name}/{id_}/{time.time_ns() // 1000:016d}-{digest}.json"
                objects.put(name, content)
                _keep(root, name, content)
            seen[path] = state


def _fetch(found: re.Match[str], root: Path, objects: Objects) -> None:
    with suppress(FileNotFoundError):
        content = objects.read(found[0], _MAX_BYTES)
        if _digest(content) == found[4]:
            _keep(root, found[0], content)


def _join(kind: Notes, root: Path, id_: str) -> None:
    """Bring a file to what all versions say together, and after them what is only here."""
    versions, path = _versions(kind, root, id_), kind.place(root, id_)
    whole = _folded(kind, versions)
    here = None
    with suppress(OSError):
        here = read_file(path, _MAX_BYTES)
    if here is not None and _digest(here) not in map(_digest, versions):
        whole = _folded(kind, [*([] if whole is None else [whole]), here])
    if whole is not None and whole != here:
        with said(root, "write"):
            put_file(path, whole, through_links=False)


def _folded(kind: Notes, versions: Iterable[bytes]) -> bytes | None:
    """All versions as one; None where none can be used."""
    whole = None
    for version in versions:
        with suppress(ValueError):
            whole = kind.joined(version if whole is None else whole, version)
    return whole


def _versions(kind: Notes, root: Path, id_: str) -> list[bytes]:
    """The copies of an id's versions, the oldest first."""
    folder = root / COPIES / kind.name / id_
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError):
                found.append(read_file(path, _MAX_BYTES))
    return found


def _copy(root: Path, name: str) -> Path:
    return root / COPIES / name


def _keep(root: Path, name: str, content: bytes) -> None:
    with said(root, "write"):
        put_file(_copy(root, name), content, through_links=False)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
