"""What names a store: a folder, or the URL of objects that fsspec reads; one parser for every command and function."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bench.errors import UsageError

LONGEST = 1000
"""Characters of a URL that are read."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HALF_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")
_LOCAL = ("file", "local")
_READ_ONLY = (
    "blockcache", "cached", "data", "dir", "filecache", "generic", "gist", "git", "github", "http", "https",
    "libarchive", "reference", "simplecache", "tar", "zip",
)  # fmt: skip
_NO_USERS = ("s3", "s3a", "gs", "gcs", "memory")


@dataclass(frozen=True)
class StorePlace:
    """Where cells are kept; as text it is what a person may see of it.

    Attributes:
        folder: On this machine; None for a URL.
        url: Without a slash at its end; None for a folder.
    """

    folder: Path | None
    url: str | None = None

    def __str__(self) -> str:
        return str(self.folder) if self.url is None else shown(self.url)


def store_place(given: "str | Path | StorePlace") -> StorePlace:
    """The place that a path or a URL names; `file:///folder` is the folder itself.

    Args:
        given: As a user gave it.

    Raises:
        UsageError: It is a URL that cannot hold a store, or holds a secret, or only half a URL.
    """
    if isinstance(given, StorePlace):
        return given
    text = str(given)
    if _HALF_A_URL.match(text):
        raise UsageError(
            f"'{shown(text)}' is half a URL: a URL has '://' (give it as a text, since a Path drops a slash), and a "
            "folder of that name is './NAME'."
        )
    if not is_url(text):
        return StorePlace(Path(given))
    scheme = text.partition("://")[0].lower()
    return StorePlace(_folder(text)) if scheme in _LOCAL else StorePlace(None, checked(text))


def is_url(given: str) -> bool:
    """Whether a store is named by a URL, or by what was meant as one, and not by a path."""
    return "://" in given


def shown(url: str) -> str:
    """A URL without password, query and fragment, as it may be printed; of object stores without a user too."""
    first, chained, _ = url.partition("::")
    scheme, mark, rest = first.partition("://" if "://" in first else ":/")
    scheme, rest = scheme.rpartition("@")[2], re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    user, at, host = host.rpartition("@")
    kept = f"{user}@" if at and ":" not in user and scheme.lower() not in _NO_USERS else ""
    return f"{scheme}{mark}{kept}{host}{slash}{path}{'::...' if chained else ''}"


def checked(url: str) -> str:
    """The same URL, its scheme in small letters and without a slash at its end.

    Raises:
        UsageError: It cannot hold a store; in one sentence, without its secrets.
    """
    name = shown(url)
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if not _URL.match(url) or "::" in url or scheme in _READ_ONLY:
        raise UsageError(f"'{name}' cannot hold a store; name a folder, or a URL such as s3://BUCKET/PREFIX.")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if "?" in url or "#" in url or (at and (":" in user or scheme in _NO_USERS)):
        raise UsageError(
            f"the URL of the store '{name}' holds a user, a password, a query or a fragment; put credentials into the "
            "environment, where nobody sees them in a list of processes."
        )
    parts = rest.rstrip("/").split("/")
    dots = any(part in ("", ".", "..") for part in parts[1:])
    lost = not parts[0] and (scheme in _NO_USERS or len(parts) == 1)  # hdfs:///folder has no host
    if lost or dots or not url.isprintable() or len(url) > LONGEST:
        raise UsageError(
            f"'{name[:LONGEST]}' cannot hold a store: its path is empty or has empty parts, '.', '..' or control "
            f"characters, or more than {LONGEST:,} characters; name a URL such as s3://BUCKET/PREFIX."
        )
    return f"{scheme}://{'/'.join(parts)}"


def _folder(url: str) -> Path:
    """The folder of a URL of this machine's own files."""
    host, slash, path = url.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not slash or "?" in path or "#" in path:
        raise UsageError(f"'{shown(url)}' names no folder of this machine; write file:///FOLDER, or the folder alone.")
    return Path("/" + unquote(path).lstrip("/"))
