"""A store at a URL: computed and read in a folder on this machine, whose whole cells are published as objects.

    robustood-store.json                                                 that there is a store, and which one: an id
    cells/KK/KEY/PLACE/{samples.parquet,arrays.safetensors,cell.json}    the files; PLACE is the hash of their content
    manifests/KK/KEY.json                                                what makes a cell of them, sealed and put last

A cell is there when its manifest is there and the files fit it. A writer that dies before leaves files that nobody
reads. Two writers of one cell put equal files at one place, or other ones at another: the manifest that was put last
counts, and its files are whole. Nobody claims a cell: at worst it is computed twice, with equal figures. Nothing is
ever removed from the URL.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.evaluation.cell_files import META_FILE, NAMES
from bench.evaluation.object_files import Objects
from bench.evaluation.store import Store
from bench.files import read_file
from bench.seals import SealError, sealed_json, unsealed_json

MARKER = "robustood-store.json"
AT_ONCE = 8
"""Cells that are fetched or published at a time."""

_MANIFEST = re.compile(r"manifests/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")
_MAX_MANIFEST = 1 << 16
_MAX_FILE = 4 << 30

_T = TypeVar("_T")
_Given = TypeVar("_Given")


class Marker(BaseModel):
    """What says that there is a store, and tells it from another one that was there before under the same URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Manifest(BaseModel):
    """What makes a cell of some objects.

    Attributes:
        key: Of the cell.
        files: sha256 of each file, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    key: str
    files: dict[str, str]

    @property
    def place(self) -> str:
        """Where the files lie: a name made of their content."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.files.items()))
        return f"cells/{self.key[:2]}/{self.key}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def store_id(objects: Objects) -> str | None:
    """The id of the store that is there; None where there is none.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        return Marker.model_validate(unsealed_json(objects.read(MARKER, _MAX_MANIFEST))).id
    except (FileNotFoundError, SealError, ValidationError):
        return None


def make_store(objects: Objects, known: str | None = None) -> str:
    """Make a store where there is none, or put the marker of the one that is there once more, as a trial.

    Returns:
        Its id: that of the other one where two machines make it at the same moment.

    Raises:
        StoreError: It cannot be written.
    """
    objects.put(MARKER, sealed_json(Marker(id=known or uuid.uuid4().hex).model_dump()))
    found = store_id(objects)
    assert found is not None
    return found


def local_folder(cache: Path, url: str, known: str) -> Path:
    """Where the cells of a store at a URL are kept on this machine.

    Args:
        cache: The user's folder.
        url: Of the store.
        known: Its id, since a URL may lead to different places (another server, a bucket that was made anew).
    """
    return cache / "stores" / hashlib.sha256(f"{url.rstrip('/')} {known}".encode()).hexdigest()[:32]


def publish(store: Store, key: str, objects: Objects, *, again: bool = False) -> None:
    """Put a stored cell, and its manifest last; nothing where the same cell is there already.

    Args:
        store: Has the cell.
        key: Of the cell.
        objects: Of the store at the URL.
        again: Put it all the same, since what is there is damaged.

    Raises:
        StoreError: It cannot be put; the store on this machine still has it.
        FileNotFoundError: The store has no such cell.
    """
    folder = store.folder(key)
    files = {
        name: read_file(folder / name, _MAX_FILE) for name in NAMES if name == META_FILE or (folder / name).exists()
    }
    manifest = Manifest(key=key, files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    if not again and _manifest(key, objects) == manifest:
        return
    for name, content in files.items():
        objects.put(f"{manifest.place}/{name}", content)
    objects.put(_manifest_name(key), sealed_json(manifest.model_dump()))


def published(objects: Objects) -> list[str]:
    """The keys of which there is a manifest, in order; whether it fits its files shows when they are fetched.

    Raises:
        StoreError: They cannot be read.
    """
    return [found[2] for name in objects.names("manifests") if (found := _MANIFEST.fullmatch(name))]


def fetch(store: Store, key: str, objects: Objects) -> bool:
    """Bring a published cell into a store on this machine; whether it was there as a whole.

    Raises:
        StoreError: It cannot be read, or the folder cannot be written.
    """
    manifest = _manifest(key, objects)
    if manifest is None:
        return False
    files: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        try:
            files[name] = objects.read(f"{manifest.place}/{name}", _MAX_FILE)
        except FileNotFoundError:
            return False
        if hashlib.sha256(files[name]).hexdigest() != digest:
            return False
    store.adopt(key, files)
    return True


def fetch_all(store: Store, keys: Iterable[str], objects: Objects) -> list[str]:
    """Fetch cells, several at a time.

    Returns:
        The keys of those that are damaged.

    Raises:
        StoreError: One cannot be read, or the folder cannot be written.
    """
    asked = list(keys)
    whole = at_once(lambda key: fetch(store, key, objects), asked)
    return [key for key, there in zip(asked, whole, strict=True) if not there]


def publish_all(store: Store, keys: Iterable[str], objects: Objects, damaged: Container[str] = ()) -> list[str]:
    """Publish stored cells, several at a time; what turns out to be no whole cell of this version is passed over.

    Args:
        store: Has the cells.
        keys: Of the cells.
        objects: Of the store at the URL.
        damaged: Keys of cells that are damaged there.

    Returns:
        The keys of those that are at the URL now.

    Raises:
        StoreError: One cannot be put; the others that were begun are.
    """
    asked = [key for key in keys if store.meta(key) is not None]
    at_once(lambda key: publish(store, key, objects, again=key in damaged), asked)
    return asked


def at_once(act: Callable[[_Given], _T], items: Iterable[_Given]) -> list[_T]:
    """What comes of each item, in order, several at a time; after an error no other is begun."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="robustood-store") as pool:
        futures = [pool.submit(act, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _manifest_name(key: str) -> str:
    return f"manifests/{key[:2]}/{key}.json"


def _manifest(key: str, objects: Objects) -> Manifest | None:
    """Of a cell; None where there is none, or it is damaged or another's."""
    try:
        found = Manifest.model_validate(unsealed_json(objects.read(_manifest_name(key), _MAX_MANIFEST)))
    except (FileNotFoundError, SealError, ValidationError):
        return None
    fits = found.key == key and META_FILE in found.files and set(found.files) <= set(NAMES)
    return found if fits else None
