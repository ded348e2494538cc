"""Reports right at their limits: lengths of names, widths of terminals, sizes of galleries."""

import warnings

import matplotlib as mpl
import pytest
from html_cells import make_cell, page_of

from bench.cards.threat import Norm
from bench.report.captions import ceiling_lines, needs_radii
from bench.report.html import build
from bench.report.html.curves import curves_of
from bench.report.html.drawing import plain
from bench.report.html.scores import counted_sets, histogram
from bench.report.html.templating import said
from bench.report.table import build_tables
from bench.report.text import text_lines


def test_a_sentence_of_a_page_is_cut_beyond_2000_letters():
    assert said("x" * 2000) == "x" * 2000
    assert said("x" * 2001) == "x" * 2000 + "..."


@pytest.mark.parametrize("length", [10, 40, 60])
def test_a_name_in_a_figure_is_cut_where_it_is_longer_than_its_place(length):
    assert plain("n" * length, length) == "n" * length
    assert plain("n" * (length + 1), length) == "n" * (length - 3) + "..."
    assert plain("a\nb\x00c", length) == "a?b?c"


def test_names_in_figures_have_60_letters_where_nothing_else_is_said():
    assert (len(plain("n" * 60)), len(plain("n" * 61)), plain("n" * 61)[-3:]) == (60, 60, "...")


def test_a_curve_of_paths_names_a_detector_by_60_letters(make_meta, make_set):
    from report_worlds import between

    metas = [meta.model_copy(update={"detector": "d" * 60}) for meta in between(make_meta, make_set)[:1]]
    legend = curves_of(build_tables(metas)[0])[0].figure.legends[0].get_texts()
    assert [text.get_text() for text in legend] == ["d" * 60]


def test_a_table_that_is_just_as_wide_as_the_terminal_stands_in_one_panel(make_meta):
    (table,) = build_tables([make_meta()])
    width = max(len(line.text) for line in text_lines(table, width=300) if line.kind == "row")
    assert sum(line.kind == "row" for line in text_lines(table, width=width)) == 1
    assert sum(line.kind == "row" for line in text_lines(table, width=width - 1)) > 1


def test_the_radii_that_are_small_enough_are_named_in_their_order(make_meta):
    metas = [make_meta(eps=eps, reachable=0.9 if eps > 9 else 0.0) for eps in (16.0, 8.0, 1.0)]
    (line,) = ceiling_lines(build_tables(metas)[0], {})
    assert "of the radii shown, 1, 8 are small enough" in line
    (line,) = ceiling_lines(build_tables(metas)[0], {Norm.L2: 2.0})
    assert "up to eps 2 at most 5 % can" in line


def test_a_radius_that_turns_just_five_in_a_hundred_images_is_small_enough(make_meta):
    at, above = (make_meta(eps=eps, reachable=share) for eps, share in ((1.0, 0.05), (2.0, 0.0501)))
    assert ceiling_lines(build_tables([at])[0], {}) == []
    assert needs_radii(build_tables([at])[0]) == set()
    assert needs_radii(build_tables([at, above])[0]) == {Norm.L2}
    (line,) = ceiling_lines(build_tables([at, above])[0], {})
    assert line.startswith("l2 eps 2 is too large")
    assert "of the radii shown, 1 are small enough" in line


def test_figures_look_the_same_whatever_the_user_has_set(make_meta, make_set):
    cell = make_cell(make_meta())
    plainly = histogram(cell).png()
    with mpl.rc_context({"axes.facecolor": "black", "lines.linewidth": 9.0, "axes.titleweight": "bold"}):
        assert histogram(cell).png() == plainly


def test_where_no_set_enters_the_mean_all_are_drawn(make_meta, make_set):
    sets = {"letters": make_set(0.8, counts=False), "uniform": make_set(0.9, counts=False)}
    assert counted_sets(make_meta(sets=sets)) == ["letters", "uniform"]
    sets["photos"] = make_set(0.7)
    assert counted_sets(make_meta(sets=sets)) == ["photos"]


def test_galleries_that_would_make_a_page_too_large_are_counted(make_meta, monkeypatch):
    cells = [make_cell(make_meta(name, key=name * 64)) for name in "abc"]
    whole = page_of(*cells)
    size = sum(image.size for image in whole.galleries[0].images)
    monkeypatch.setattr(build, "GALLERY_LETTERS", 2 * size)
    page = page_of(*cells)
    assert [len(gallery.images) for gallery in page.galleries] == [2, 2]
    assert page.gallery_notes[-1] == "galleries that are left out because the page would be too large: 1."
    assert not any("too large" in note for note in whole.gallery_notes)


def test_a_page_shows_as_many_images_of_a_set_as_are_asked_for(make_meta):
    cell = make_cell(make_meta())
    assert page_of(cell, each=0).galleries == ()
    assert [image.set for image in page_of(cell, each=1).galleries[0].images] == ["letters", "uniform"]


def test_a_cell_that_keeps_no_images_is_no_gallery_that_was_left_out(make_meta):
    page = page_of(make_cell(make_meta(), arrays=False))
    assert page.galleries == () and not any("too large" in note for note in page.gallery_notes)


def test_a_name_in_a_script_without_glyphs_is_drawn_without_a_warning(make_meta):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert histogram(make_cell(make_meta("検出器"))).png()
