"""What runs leave at a URL for `bench status`: one object a run, put anew now and then as long as it lives.

    runs/STARTED-TOKEN.json    the record; STARTED is when it began, in milliseconds since 1970

No lock is seen from another machine: a run lives as long as its last word is not older than `SILENT_SECONDS`, by the
clocks of both machines.
"""

import re
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from bench.evaluation.mirror import at_once
from bench.evaluation.object_files import Objects
from bench.evaluation.run_records import (
    BEAT_SECONDS,
    FOLDER,
    SILENT_SECONDS,
    Found,
    read_record,
)
from bench.files import read_file

READ = 50
"""So many of the newest records are read."""

_MAX_BYTES = 2**26
_NAME = re.compile(r"runs/\d{15}-[0-9a-f]{32}\.json")


class PublishedRuns:
    """Puts the records of the runs on this machine.

    Args:
        root: The folder that mirrors the store.
        objects: Of the store.
    """

    def __init__(self, root: Path, objects: Objects) -> None:
        self._root, self._objects = root, objects
        self._begun = time.time() - 1.0  # what was over before is not put again; file systems round their times
        self._put: dict[str, tuple[float, bytes]] = {}

    def publish(self) -> None:
        """Put the records that have changed: each at most every `BEAT_SECONDS`, and the last one of a run at once.

        Raises:
            StoreError: One cannot be put.
        """
        for path in sorted((self._root / FOLDER).glob("*.json")):
            with suppress(OSError, ValueError, ValidationError):
                if path.stat().st_mtime < self._begun:
                    continue
                content = read_file(path, _MAX_BYTES)
                record = read_record(content)
                last, known = self._put.get(path.name, (0.0, b""))
                soon = record.ended is None and time.monotonic() - last < BEAT_SECONDS
                if content == known or (known and soon):
                    continue
                name = f"runs/{int(record.started * 1000):015d}-{path.name}"
                self._objects.put(name, content)
                self._put[path.name] = time.monotonic(), content


def remote_runs(objects: Objects) -> list[Found]:
    """The newest runs that have left a record, the newest first; what is none is passed over.

    Raises:
        StoreError: They cannot be read.
    """
    names = [name for name in objects.names("runs") if _NAME.fullmatch(name)][-READ:]

    def found(name: str) -> Found | None:
        with suppress(FileNotFoundError, ValueError, ValidationError, RecursionError):
            record = read_record(objects.read(name, _MAX_BYTES))
            return Found(record, record.ended is None and time.time() - record.written < SILENT_SECONDS)
        return None

    runs = [run for run in at_once(found, names) if run is not None]
    return sorted(runs, key=lambda run: run.record.started, reverse=True)
