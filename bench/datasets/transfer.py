"""One published file over https into a folder: bounded, resumed, and under its name only once its content is known."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from bench.datasets.published import PublishedFile
from bench.errors import DataError
from bench.files import why
from bench.lazy import lazily

with lazily():
    import pooch
    import requests
    from urllib3 import exceptions

if TYPE_CHECKING:
    from requests import Response, Session

HTTPS = ("https",)
MAX_REDIRECTS = 5
TIMEOUT = (20, 60)
"""Seconds for a connection, and between two pieces of an answer."""

PIECE = 1 << 16
"""Bytes that are taken from an answer at a time."""

PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416

Told = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes of it that are here, and those of all of it."""


def no_progress(name: str, here: int, size: int) -> None:
    """Say nothing."""


def fetch_file(
    file: PublishedFile, folder: Path, *, told: Told = no_progress, _schemes: tuple[str, ...] = HTTPS
) -> Path:
    """The file in the folder, fetched unless it is there; its addresses are tried in order.

    What came of it lies in `NAME.part` until all of it is here, so that the next call goes on from there. A file of
    that name with another content is left alone.

    Args:
        file: What to fetch.
        folder: Where to; made where it is not there.
        told: Hears how far it is.

    Raises:
        DataError: One sentence of what came in its place and what to do, or one for each address.
    """
    target = folder / file.name
    if os.path.lexists(target):
        if _same(target, file):
            return target
        raise DataError(f"{target} is there and is another file than was published: move it away and run this again.")
    problems = []
    for url in file.urls:
        try:
            return _retrieved(url, file, folder, _Resuming(file, folder, told, _schemes))
        except DataError as error:
            problems.append(str(error))
    raise DataError(" ".join(problems))


def _retrieved(url: str, file: PublishedFile, folder: Path, downloader: "_Resuming") -> Path:
    pooch.get_logger().setLevel("ERROR")  # what is fetched is said by the command, once
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(
            pooch.retrieve(url, known_hash=":".join(file.digest), fname=file.name, path=folder, downloader=downloader)
        )
    except requests.RequestException as error:
        raise DataError(
            f"{url} could not be downloaded ({_short(error)}): check the network and run the command again, it goes on "
            f"from what came; or put {file.name} into {folder} by hand."
        ) from error
    except OSError as error:
        raise DataError(f"{file.name} cannot be written into {folder}: {why(error)}.") from error
    except ValueError as error:  # pooch's word for a wrong hash; what came is gone
        raise DataError(
            f"{url} gave {file.size:,} bytes whose {file.digest[0]} is not the published {file.digest[1]}: nothing of "
            f"it is kept; run the command again, or put the right {file.name} into {folder} by hand."
        ) from error


class _Resuming:
    """What pooch calls to download: into `NAME.part` from where that ends, and then in the place of pooch's file."""

    def __init__(self, file: PublishedFile, folder: Path, told: Told, schemes: tuple[str, ...]) -> None:
        self._file, self._told, self._schemes = file, told, schemes
        self._folder, self._part = folder, folder / f"{file.name}.part"

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        with _alone(self._part) as part:
            here = part.seek(0, os.SEEK_END)
            if here > self._file.size:
                here = _emptied(part)
            if here < self._file.size:
                self._complete(url, part, here)
            self._part.replace(output_file)

    def _complete(self, url: str, part: IO[bytes], here: int) -> None:
        with _answer(url, here, self._schemes) as answer:
            if answer.status_code == RANGE_NOT_SATISFIABLE and here:
                _emptied(part)
                raise self._refused(url, "knows no such part of the file", "run the command again, it begins anew")
            if answer.status_code != PARTIAL_CONTENT or not here:
                here = _emptied(part)  # a server without ranges sends all of it
            self._check_head(url, answer, here)
            for piece in _pieces(answer):
                if not here and piece.lstrip()[:5].lower() in (b"<html", b"<!doc"):
                    raise self._refused(url, "sent a web page", self._by_hand())
                here += len(piece)
                if here > self._file.size:
                    _emptied(part)
                    raise self._refused(url, "sent more than that", self._by_hand())
                part.write(piece)
                self._told(self._file.name, here, self._file.size)
        if here < self._file.size:
            raise self._refused(url, f"ended after {here:,} bytes", "run the command again, it goes on from there")

    def _check_head(self, url: str, answer: "Response", here: int) -> None:
        """Refuse an answer that cannot be the file, before anything of it is read."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        length = answer.headers.get("content-length", "")[:20]
        if not answer.ok:
            raise self._refused(url, f"answered {answer.status_code} {answer.reason}".rstrip(), self._by_hand())
        if kind in ("text/html", "application/xhtml+xml"):
            page = f"a web page ({kind}{f', {int(length):,} bytes' if length.isdecimal() else ''})"
            raise self._refused(url, f"sent {page}", self._by_hand())
        begins = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if here and begins != str(here):
            raise self._refused(url, f"sent another part than that from byte {here:,} on", self._by_hand())
        if length.isdecimal() and int(length) != self._file.size - here:
            raise self._refused(url, f"announced {int(length) + here:,} bytes", self._by_hand())

    def _refused(self, url: str, came: str, remedy: str) -> DataError:
        return DataError(f"{url}, where {self._file.name} of {self._file.size:,} bytes should be, {came}: {remedy}.")

    def _by_hand(self) -> str:
        return f"open it in a browser to see why, or put the file into {self._folder} by hand"


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """A part file for appending, that no other process writes."""
    descriptor = os.open(
        part, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666
    )
    with os.fdopen(descriptor, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), part.stat()):
                raise FileNotFoundError  # the other process was done with it in between
        except (BlockingIOError, FileNotFoundError):
            raise DataError(f"{part} is being written by another process: wait until that has ended.") from None
        try:
            yield file
        finally:
            file.flush()  # the first bytes count too
            if os.fstat(descriptor).st_size == 0:
                part.unlink(missing_ok=True)


@contextmanager
def _answer(url: str, here: int, schemes: tuple[str, ...]) -> Iterator["Response"]:
    """The answer of the last server of a chain of redirects, each of them over https."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    at = url
    with requests.Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            if urlsplit(at).scheme not in schemes:
                led = "" if at == url else f" leads to {at}, which"
                raise DataError(f"{url}{led} is not https: nothing is fetched that others could read or change.")
            with _got(session, at, headers) as answer:
                if not answer.is_redirect:
                    yield answer
                    return
                at = urljoin(at, answer.headers["location"])
    raise DataError(f"{url} leads from address to address, more than {MAX_REDIRECTS} times: nothing was fetched.")


def _pieces(answer: "Response") -> Iterator[bytes]:
    """What comes, byte for byte as it was sent; a connection that breaks off ends it."""
    with suppress(exceptions.HTTPError):
        yield from answer.raw.stream(PIECE, decode_content=False)


def _got(session: "Session", url: str, headers: dict[str, str]) -> "Response":
    try:
        return session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT)
    except requests.RequestException:
        raise
    except ValueError as error:  # requests looks at where a redirect leads, though it does not go there
        raise DataError(f"{url} leads to what is no address ({_short(error)}): nothing was fetched.") from error


def _emptied(part: IO[bytes]) -> int:
    part.truncate(0)
    return 0


def _same(path: Path, file: PublishedFile) -> bool:
    """Whether a file on disk is the published one."""
    kind, value = file.digest
    try:
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, kind).hexdigest() == value
    except OSError:
        return False


def _short(error: BaseException) -> str:
    """The innermost reason: what lies around it repeats the address."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return " ".join(str(error).split()).rpartition(": ")[2][:200] or type(error).__name__
