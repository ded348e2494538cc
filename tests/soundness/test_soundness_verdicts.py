"""Findings are valid, merged by age, and survive a trip to disk; damage counts as absence."""

import json
import os

import pytest
from pydantic import ValidationError

from bench.cards.threat import Side
from bench.errors import UsageError
from bench.seals import sealed_json
from bench.soundness.checklist import CHECKS, checks_made
from bench.soundness.files import read_verdicts, write_verdicts
from bench.soundness.verdicts import Finding, Verdict, Verdicts, graded, worst

KEY = "ab" * 32


def finding(check: str, verdict: Verdict, side: Side | None = None) -> Finding:
    return CHECKS[check].finding(verdict, "something was found.", side=side, figures={"share": 0.5})


def verdicts(*findings: Finding) -> Verdicts:
    return Verdicts(key=KEY, findings=findings)


def test_the_number_of_checks_is_told_of_one_attack_of_several_and_of_none():
    one = verdicts(finding("D1", Verdict.PASS), finding("D2", Verdict.FAIL), finding("D3", Verdict.SKIPPED))
    two = verdicts(*(finding(f"D{number}", Verdict.PASS) for number in range(1, 6)))
    assert checks_made({"a": one}) == "2 of 20"
    assert checks_made({"a": one, "b": two}) == "2 to 5 of 20"
    assert checks_made({}) == ""


def test_there_are_twenty_checks_with_advice_for_each():
    assert list(CHECKS) == [f"D{number}" for number in range(1, 21)]
    assert all(check.advice.endswith(".") for check in CHECKS.values())


@pytest.mark.parametrize("verdict", list(Verdict))
def test_advice_is_given_where_something_is_amiss(verdict):
    assert bool(finding("D2", verdict).advice) is (verdict in (Verdict.WARN, Verdict.FAIL))


def test_a_figure_that_is_not_finite_is_no_finding():
    with pytest.raises(ValidationError, match="finite"):
        CHECKS["D2"].finding(Verdict.PASS, "found.", figures={"share": float("nan")})


def test_failed_checks_are_named_once():
    both = [finding("D4", Verdict.FAIL, side) for side in (Side.EVADE, Side.ALARM)]
    assert verdicts(*both, finding("D2", Verdict.WARN)).failed == ("D4",)


def test_the_worst_of_several_verdicts_and_of_none():
    assert worst([Verdict.PASS, Verdict.WARN, Verdict.SKIPPED]) is Verdict.WARN
    assert worst([]) is Verdict.SKIPPED


def test_a_limit_itself_is_not_above_it():
    assert graded(0.01, warn=0.01, fail=0.03) is Verdict.PASS
    assert graded(0.03, warn=0.01, fail=0.03) is Verdict.WARN
    assert graded(0.031, warn=0.01, fail=0.03) is Verdict.FAIL


def test_a_newer_finding_takes_the_place_of_an_older_but_a_skipped_one_does_not():
    old = verdicts(finding("D4", Verdict.FAIL), finding("D2", Verdict.FAIL, Side.EVADE))
    new = verdicts(finding("D4", Verdict.SKIPPED), finding("D2", Verdict.PASS, Side.EVADE), finding("D9", Verdict.PASS))
    merged = old.merged(new)
    assert [(f.check, f.verdict) for f in merged.findings] == [
        ("D2", Verdict.PASS),
        ("D4", Verdict.FAIL),
        ("D9", Verdict.PASS),
    ]


def test_verdicts_come_back_from_disk_as_they_were_written(tmp_path):
    written = write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL, Side.EVADE)))
    assert read_verdicts(tmp_path, [KEY, "cd" * 32]) == {KEY: written}


def test_writing_twice_adds_up(tmp_path):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    merged = write_verdicts(tmp_path, verdicts(finding("D9", Verdict.PASS)))
    assert [f.check for f in merged.findings] == ["D4", "D9"]
    assert read_verdicts(tmp_path, [KEY])[KEY] == merged


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "[" * 100_000], ids=range(6))
def test_a_damaged_file_counts_as_absent_and_is_written_anew(tmp_path, text):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    path.write_text(text)
    heard, told = [], []
    assert read_verdicts(tmp_path, [KEY, "cd" * 32], heard.append) == {}
    assert len(heard) == 1 and "the findings of 1 cell" in heard[0] and "no '!' marks what they doubted" in heard[0]
    assert write_verdicts(tmp_path, verdicts(finding("D2", Verdict.PASS)), told.append).failed == ()
    assert len(told) == 1 and "cannot be used" in told[0]
    assert write_verdicts(tmp_path, verdicts(finding("D4", Verdict.PASS)), told.append).failed == ()
    assert len(told) == 1


@pytest.mark.parametrize(("field", "value"), [("format", 99), ("key", "cd" * 32)])
def test_findings_of_another_version_or_cell_count_as_none(tmp_path, field, value):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    content = {**json.loads(path.read_text()), field: value}
    del content["seal"]
    path.write_bytes(sealed_json(content))
    heard = []
    assert read_verdicts(tmp_path, [KEY], heard.append) == {}
    assert "of another" in heard[0]


def test_findings_without_a_seal_are_taken_with_a_notice(tmp_path):
    written = write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    heard = []
    assert read_verdicts(tmp_path, [KEY], heard.append) == {KEY: written} and heard == []
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    path.write_text(written.model_dump_json())
    assert read_verdicts(tmp_path, [KEY], heard.append) == {KEY: written}
    assert len(heard) == 1 and "have no seal" in heard[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_findings_that_cannot_be_opened_are_named(tmp_path):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    path.chmod(0)
    heard = []
    assert read_verdicts(tmp_path, [KEY], heard.append) == {} and "ermission denied" in heard[0]


def test_a_folder_in_the_place_of_findings_is_named(tmp_path):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    path.unlink()
    path.mkdir()
    heard = []
    assert read_verdicts(tmp_path, [KEY], heard.append) == {} and len(heard) == 1


def test_nothing_is_left_beside_the_file(tmp_path):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.json"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "verdicts").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*verdicts.*--out"):
        write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))


def test_verdicts_that_were_changed_on_disk_count_as_absent(tmp_path):
    write_verdicts(tmp_path, verdicts(finding("D4", Verdict.FAIL)))
    (path,) = (tmp_path / "verdicts").glob("*/*.json")
    path.write_text(path.read_text().replace("FAIL", "PASS"))
    heard = []
    assert read_verdicts(tmp_path, [KEY], heard.append) == {}
    assert "it differs from its seal" in heard[0]


@pytest.mark.parametrize("name", ["verdicts", f"verdicts/{KEY[:2]}"])
def test_verdicts_are_not_written_through_a_link(tmp_path, name):
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "runs" / name
    elsewhere.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        write_verdicts(tmp_path / "runs", verdicts(finding("D4", Verdict.FAIL)))
    assert list(elsewhere.iterdir()) == []
