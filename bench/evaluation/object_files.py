"""Objects of a store at a URL: read, listed and put one at a time, by fsspec, and tried again where the network fails.

A put is atomic: a reader finds the former object or the whole new one. Nothing else is asked of what lies behind the
URL: no renaming, no locks, no order of listings.
"""

import random
import re
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from bench.evaluation.store_errors import StoreError

ATTEMPTS = 5
"""How often an operation is tried before it is given up."""

FIRST_WAIT = 0.5
"""Seconds after the first failure; twice as long after each further one, and up to as much again by chance."""

MOST_NAMES = 1_000_000
"""No listing is read further."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_NAME = re.compile(r"\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ImportError)
_READ_ONLY = ("http", "https", "data", "zip", "tar", "reference")

_T = TypeVar("_T")


class Objects(Protocol):
    """Named bytes; names are paths below the store's own prefix."""

    def read(self, name: str, most: int) -> bytes:
        """All bytes of an object of at most `most`; raises FileNotFoundError where there is none."""

    def names(self, below: str) -> list[str]:
        """The names of all objects below a folder, in order; empty where there are none."""

    def put(self, name: str, content: bytes) -> None:
        """Put an object, or replace it as a whole."""


def is_url(given: str) -> bool:
    """Whether a store is named by a URL and not by a path."""
    return _URL.match(given) is not None


def shown(url: str) -> str:
    """A URL without user, password, query and fragment, as it may be printed."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class RemoteObjects:
    """Objects below a URL that fsspec knows, such as s3://bucket/prefix.

    Args:
        url: Of the prefix; credentials belong into the environment or the files of the service's own tools.
        wait: Called with the seconds before another attempt.

    Raises:
        StoreError: The URL cannot be used, or the package that reads it is not installed.
    """

    def __init__(self, url: str, wait: Callable[[float], None] = time.sleep) -> None:
        import fsspec

        self.url, self._wait = shown(url), wait
        scheme = url.partition("://")[0]
        if "::" in url or scheme in _READ_ONLY:
            raise StoreError(f"'{self.url}' cannot hold a store; name a folder, or a URL such as s3://BUCKET/PREFIX.")
        if "@" in urlsplit(url).netloc or urlsplit(url).query:
            raise StoreError(
                f"the URL of the store '{self.url}' holds a user, a password or a query; put credentials into the "
                "environment, where nobody sees them in a list of processes."
            )
        try:
            self._files: Any = fsspec.filesystem(
                scheme, use_listings_cache=False, skip_instance_cache=scheme != "memory"
            )
            self._root = str(self._files._strip_protocol(url)).rstrip("/")
        except ImportError:
            raise StoreError(
                f"the store '{self.url}' needs a package for '{scheme}': pip install 'robustood[remote]' brings "
                "the one for s3."
            ) from None
        except Exception as error:  # a stranger's URL may be anything
            raise StoreError(
                f"'{self.url}' cannot hold a store ({type(error).__name__}); name another (--out)."
            ) from None

    def read(self, name: str, most: int) -> bytes:
        """See `Objects`."""
        path = self._path(name)

        def whole() -> bytes:
            if self._files.info(path)["size"] > most:
                raise IsADirectoryError(f"{name} is larger than {most:,} bytes")
            return bytes(self._files.cat_file(path))

        return self._tried(whole, "read")

    def names(self, below: str) -> list[str]:
        """See `Objects`."""
        path = self._path(below)

        def listed() -> list[str]:
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
        self._tried(lambda: self._files.pipe_file(path, content), "write")

    def _path(self, name: str) -> str:
        """Below the prefix, which no name leaves."""
        if not all(map(_NAME.fullmatch, name.split("/"))):
            raise ValueError(f"{name!r} is no name of an object")
        return f"{self._root}/{name}"

    def _tried(self, operation: Callable[[], _T], doing: str) -> _T:
        for attempt in range(ATTEMPTS):
            try:
                return operation()
            except FileNotFoundError as error:
                if doing == "read":
                    raise
                raise StoreError(f"cannot write the store '{self.url}': there is no such bucket.") from error
            except _FINAL as error:
                raise self._sentence(error, doing) from None
            except Exception as error:  # every service has its own
                if attempt == ATTEMPTS - 1:
                    raise self._sentence(error, doing) from None
            wait = FIRST_WAIT * 2**attempt
            self._wait(wait + random.random() * wait)  # noqa: S311 - no secret
        raise AssertionError

    def _sentence(self, error: Exception, doing: str) -> StoreError:
        """Without the error's own text, which may hold addresses with their credentials."""
        cause = "permission is denied" if isinstance(error, PermissionError) else type(error).__name__
        return StoreError(
            f"cannot {doing} the store '{self.url}' ({cause}); look at the network, the address and the credentials."
        )
