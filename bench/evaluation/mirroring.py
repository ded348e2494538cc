"""Keeps a folder and the store at a URL alike while a command works, from a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.evaluation.mirror import fetch_all, publish_all, published
from bench.evaluation.notes import Notes, bring_notes, publish_notes
from bench.evaluation.object_files import Objects
from bench.evaluation.remote_runs import PublishedRuns
from bench.evaluation.store import Store
from bench.evaluation.store_errors import StoreError

Said = Callable[[str], None]

LOOK_SECONDS = 1.0
"""So often the folder is looked at for what is to be published."""

BRING_SECONDS = 15.0
"""So often the URL is looked at for what others have published."""

PAUSE_SECONDS = 30.0
"""Before another attempt, after all of one have failed."""


class Mirror:
    """A folder and a URL.

    Args:
        root: The folder.
        objects: At the URL.
        name: What a person calls the store.
        notes: The kinds of files beside the cells.
        said: Hears in one sentence of what is amiss and stops nothing.
    """

    def __init__(self, root: Path, objects: Objects, name: str, notes: Sequence[Notes], said: Said) -> None:
        self._objects, self._notes, self._said, self._name = objects, notes, said, name
        self._folder = Store(root, name)  # the thread's own
        self._runs = PublishedRuns(root, objects)
        self._there: set[str] = set()
        self._useless: set[str] = set()
        self._damaged: set[str] = set()
        self._seen: list[dict[Path, tuple[int, int]]] = [{} for _ in notes]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="robustood-mirror", daemon=True)

    def bring(self) -> None:
        """Fetch what is published and not here.

        Raises:
            StoreError: It cannot be read, or the folder cannot be written.
        """
        here, there = set(self._folder.keys()), set(published(self._objects))
        damaged = fetch_all(self._folder, sorted(there - here - self._damaged), self._objects)
        for key in damaged:
            self._said(
                f"the cell {key[:12]} at '{self._name}' is damaged (its files do not fit their manifest); it counts as "
                "not run."
            )
        self._damaged |= set(damaged)
        self._there = there - self._damaged
        for kind in self._notes:
            bring_notes(kind, self._folder.root, self._objects)

    def publish(self) -> None:
        """Put what is here and not published.

        Raises:
            StoreError: It cannot be put.
        """
        new = sorted(self.waiting())
        done = publish_all(self._folder, new, self._objects, self._damaged)
        for sentence in self._folder.notices:
            self._said(sentence)
        self._folder.notices.clear()
        self._there |= set(done)
        self._damaged -= set(done)
        self._useless |= set(new) - set(done)
        for kind, seen in zip(self._notes, self._seen, strict=True):
            publish_notes(kind, self._folder.root, self._objects, seen)
        self._runs.publish()

    def waiting(self) -> set[str]:
        """The keys of the cells that are here and, as far as is known, not published."""
        return set(self._folder.keys()) - self._there - self._useless

    def publish_if_possible(self) -> None:
        """The same for a command that only reads: where it may not write, that is only said."""
        try:
            self.publish()
        except StoreError as error:
            self._said(f"{self._kept()}: {error}")

    def start(self) -> None:
        """Begin to follow the folder and the URL."""
        self._thread.start()

    def stop(self) -> None:
        """Publish what is left, and end.

        Raises:
            StoreError: It cannot be published, and is kept.
        """
        self._over.set()
        self._thread.join()
        try:
            self.publish()
        except StoreError as error:
            raise StoreError(f"{self._kept()}: {error}") from error

    def _kept(self) -> str:
        """What is not published, and where it is until then."""
        count = len(self.waiting())
        cells = "1 cell is" if count == 1 else f"{count:,} cells are" if count else "findings or records are"
        return (
            f"{cells} not at '{self._name}' yet, and kept in '{self._folder.root}': the next command on that URL "
            "publishes what is there"
        )

    def _follow(self) -> None:
        pause, told, brought = 0.0, False, time.monotonic()
        while not self._over.wait(pause):
            try:
                self.publish()
                if time.monotonic() - brought >= BRING_SECONDS:
                    self.bring()
                    brought = time.monotonic()
                pause = LOOK_SECONDS
            except Exception as error:  # a service's own, too: the command itself goes on
                pause = PAUSE_SECONDS
                if not told and not self._over.is_set():
                    told = True
                    why = error if isinstance(error, BenchError) else f"'{self._name}' fails ({type(error).__name__})."
                    self._said(f"{why} The command goes on: what is computed is kept on this machine until then.")
