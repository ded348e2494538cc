"""What names a store: folders and URLs are told apart by one parser, which lets no secret through."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.evaluation.store_places import LONGEST, StorePlace, shown, store_place

SECRET = "a-secret-word"


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("runs", "runs"), (Path("runs"), "runs"), ("/a/b", "/a/b"), ("a:b", "a:b"), ("./s3:/x", "./s3:/x"),
        ("C:/x", "C:/x"),
        ("file:///a/b", "/a/b"), ("file://localhost/a", "/a"), ("FILE:///a%20b/", "/a b"), ("local:///a", "/a"),
    ],
)  # fmt: skip
def test_a_path_or_a_file_url_is_the_folder_itself(given, folder):
    assert store_place(given) == StorePlace(Path(folder))
    assert str(store_place(given)) == str(Path(folder))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/x/", "s3://bucket/x"),
        ("S3://Bucket/X//", "s3://Bucket/X"),
        ("gs://b/x", "gs://b/x"),
        ("memory://x", "memory://x"),
        ("hdfs:///user/x", "hdfs:///user/x"),
        ("abfs://box@account.dfs.core.windows.net/x", "abfs://box@account.dfs.core.windows.net/x"),
        ("ssh://me@host/x", "ssh://me@host/x"),
        ("s3://bucket/a b", "s3://bucket/a b"),
    ],
)
def test_a_url_keeps_all_but_the_case_of_its_scheme_and_slashes_at_its_end(given, url):
    place = store_place(given)
    assert (place.folder, place.url, str(place)) == (None, url, url)
    assert store_place(place) is place


@pytest.mark.parametrize(
    "given",
    [
        f"s3://user:{SECRET}@bucket/x", f"s3://{SECRET}@bucket/x", f"ssh://me:{SECRET}@host/x", f"memory://x?key={SECRET}",
        f"s3://bucket/x#{SECRET}", f"simplecache::s3://{SECRET}@bucket/x", f"http://me:{SECRET}@host/x",
        f"s3:/user:{SECRET}@bucket/x", f"file://me:{SECRET}@host/x", f"gs:/{SECRET}@bucket",
    ],
)  # fmt: skip
def test_a_url_with_a_secret_is_refused_in_one_sentence_without_it(given):
    with pytest.raises(UsageError) as error:
        store_place(given)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in shown(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3:/bucket/x", "half a URL"), (Path("s3://bucket/x"), "half a URL"), ("s3://", "is empty"),
        ("s3:///x", "is empty"), ("s3://bucket//x", "empty parts"), ("s3://bucket/../x", r"'\.\.'"),
        ("s3://bucket/./x", "empty parts"),
        ("s3://bucket/a\nb", "control"), ("s3://bucket/" + LONGEST * "x", "characters"),
        ("http://host/x", "cannot hold"), ("a b://x", "cannot hold"), ("zip://x", "cannot hold"),
        ("file://host/x", "no folder of this machine"), ("file:///x?y", "no folder"),
    ],
)  # fmt: skip
def test_what_can_hold_no_store_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        store_place(given)


def test_a_url_of_the_longest_length_is_read():
    url = "s3://bucket/" + (LONGEST - 12) * "x"
    assert store_place(url).url == url
