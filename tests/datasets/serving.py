"""A server of files on this machine that can be told to misbehave, for tests of downloads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.published import PublishedFile
from bench.datasets.transfer import fetch_file

CONTENT = np.random.default_rng(5).bytes(300_000)


@dataclass
class Served:
    """What the server sends, how, and what it was asked.

    Attributes:
        files: Content by path.
        ranges: Whether it honours ranges.
        cut: Bytes of the body after which it hangs up; None sends all.
        headers: Headers in place of its own; None leaves one out.
        status: The status of every answer; None chooses it.
        offset: Added to where the part that it sends begins.
        asked: Paths, each with the range that was asked for.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    status: int | None = None
    offset: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    base: str = ""

    def published(self, name: str, content: bytes, **changed: object) -> PublishedFile:
        """The file as its publisher would describe it."""
        import hashlib

        given = {
            "name": name,
            "urls": (f"{self.base}/{name}",),
            "size": len(content),
            "digest": ("sha256", hashlib.sha256(content).hexdigest()),
        }
        return PublishedFile(**(given | changed))  # type: ignore[arg-type]


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append((self.path, wanted))
            body, status = served.files.get(self.path.lstrip("/"), b""), 200
            head: dict[str, str | None] = {"Content-Type": "application/gzip"}
            if wanted and served.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-")) + served.offset
                head["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
            if self.path.lstrip("/") not in served.files:
                status = 404
            head |= {"Content-Length": str(len(body))} | served.headers
            self.send_response(served.status or status)
            for name, value in head.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: served.cut])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands between a test and its server."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """One that has a single file."""
    without_proxies(monkeypatch)
    with serving() as served:
        served.files["set.gz"] = CONTENT
        yield served


def fetched(file: PublishedFile, folder: Path) -> Path:
    """The file, which comes over plain http here."""
    return fetch_file(file, folder, _schemes=("http",))
