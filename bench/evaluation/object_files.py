"""Objects of a store at a URL: read, listed and put one at a time, by fsspec, and tried again where the network fails.

A put is atomic: a reader finds the former object or the whole new one. Nothing else is asked of what lies behind the
URL: no renaming, no locks, no order of listings. Where a put is not atomic either (SFTP), what is torn does not fit its
hash and counts as absent.
"""

import random
import re
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from bench.evaluation.store_errors import StoreError
from bench.evaluation.store_places import checked, shown
from bench.lazy import lazily

with lazily():
    import fsspec
    from fsspec import core

ATTEMPTS = 5
"""How often an operation is tried before it is given up."""

FIRST_WAIT = 0.5
"""Seconds after the first failure; twice as long after each further one, and up to as much again by chance."""

PATIENCE = 20.0
"""Seconds after which an operation is not begun again: some services wait and try again by themselves."""

MOST_NAMES = 1_000_000
"""No listing is read further."""

_NAME = re.compile(r"\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ImportError, ValueError, TypeError)
_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "DefaultCredentialsError")
"""Errors of the services' own tools where none are set up, by the names of their classes."""

_WITH_FOLDERS = ("sftp", "ssh", "smb", "webdav", "hdfs", "arrow_hdfs", "ftp")
"""What has folders, which must be there before a file in them."""

_EXTRAS = {"s3": "'robustood[remote]'", "s3a": "'robustood[remote]'"}

_T = TypeVar("_T")


class Objects(Protocol):
    """Named bytes; names are paths below the store's own prefix."""

    def read(self, name: str, most: int) -> bytes:
        """All bytes of an object; raises FileNotFoundError where there is none of at most `most`."""

    def names(self, below: str) -> list[str]:
        """The names of all objects below a folder, in order; empty where there are none."""

    def put(self, name: str, content: bytes) -> None:
        """Put an object, or replace it as a whole."""


class RemoteObjects:
    """Objects below a URL that fsspec knows, such as s3://bucket/prefix.

    Args:
        url: Of the prefix; credentials belong into the environment or the files of the service's own tools.
        wait: Called with the seconds before another attempt.

    Attributes:
        url: As it may be shown.
        given_up: Set by others: what is not done by then is tried once, without waiting.

    Raises:
        UsageError: The URL cannot be used, or the package that reads it is not installed.
    """

    def __init__(self, url: str, wait: Callable[[float], None] | None = None) -> None:
        url = checked(url)
        self.url = shown(url)
        self.given_up = threading.Event()
        self._wait: Callable[[float], object] = wait or self.given_up.wait
        scheme = url.partition("://")[0]
        try:
            fsspec.get_filesystem_class(scheme)
        except ImportError:
            raise StoreError(_lacking(scheme, self.url)) from None
        except ValueError:
            raise StoreError(
                f"'{self.url}' cannot hold a store: there is no '{scheme}://'; name a folder, or a URL such as "
                "s3://BUCKET/PREFIX."
            ) from None
        try:  # a filesystem of its own, but for the one that lives as long as the process
            self._files, root = core.url_to_fs(url, **({} if scheme == "memory" else {"skip_instance_cache": True}))
        except Exception as error:  # a stranger's URL may be anything, and some services connect here
            raise self._sentence(error, "read") from None
        self._root = str(root).rstrip("/")
        self._has_folders = scheme in _WITH_FOLDERS

    def read(self, name: str, most: int) -> bytes:
        """See `Objects`."""
        path = self._path(name)

        def whole() -> bytes:
            self._files.invalidate_cache()
            if self._files.info(path)["size"] > most:
                raise FileNotFoundError(f"{name} is larger than any of its kind")
            return bytes(self._files.cat_file(path))

        return self._tried(whole, "read")

    def names(self, below: str) -> list[str]:
        """See `Objects`."""
        path = self._path(below)

        def listed() -> list[str]:
            self._files.invalidate_cache()
            try:
                found = self._files.find(path)
            except FileNotFoundError:
                return []
            start = len(self._root) + 1
            return sorted(one[start:] for one in found[:MOST_NAMES] if one.startswith(f"{self._root}/"))

        return self._tried(listed, "read")

    def put(self, name: str, content: bytes) -> None:
        """See `Objects`."""
        path = self._path(name)

        def written() -> None:
            if self._has_folders:
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content)

        self._tried(written, "write")

    def _path(self, name: str) -> str:
        """Below the prefix, which no name leaves."""
        if not all(map(_NAME.fullmatch, name.split("/"))):
            raise ValueError(f"{name!r} is no name of an object")
        return f"{self._root}/{name}"

    def _tried(self, operation: Callable[[], _T], doing: str) -> _T:
        begun = time.monotonic()
        for attempt in range(ATTEMPTS):
            try:
                return operation()
            except FileNotFoundError:
                if doing == "read":
                    raise
                raise StoreError(
                    f"cannot write the store '{self.url}': there is no such bucket or folder; make it, or name another."
                ) from None
            except _FINAL as error:
                raise self._sentence(error, doing) from None
            except Exception as error:  # every service has its own
                last = attempt == ATTEMPTS - 1 or time.monotonic() - begun > PATIENCE or self.given_up.is_set()
                if last or type(error).__name__ in _CREDENTIALS:
                    raise self._sentence(error, doing) from None
            wait = FIRST_WAIT * 2**attempt
            self._wait(wait + random.random() * wait)  # noqa: S311 - no secret
        raise AssertionError

    def _sentence(self, error: Exception, doing: str) -> StoreError:
        """Without the error's own text, which may hold addresses with their credentials."""
        if type(error).__name__ in _CREDENTIALS:
            return StoreError(
                f"cannot {doing} the store '{self.url}': no credentials are found; set those of the service in the "
                "environment or in the files of its own tools."
            )
        cause = "permission is denied" if isinstance(error, PermissionError) else type(error).__name__
        return StoreError(
            f"cannot {doing} the store '{self.url}' ({cause}); look at the network, the address and the credentials."
        )


def _lacking(scheme: str, url: str) -> str:
    """Which package reads the URL, and how it is installed."""
    from fsspec.registry import known_implementations  # noqa: PLC0415  # `fsspec` has a mapping of the same name

    package = str(known_implementations.get(scheme, {}).get("class", scheme)).partition(".")[0]
    return f"the store '{url}' needs the package {package}: pip install {_EXTRAS.get(scheme, package)}."
