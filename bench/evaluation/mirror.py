"""A store at a URL: computed and read in a folder on this machine, whose whole cells are published as objects.

    cells/KK/KEY/PLACE/{samples.parquet,arrays.safetensors,cell.json}    the files; PLACE is the hash of their content
    cells/KK/KEY.json                                                    the manifest, sealed and put last

A cell is there when its manifest is there and the files fit it. A writer that dies before leaves files that nobody
reads. Two writers of one cell put equal files at one place, or other ones at another: the manifest that was put last
counts, and its files are whole. Nobody claims a cell: at worst it is computed twice, with equal figures. Nothing is
ever removed from the URL.
"""

import hashlib
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.evaluation.cell_files import META_FILE, NAMES
from bench.evaluation.object_files import Objects
from bench.evaluation.store import Store
from bench.files import read_file
from bench.seals import SealError, sealed_json, unsealed_json

_MANIFEST = re.compile(r"cells/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")
_MAX_MANIFEST = 1 << 16
_MAX_FILE = 4 << 30


class Manifest(BaseModel):
    """What makes a cell of some objects.

    Attributes:
        key: Of the cell.
        files: sha256 of each file, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    key: str
    files: dict[str, str]

    @property
    def place(self) -> str:
        """Where the files lie: a name made of their content."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.files.items()))
        return f"cells/{self.key[:2]}/{self.key}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def publish(store: Store, key: str, objects: Objects) -> None:
    """Put a stored cell, and its manifest last; nothing where the same cell is there already.

    Raises:
        StoreError: It cannot be put; the store on this machine still has it.
        FileNotFoundError: The store has no such cell.
    """
    folder = store.folder(key)
    files = {
        name: read_file(folder / name, _MAX_FILE) for name in NAMES if name == META_FILE or (folder / name).exists()
    }
    manifest = Manifest(key=key, files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    if _manifest(key, objects) == manifest:
        return
    for name, content in files.items():
        objects.put(f"{manifest.place}/{name}", content)
    objects.put(_manifest_name(key), sealed_json(manifest.model_dump()))


def published(objects: Objects) -> list[str]:
    """The keys of which there is a manifest, in order; whether it fits its files shows when they are fetched."""
    return [found[2] for name in objects.names("cells") if (found := _MANIFEST.fullmatch(name))]


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
    return store.meta(key) is not None


def bring_together(store: Store, objects: Objects) -> tuple[int, list[str]]:
    """Fetch what is published and not here, and publish what is here and not there.

    Returns:
        How many cells were fetched, and the keys of manifests whose files do not fit.
    """
    here, there = set(store.keys()), set(published(objects))
    damaged = [key for key in sorted(there - here) if not fetch(store, key, objects)]
    for key in sorted(here - there):
        publish(store, key, objects)
    return len(there - here) - len(damaged), damaged


def local_folder(cache: Path, url: str) -> Path:
    """Where the cells of a URL are kept on this machine."""
    return cache / "stores" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:32]


def _manifest_name(key: str) -> str:
    return f"cells/{key[:2]}/{key}.json"


def _manifest(key: str, objects: Objects) -> Manifest | None:
    """Of a cell; None where there is none, or it is damaged or another's."""
    try:
        found = Manifest.model_validate(unsealed_json(objects.read(_manifest_name(key), _MAX_MANIFEST)))
    except (FileNotFoundError, SealError, ValidationError):
        return None
    fits = found.key == key and found.format == 1 and META_FILE in found.files and set(found.files) <= set(NAMES)
    return found if fits else None
