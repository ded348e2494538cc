"""Stores at a URL as commands use them: a folder of the user's cache that mirrors it, kept up to date while they work.

What is computed goes into the folder and from there, cell by cell, to the URL; what other machines publish comes the
other way. So nothing is lost where the network is: it is published later, at the latest by the next command.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import UsageError
from bench.evaluation.mirror import fetch, local_folder, make_store, publish, store_id
from bench.evaluation.mirroring import Mirror, Said
from bench.evaluation.notes import Notes
from bench.evaluation.object_files import RemoteObjects
from bench.evaluation.results import Cell, CellMeta
from bench.evaluation.store import Store
from bench.evaluation.store_places import StorePlace
from bench.places import user_cache

__all__ = ["MirroredStore", "PublishingStore", "read_store", "written_store"]


class MirroredStore(Store):
    """A folder that mirrors a store at a URL.

    Args:
        root: The folder.
        objects: Of the store.
        known: The store's id; None where there is no store yet.
        name: What a person calls it.
    """

    def __init__(self, root: Path, objects: RemoteObjects, known: str | None, name: str) -> None:
        super().__init__(root, name)
        self.objects, self.id = objects, known

    def bring(self, key: str) -> None:
        """Fetch a cell, unless it is here."""
        if not self.folder(key).exists():
            fetch(self, key, self.objects)

    def check_writable(self) -> None:
        """Raise unless a cell could be written here and at the URL.

        Raises:
            StoreError: It could not.
        """
        super().check_writable()
        make_store(self.objects, store_id(self.objects) or self.id)


class PublishingStore(MirroredStore):
    """The same for a worker on another machine: it looks at the URL for what is not here, and publishes at once."""

    def meta(self, key: str) -> CellMeta | None:
        """See `Store`."""
        self.bring(key)
        return super().meta(key)

    def get(self, key: str) -> Cell | None:
        """See `Store`."""
        self.bring(key)
        return super().get(key)

    def put(self, cell: Cell) -> Cell:
        """Write a cell, and publish it.

        Raises:
            StoreError: It cannot be written, or not be published; this machine has it then.
        """
        kept = super().put(cell)
        publish(self, kept.meta.key, self.objects)
        return kept


def read_store(place: StorePlace, *, notes: Sequence[Notes] = (), said: Said, absent: bool = False) -> Store:
    """A store for commands that compute nothing: a folder, or the folder that mirrors a URL, brought up to date.

    Args:
        place: Of the store.
        notes: The kinds of files beside the cells that come along.
        said: Hears in one sentence of what is amiss and stops nothing.
        absent: Whether a store may be missing, which is then empty.

    Raises:
        UsageError: There is no store, or it cannot be read.
    """
    if place.url is None:
        assert place.folder is not None
        if not absent and not place.folder.is_dir():
            raise UsageError(f"'{place}' is not a folder; name the one that `bench run --out` wrote.")
        return Store(place.folder)
    objects = RemoteObjects(place.url)
    store = _mirrored(place, objects, store_id(objects))
    if store.id is not None:
        mirror = Mirror(store.root, objects, store.name, notes, said)
        mirror.bring()
        mirror.publish_if_possible()
    elif not absent:
        raise no_store(place)
    return store


@contextmanager
def written_store(place: StorePlace, *, notes: Sequence[Notes] = (), said: Said) -> Iterator[Store]:
    """A store for commands that compute; at a URL, whole cells are published as they come, and those of others fetched.

    Arguments as in `read_store`.

    Raises:
        UsageError: It cannot be read or written.
        StoreError: At the end something could not be published; this machine keeps it for the next command.
    """
    if place.url is None:
        assert place.folder is not None
        yield Store(place.folder)
        return
    objects = RemoteObjects(place.url)
    store = _mirrored(place, objects, store_id(objects) or make_store(objects))
    mirror = Mirror(store.root, objects, store.name, notes, said)
    mirror.bring()
    mirror.start()
    try:
        yield store
    except BaseException:
        objects.given_up.set()
        with suppress(UsageError):  # what stopped the command is what is to be said
            mirror.stop()
        raise
    mirror.stop()


def worker_store(root: Path, url: str | None, known: str | None) -> Store:
    """The store of a worker: the folder that it shares with the run, or one of its own machine that mirrors a URL.

    Args:
        root: The folder.
        url: Of a store that the worker reads and publishes by itself; None where it shares the folder.
        known: The id of that store.
    """
    if url is None:
        return Store(root)
    place = StorePlace(None, url)
    return PublishingStore(_mirror_folder(place, known), RemoteObjects(url), known, str(place))


def no_store(place: StorePlace) -> UsageError:
    """What is said where there is no store at a URL."""
    return UsageError(f"there is no store at '{place}', maybe not even a bucket; `bench run --out {place}` writes one.")


def _mirrored(place: StorePlace, objects: RemoteObjects, known: str | None) -> MirroredStore:
    return MirroredStore(_mirror_folder(place, known), objects, known, str(place))


def _mirror_folder(place: StorePlace, known: str | None) -> Path:
    cache = user_cache()
    if cache is None:
        raise UsageError(
            f"nothing of '{place}' can be kept on this machine, since no home folder is known; let XDG_CACHE_HOME name "
            "a folder for it."
        )
    assert place.url is not None
    return local_folder(cache, place.url, known or "none")
