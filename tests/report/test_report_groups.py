"""Means of groups of OOD sets, the forms of sets, and tables of different copies, in every output."""

import csv
import io

import pytest

from bench.report.flat import flat_grid
from bench.report.html.facts import provenance_of
from bench.report.html.grids import shown_table
from bench.report.latex import render_latex
from bench.report.markdown import render_markdown
from bench.report.records import render_csv
from bench.report.table import build_tables
from bench.report.text import render_text


def grouped(make_meta, make_set, detector="gat", *, near=0.612, far=0.987, **other):
    base = make_meta(
        detector, sets={"letters": make_set(0.8), "photos": make_set(0.9), "noise": make_set(0.7)}, **other
    )

    def mean(auroc, *sets):
        return base.mean.model_copy(update={"auroc": auroc, "low": auroc - 0.02, "high": auroc + 0.02, "sets": sets})

    return base.model_copy(update={"groups": {"near": mean(near, "letters"), "far": mean(far, "photos", "noise")}})


@pytest.fixture
def table(make_meta, make_set):
    return build_tables([grouped(make_meta, make_set)])[0]


def test_every_format_shows_the_means_of_groups_beside_the_main_one(table):
    text = render_text(table, width=200)
    header = next(line for line in text.splitlines() if line.startswith("detector")).split()
    at = header.index("near")
    assert header[at : at + 5] == ["near", "far", "letters", "photos", "noise"]
    for rendered in (text, render_markdown(table), render_latex(table)):
        assert "0.612" in rendered and "0.987" in rendered
        assert "mean near over letters; mean far over photos, noise" in rendered
    assert flat_grid(table).header[3:7] == ["mean AUROC", "ceiling", "mean near", "mean far"]
    assert "mean near" in shown_table(table, {}).grids[0].header


def test_a_narrow_terminal_loses_no_group(table):
    text = render_text(table, width=60)
    assert "0.612" in text and "0.987" in text


def test_the_full_grid_has_a_row_for_each_group(table):
    (block,) = flat_grid(table, full=True).blocks
    assert [row[3] for row in block] == ["mean", "mean near", "mean far", "letters", "photos", "noise"]
    assert {len(row) for row in block} == {len(flat_grid(table, full=True).header)}


def test_the_full_grid_has_the_interval_and_the_figures_of_each_group(make_meta, make_set):
    meta = grouped(make_meta, make_set, reachable=0.1)
    far = meta.groups["far"].model_copy(update={"fpr95": 0.125, "ceiling": 0.875})
    (table,) = build_tables([meta.model_copy(update={"groups": {"far": far}})])
    grid = flat_grid(table, full=True)
    row = dict(zip(grid.header, grid.blocks[0][1], strict=True))
    assert row == {
        "detector": "gat", "threat": "pgd-l2", "eps": "1 (255 on the 0-255 scale)", "set": "mean far",
        "AUROC": "0.950 → 0.987 [0.967, 1.007]", "ties against": "-", "AUPR in": "-", "AUPR out": "-", "FPR95": "0.125",
        "detected": "-", "ceiling": "0.875",
    }  # fmt: skip


def test_csv_has_a_row_for_each_group_and_the_main_mean_is_what_it_was(make_meta, make_set):
    meta = grouped(make_meta, make_set)
    rows = list(csv.DictReader(io.StringIO(render_csv([meta]))))
    assert [(row["set"], row["group"]) for row in rows] == [
        ("letters", "near"),
        ("photos", "far"),
        ("noise", "far"),
        ("mean", ""),
        ("mean near", "near"),
        ("mean far", "far"),
    ]
    by_set = {row["set"]: row for row in rows}
    assert float(by_set["mean near"]["auroc"]) == 0.612
    plain = meta.model_copy(update={"groups": {}})
    without = {row["set"]: row for row in csv.DictReader(io.StringIO(render_csv([plain])))}
    assert without["mean"] == by_set["mean"]


def test_a_table_without_groups_has_no_column_for_them(make_meta):
    table = build_tables([make_meta()])[0]
    assert table.groups == () and "mean near" not in render_text(table)
    assert flat_grid(table).header[3:6] == ["mean AUROC", "ceiling", "letters"]


def test_a_detector_without_the_groups_figure_shows_none(make_meta, make_set):
    table = build_tables([grouped(make_meta, make_set), make_meta("older")])[0]
    row = next(words for words in flat_grid(table).blocks[0] if words[0] == "older")
    assert row[4:6] == ["-", "-"]


# --------------------------------------------------------------------------- forms and copies


def test_the_form_of_each_set_is_named(make_meta):
    forms = {"test": "torchvision's CIFAR10", "calibration": "torchvision's CIFAR10", "letters": "letters.npz"}
    meta = make_meta(forms=forms)
    table = build_tables([meta])[0]
    said = "read: test and calibration from torchvision's CIFAR10; letters from letters.npz"
    assert said in " ".join(render_text(table).split()) and said in render_markdown(table)
    assert {row["form"] for row in csv.DictReader(io.StringIO(render_csv([meta])))} == {"letters.npz", ""}
    assert "letters from letters.npz" in dict(provenance_of(meta).facts)["read"]


def test_numbers_of_different_copies_never_stand_in_one_table(make_meta):
    copies = [
        make_meta(name, set_digests={"test": digit * 64, "letters": "9" * 64}) for name, digit in ("a1", "b1", "c2")
    ]
    tables = build_tables(copies)
    assert sorted([meta.detector for meta in table.metas] for table in tables) == [["a", "b"], ["c"]]
    headings = [render_text(table).splitlines()[0] for table in tables]
    assert len(set(headings)) == 2 and all("(images #" in heading for heading in headings)


def test_training_images_tell_no_tables_apart(make_meta):
    metas = [
        make_meta("a", set_digests={"test": "1" * 64}),
        make_meta("b", set_digests={"test": "1" * 64, "train": "2" * 64}),
    ]
    (table,) = build_tables(metas)
    assert table.content == "" and "(images #" not in render_text(table)
