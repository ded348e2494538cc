"""Findings of one cell that two machines made: joined, the newer one of each check counts, and none is lost."""

from pathlib import Path

import pytest

from bench.seals import sealed_json
from bench.soundness.files import NOTES, read_verdicts, write_verdicts
from bench.soundness.verdicts import Finding, Verdict, Verdicts

KEY = "ab" * 32


def findings(**by_check: Verdict) -> Verdicts:
    made = tuple(Finding(check=check, title="a check", verdict=said, found="x.") for check, said in by_check.items())
    return Verdicts(key=KEY, findings=made)


def content(verdicts: Verdicts, key: str = KEY) -> bytes:
    return sealed_json(verdicts.model_copy(update={"key": key}).model_dump(mode="json"))


def test_joined_findings_are_those_of_both_and_the_newer_one_of_a_check(tmp_path: Path) -> None:
    older = content(findings(D1=Verdict.PASS, D2=Verdict.PASS))
    newer = content(findings(D2=Verdict.FAIL, D3=Verdict.WARN))
    both = NOTES.joined(older, newer)
    place = NOTES.place(tmp_path, KEY)
    place.parent.mkdir(parents=True)
    place.write_bytes(both)
    found = read_verdicts(tmp_path, [KEY])[KEY]
    assert {one.check: one.verdict for one in found.findings} == {
        "D1": Verdict.PASS,
        "D2": Verdict.FAIL,
        "D3": Verdict.WARN,
    }
    assert NOTES.joined(both, both) == both


@pytest.mark.parametrize("other", [b"{}", b"no JSON", content(findings(D1=Verdict.PASS), "cd" * 32)])
def test_what_is_no_file_of_the_cell_is_not_joined(other: bytes) -> None:
    own = content(findings(D1=Verdict.PASS))
    for pair in ((own, other), (other, own)):
        with pytest.raises(ValueError):
            NOTES.joined(*pair)


def test_the_files_that_travel_are_those_of_cells(tmp_path: Path) -> None:
    write_verdicts(tmp_path, findings(D1=Verdict.PASS))
    (tmp_path / "verdicts" / "ab" / "notes.json").write_text("{}")
    assert NOTES.found(tmp_path) == {KEY: tmp_path / "verdicts" / "ab" / f"{KEY}.json"}
