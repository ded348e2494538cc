"""Statuses of entries, their records, and the page that is made of them."""

import pytest

from bench.cards.base import Paper
from bench.errors import UsageError
from bench.repro.claims import Measured
from bench.repro.entry import Entry, Scale
from bench.repro.judging import Status, judge
from bench.repro.library import PaperEntries
from bench.repro.page import render_page
from bench.repro.records import Record, read_record, stored_figures, write_record


def entry(*, comparable=False, published=0.5, cause=None, name="one", missing=None):
    small = {"missing": missing} if missing else {
        "about": "Little.", "comparable": comparable, "runs": [{"id": "a", "detector": ["msp"], "track": "digits"}],
    }  # fmt: skip
    return Entry.model_validate({
        "name": name, "items": ["Table 1"], "title": "A table", "shows": "Something.", "source": "Table 1.",
        "small": small, "paper": {"missing": "The data."}, "cause": cause,
        "rows": [{"name": "msp", "detector": "msp"}], "columns": [{"name": "clean", "figure": "clean-auroc"}],
        "published": {"msp": {"clean": published}},
        "claims": [{"kind": "above", "figure": ("msp", "clean"), "value": 0.4, "says": "It is |better|."}],
    })  # fmt: skip


def figures(value, error=0.05):
    return {("msp", "clean"): Measured(value, value - error, value + error)}


def record(found, **more):
    content = {
        "entry": "one", "scale": "small", "date": "2026-01-02", "seconds": 200.0, "gradients": 1234, "device": "cpu",
        "cells": 2, "figures": stored_figures(found), **more,
    }  # fmt: skip
    return Record.model_validate(content)


@pytest.mark.parametrize(
    ("made", "found", "status"),
    [
        (entry(), figures(0.5), Status.SAME_PATTERN),
        (entry(comparable=True), figures(0.5), Status.REPRODUCED),
        (entry(comparable=True, published=0.551), figures(0.5), Status.REPRODUCED),  # within error and tolerance
        (entry(comparable=True, published=0.56), figures(0.5), Status.SAME_PATTERN),
        (entry(), figures(0.3), Status.DIFFERENT),
        (entry(), figures(0.42), Status.DIFFERENT),  # nothing is decided
        (entry(), {}, Status.NOT_RUN),
        (entry(), {("other", "clean"): Measured(0, 0, 0)}, Status.NOT_RUN),
    ],
)
def test_a_status_follows_from_claims_and_published_figures(made, found, status):
    assert judge(made, Scale.SMALL, found).status is status


def test_a_difference_has_the_interval_of_the_figure_here():
    (compared,) = judge(entry(published=0.9), Scale.SMALL, figures(0.5)).comparisons
    found = compared.difference
    assert (found.value, found.low, found.high) == pytest.approx((-0.4, -0.45, -0.35))
    assert not compared.agrees


def page(made, kept):
    paper = Paper(title="T", authors="A", year=2020)
    return render_page([PaperEntries("p", paper, (made,))], {} if kept is None else {made.name: kept}, Scale.SMALL)


def test_the_page_has_a_summary_and_every_figure_beside_the_published_one():
    text = page(entry(), record(figures(0.5)))
    assert "| p | Table 1 | A table | same pattern | 1 holds |" in text
    assert "1 entries: 0 reproduced, 1 same pattern, 0 different, 0 not run" in text
    assert "| msp | 0.500 (0.450 to 0.550) |" in text
    assert "| msp | clean | 0.500 | 0.500 | +0.000 (-0.050 to +0.050) |" in text
    assert "bench repro one --scale small" in text
    assert "2026-01-02: 2 cells, 1,234 gradients, 3 min on cpu." in text
    assert r"*holds*: It is \|better\|." in text


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (None, "Different, cause not tested."),
        ({"text": "Too small."}, "cause not tested; it may be: Too small."),
        ({"text": "Too small.", "tested": "a larger one."}, "Different: Too small. Tested: a larger one."),
    ],
)
def test_what_is_different_says_whether_its_cause_was_tested(cause, said):
    assert said in page(entry(cause=cause), record(figures(0.3)))


def test_what_fails_and_why_stands_in_a_table_before_the_details():
    text = page(entry(cause={"text": "Too small.", "tested": "a larger one."}), record(figures(0.3)))
    row = r"| A table | It is \|better\|. | Too small. Tested: a larger one. |"
    assert row in text and text.index(row) < text.index("## p")
    assert "| different |" not in page(entry(), record(figures(0.5)))
    undecided = page(entry(), record(figures(0.42)))
    assert "| A table | nothing is decided | no claim is decided at this size. |" in undecided


def test_what_was_not_run_says_what_is_missing():
    text = page(entry(missing="The weights."), None)
    assert "| p | Table 1 | A table | not run | - |" in text
    assert "| Table 1 | A table: Something. | The weights. |" in text
    assert "bench repro one runs it" in page(entry(), None)


def test_a_cell_that_failed_is_named():
    assert "Not computed: msp x clean: it broke" in page(entry(), record({}, failed={"msp x clean": "it broke"}))


def test_a_record_is_read_as_it_was_written(tmp_path):
    kept = record(figures(0.5))
    write_record(tmp_path, kept)
    assert read_record(tmp_path, "one", Scale.SMALL) == kept
    assert read_record(tmp_path, "one", Scale.PAPER) is None


@pytest.mark.parametrize(
    "change", [lambda t: t.replace("0.45", "0.46"), lambda t: "", lambda t: "[]", lambda t: t + "x"]
)
def test_a_record_that_was_changed_is_refused(change, tmp_path):
    path = write_record(tmp_path, record(figures(0.5)))
    path.write_text(change(path.read_text()))
    with pytest.raises(UsageError, match="is not what was written there"):
        read_record(tmp_path, "one", Scale.SMALL)
