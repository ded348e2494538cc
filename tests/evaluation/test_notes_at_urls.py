"""Small files that several machines add to: nothing that one of them adds is lost, whoever was first."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from bench.evaluation import notes
from bench.evaluation.notes import Notes, bring_notes, publish_notes
from bench.evaluation.object_files import RemoteObjects


def joined(older: bytes, newer: bytes) -> bytes:
    """Mappings, of which the newer one's values count."""
    return json.dumps({**json.loads(older), **json.loads(newer)}, sort_keys=True).encode()


def place(root: Path, id_: str) -> Path:
    return root / f"{id_}.json"


KIND = Notes("words", lambda root: {path.stem: path for path in root.glob("*.json")}, place, joined)


class Machine:
    """A folder that mirrors one store."""

    def __init__(self, root: Path, objects: RemoteObjects) -> None:
        self.root, self.objects = root, objects
        self.seen: dict[Path, tuple[int, int]] = {}
        root.mkdir()

    def add(self, **words: int) -> None:
        path = place(self.root, "w")
        known = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps({**known, **words}, sort_keys=True))

    def words(self) -> dict[str, int]:
        return json.loads(place(self.root, "w").read_bytes())

    def bring(self) -> None:
        bring_notes(KIND, self.root, self.objects)

    def publish(self) -> None:
        publish_notes(KIND, self.root, self.objects, self.seen)


@pytest.fixture
def objects() -> RemoteObjects:
    return RemoteObjects(f"memory://{uuid4().hex}")


@pytest.fixture
def machines(tmp_path: Path, objects: RemoteObjects) -> list[Machine]:
    return [Machine(tmp_path / name, objects) for name in "abc"]


def test_what_two_machines_add_at_the_same_time_reaches_all(machines):
    a, b, c = machines
    a.add(x=1, both=1)
    b.add(y=2, both=2)
    a.publish()
    b.publish()
    for one in (a, b, c):
        one.bring()
        assert one.words() == {"x": 1, "y": 2, "both": 2}


def test_the_later_version_counts_however_often_an_earlier_one_is_brought(machines):
    a, b, c = machines
    a.add(x=1)
    a.publish()
    b.bring()
    b.add(x=2)
    b.publish()
    for _ in range(2):
        c.bring()
        a.bring()
    assert a.words() == c.words() == {"x": 2}
    a.add(x=3)  # not published yet: what comes from elsewhere does not undo it
    b.add(y=1)
    b.publish()
    a.bring()
    assert a.words() == {"x": 3, "y": 1}


def test_machines_that_agree_put_nothing_any_more(machines, objects):
    a, b, _ = machines
    a.add(x=1)
    b.add(y=2)
    for _ in range(3):
        for one in (a, b):
            one.publish()
            one.bring()
    assert len(objects.names("words")) == 2
    assert a.words() == b.words()


def test_a_file_that_did_not_change_is_not_read_again(machines, monkeypatch):
    a = machines[0]
    a.add(x=1)
    a.publish()
    monkeypatch.setattr(notes, "read_file", lambda path, most: pytest.fail("it is read"))
    a.publish()


def test_what_does_not_fit_its_hash_or_cannot_be_joined_is_passed_over(machines, objects):
    a, b, _ = machines
    a.add(x=1)
    a.publish()
    objects.put(f"words/w/{'9' * 16}-{'0' * 32}.json", b'{"x": 9}')
    objects.put(f"words/w/{'9' * 16}-{notes._digest(b'no JSON')}.json", b"no JSON")
    objects.put("words/w/else.json", b"{}")
    b.bring()
    assert b.words() == {"x": 1}
