"""`bench`, to which URLs shared://FOLDER are known: objects that several processes share without a server.

As long as the file lies there that SHARED_DOWN names, the network is lost.
"""

import os
import signal
import sys
import uuid
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it


class SharedFiles(LocalFileSystem):
    """Files of this machine; a put is atomic, as that of an object store."""

    protocol = "shared"

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("shared://").strip("/")

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        _reach()
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{uuid.uuid4().hex}.part")
        aside.write_bytes(value)
        aside.replace(target)

    def cat_file(self, path, start=None, end=None, **kwargs):
        _reach()
        return super().cat_file(path, start, end, **kwargs)

    def find(self, path, **kwargs):
        _reach()
        return [one for one in super().find(path, **kwargs) if not one.endswith(".part")]


def _reach():
    if Path(os.environ.get("SHARED_DOWN", "/none")).exists():
        raise ConnectionError("http://me:a-secret-word@host cannot be reached")


if __name__ == "__main__":
    fsspec.register_implementation("shared", SharedFiles)
    from bench.cli.app import main
    from bench.evaluation import mirroring, object_files

    object_files.FIRST_WAIT = 0.01
    mirroring.LOOK_SECONDS, mirroring.PAUSE_SECONDS, mirroring.BRING_SECONDS = 0.05, 0.2, 0.2
    sys.argv[0] = "bench"
    main()
