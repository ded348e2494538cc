"""One file from a server that does all that servers do: what gets a name is what was published, or nothing does."""

import fcntl
import hashlib
from pathlib import Path

import pytest

from bench.datasets import transfer
from bench.datasets.published import PublishedFile
from bench.datasets.transfer import fetch_file
from bench.errors import DataError
from tests.datasets.serving import CONTENT, Served, fetched


def refused(file: PublishedFile, folder: Path) -> str:
    """The sentence; the file must not be there then, nor anything but what came of it."""
    with pytest.raises(DataError) as error:
        fetched(file, folder)
    assert {path.name for path in folder.iterdir()} <= {f"{file.name}.part"}
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_gets_its_name_and_nothing_else_is_left(server: Served, tmp_path: Path) -> None:
    heard = []
    path = fetch_file(
        server.published("set.gz", CONTENT), tmp_path, told=lambda *how: heard.append(how), _schemes=("http",)
    )
    assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
    assert heard[-1] == ("set.gz", len(CONTENT), len(CONTENT)) and len(heard) > 1


def test_what_is_there_is_not_asked_for_again(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(CONTENT)
    fetched(server.published("set.gz", CONTENT), tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("other", [b"mine", CONTENT[:-1] + b"?"], ids=["another size", "the same size"])
def test_another_file_of_that_name_is_left_alone(server: Served, tmp_path: Path, other: bytes) -> None:
    (tmp_path / "set.gz").write_bytes(other)
    with pytest.raises(DataError, match="is another file than was published"):
        fetched(server.published("set.gz", CONTENT), tmp_path)
    assert (tmp_path / "set.gz").read_bytes() == other and server.asked == []


def test_only_https_is_asked(server: Served, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not https"):
        fetch_file(server.published("set.gz", CONTENT), tmp_path)
    assert server.asked == []


def test_a_redirect_from_https_to_http_is_refused(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    http, get = server.base, requests.Session.get

    def as_if_encrypted(self: requests.Session, url: str, **options: object) -> requests.Response:
        return get(self, url.replace("https://", "http://"), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.Session, "get", as_if_encrypted)
    server.base = http.replace("http://", "https://")
    file = server.published("set.gz", CONTENT)
    server.status, server.headers = 302, {"Location": f"{http}/elsewhere"}
    with pytest.raises(DataError, match=f"leads to {http}/elsewhere, which is not https"):
        fetch_file(file, tmp_path)
    assert [path for path, _ in server.asked] == ["/set.gz"]


def test_a_circle_of_redirects_ends(server: Served, tmp_path: Path) -> None:
    server.status, server.headers = 301, {"Location": "/set.gz"}
    assert "from address to address" in refused(server.published("set.gz", CONTENT), tmp_path)
    assert len(server.asked) == 6


def test_a_redirect_to_no_address_is_refused(server: Served, tmp_path: Path) -> None:
    server.status, server.headers = 301, {"Location": "https://[x/"}
    assert "what is no address" in refused(server.published("set.gz", CONTENT), tmp_path)


def test_a_wrong_content_leaves_nothing(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)
    server.files["set.gz"] = CONTENT[:-1] + b"?"
    said = refused(file, tmp_path)
    assert file.digest[1] in said and file.urls[0] in said
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_goes_on_from_there(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)
    server.cut = 100_000
    said = refused(file, tmp_path)
    assert file.urls[0] in said and "ended after 100,000 bytes: run the command again, it goes on from there" in said
    server.cut = None
    assert fetched(file, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/set.gz", None), ("/set.gz", "bytes=100000-")]
    assert [path.name for path in tmp_path.iterdir()] == ["set.gz"]


def test_a_few_bytes_are_kept_too(server: Served, tmp_path: Path) -> None:
    server.cut = 1_000
    assert "ended after 1,000 bytes" in refused(server.published("set.gz", CONTENT), tmp_path)
    assert (tmp_path / "set.gz.part").read_bytes() == CONTENT[:1_000]


def test_an_end_that_the_server_calls_whole_is_no_end(server: Served, tmp_path: Path) -> None:
    server.cut, server.headers = 1_000, {"Content-Length": None}
    assert "ended after 1,000 bytes" in refused(server.published("set.gz", CONTENT), tmp_path)


def test_an_interrupted_download_goes_on(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)

    def interrupt(name: str, here: int, size: int) -> None:
        if here > 150_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(file, tmp_path, told=interrupt, _schemes=("http",))
    came = (tmp_path / "set.gz.part").stat().st_size
    assert 150_000 < came < len(CONTENT) and not (tmp_path / "set.gz").exists()
    assert fetched(file, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/set.gz", f"bytes={came}-")


def test_a_server_without_ranges_sends_all_of_it_again(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1_000])
    server.ranges = False
    assert fetched(server.published("set.gz", CONTENT), tmp_path).read_bytes() == CONTENT


def test_a_part_from_elsewhere_is_refused_by_its_content(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(b"?" * 1_000)
    file = server.published("set.gz", CONTENT)
    assert "nothing of it is kept" in refused(file, tmp_path)
    assert fetched(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("came", [len(CONTENT), len(CONTENT) + 1], ids=["whole", "longer than the file"])
def test_a_part_that_is_whole_is_taken_and_a_longer_one_is_not(server: Served, tmp_path: Path, came: int) -> None:
    (tmp_path / "set.gz.part").write_bytes((CONTENT + b"?")[:came])
    assert fetched(server.published("set.gz", CONTENT), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == came - len(CONTENT)


def test_another_part_than_was_asked_for_is_refused(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1_000])
    server.offset = -500
    assert "another part than that from byte 1,000 on" in refused(server.published("set.gz", CONTENT), tmp_path)


def test_a_part_that_the_server_does_not_know_is_dropped(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1_000])
    server.status = 416
    file = server.published("set.gz", CONTENT)
    assert "begins anew" in refused(file, tmp_path)
    server.status = None
    assert fetched(file, tmp_path).read_bytes() == CONTENT


PAGE = b"\n<!DOCTYPE html><title>Log in</title>"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/gzip"])
@pytest.mark.parametrize("size", [len(PAGE), len(CONTENT)], ids=["shorter", "of the right size"])
def test_a_page_in_place_of_the_file_is_named(server: Served, tmp_path: Path, kind: str, size: int) -> None:
    file = server.published("set.gz", CONTENT)
    server.files["set.gz"], server.headers = PAGE.ljust(size), {"Content-Type": kind}
    if kind == "application/gzip" and size == len(PAGE):
        server.headers["Content-Length"] = None  # its length does not give it away
    said = refused(file, tmp_path)
    assert file.urls[0] in said and "sent a web page" in said and f"into {tmp_path} by hand" in said
    assert list(tmp_path.iterdir()) == []


def test_an_announced_length_of_20_digits_is_told_whole(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)
    server.headers = {"Content-Length": str(2**64 - 1)}
    assert f"announced {2**64 - 1:,} bytes" in refused(file, tmp_path)


@pytest.mark.parametrize(("announced", "said"), [(True, "announced 300,001 bytes"), (False, "sent more than that")])
def test_a_larger_file_is_not_taken(server: Served, tmp_path: Path, announced: bool, said: str) -> None:
    file = server.published("set.gz", CONTENT)
    server.files["set.gz"] = CONTENT + b"?"
    server.headers = {} if announced else {"Content-Length": None}
    assert said in refused(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_ended_at_the_known_size(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)
    server.files["set.gz"], server.headers = CONTENT * 300, {"Content-Length": None}
    heard: list[int] = []
    with pytest.raises(DataError, match="sent more than that"):
        fetch_file(file, tmp_path, told=lambda name, here, size: heard.append(here), _schemes=("http",))
    assert max(heard) <= len(CONTENT)


def test_an_error_of_the_server_is_named(server: Served, tmp_path: Path) -> None:
    said = refused(server.published("gone.gz", CONTENT), tmp_path)
    assert "gone.gz" in said and "answered 404 Not Found" in said


def test_a_machine_without_network_is_a_sentence(tmp_path: Path) -> None:
    file = PublishedFile("a.gz", ("http://127.0.0.1:9/a.gz",), 5, ("md5", "0" * 32))
    said = refused(file, tmp_path)
    assert "http://127.0.0.1:9/a.gz could not be downloaded" in said and "refused" in said and "by hand" in said
    assert said.count("127.0.0.1") == 1 and list(tmp_path.iterdir()) == []


def test_the_next_address_goes_on_where_the_first_ended(server: Served, tmp_path: Path) -> None:
    urls = (f"{server.base}/gone.gz", f"{server.base}/set.gz")
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1_000])
    file = server.published("set.gz", CONTENT, urls=urls)
    assert fetched(file, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/gone.gz", "/set.gz"]


def test_where_only_md5_is_published_it_is_compared(server: Served, tmp_path: Path) -> None:
    right = server.published("set.gz", CONTENT, digest=("md5", hashlib.md5(CONTENT).hexdigest()))
    wrong = server.published("set.gz", CONTENT, digest=("md5", hashlib.md5(b"?").hexdigest()))
    assert "whose md5 is not" in refused(wrong, tmp_path)
    assert fetched(right, tmp_path).read_bytes() == CONTENT


def test_two_processes_do_not_write_one_part(server: Served, tmp_path: Path) -> None:
    part = tmp_path / "set.gz.part"
    with part.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "is being written by another process" in refused(server.published("set.gz", CONTENT), tmp_path)
    assert fetched(server.published("set.gz", CONTENT), tmp_path).read_bytes() == CONTENT


def test_an_empty_part_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    part = tmp_path / "set.gz.part"
    with transfer._alone(part):
        part.unlink()
    with transfer._alone(part):
        pass
    assert not part.exists()


def test_a_part_that_is_a_link_is_not_followed(server: Served, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"keep")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "set.gz.part").symlink_to(mine)
    assert "cannot be written into" in refused(server.published("set.gz", CONTENT), folder)
    assert mine.read_bytes() == b"keep"


@pytest.mark.parametrize(
    "changed",
    [{"name": "../set.gz"}, {"name": ".set"}, {"size": 0}, {"digest": ("sha256", "0" * 32)}, {"urls": ()}],
)
def test_a_file_that_could_not_be_fetched_safely_is_never_described(changed: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Served().published(**({"name": "set.gz", "content": CONTENT} | changed))  # type: ignore[arg-type]
