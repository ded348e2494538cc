"""Whole reports, word by word: tables in every format, the page, and what its figures are drawn from."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from goldens import assert_golden, without_images
from html_cells import page_of, store_of
from PIL import Image
from report_worlds import WORLDS, cells_of_a_page, failed_checks_of

from bench.cards.threat import Norm
from bench.report.api import Evaluation
from bench.report.html.curves import curves_of
from bench.report.html.grids import shown_table
from bench.report.html.page import render_page
from bench.report.latex import render_latex
from bench.report.markdown import render_markdown
from bench.report.records import render_csv
from bench.report.table import Choice, build_tables
from bench.report.text import text_lines

GOLDEN = Path(__file__).with_name("golden")
RADII = {Norm.L2: 1.8}


@pytest.fixture(params=WORLDS)
def world(request, make_meta, make_set):
    metas = WORLDS[request.param](make_meta, make_set)
    return request.param, metas, build_tables(metas, failed_checks_of(metas))


def described(drawing):
    """Everything that a figure is drawn from, in words."""
    said = [drawing.name, drawing.title, drawing.caption, f"size {drawing.figure.get_size_inches().round(3).tolist()}"]
    for axes in drawing.figure.axes:
        said += panel_described(axes)
    labels = [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]
    return "\n".join([*said, f"legend {labels}", ""])


def panel_described(axes):
    said = []
    said.append(f"x {axes.get_xlabel()} {np.round(axes.get_xlim(), 3).tolist()}")
    said.append(f"y {axes.get_ylabel()} {np.round(axes.get_ylim(), 3).tolist()}; {axes.get_title(loc='left')}")
    for line in axes.lines:
        manner = [
            line.get_color(),
            line.get_marker(),
            line.get_linestyle(),
            line.get_markersize(),
            line.get_linewidth(),
        ]
        manner += [line.get_markerfacecolor(), line.get_markevery(), line.get_zorder()]
        said.append(f"line {manner} {np.round(line.get_xydata(), 4).tolist()}")
    for band in axes.collections:
        corners = np.vstack([path.vertices for path in band.get_paths()])
        colour = np.round(band.get_facecolor(), 3).tolist()
        said.append(f"band {band.get_alpha()} {colour} {np.round(corners, 4).tolist()}")
    for patch in axes.patches:
        manner = [patch.get_alpha(), patch.get_fill(), np.round(patch.get_edgecolor(), 3).tolist()]
        manner += [patch.get_linewidth(), np.round(patch.get_path().vertices, 4).tolist()]
        said.append(f"area {manner}")
    return said


@pytest.mark.parametrize(("kind", "options"), [("wide", {"width": 200}), ("narrow", {"width": 64})])
def test_tables_on_a_terminal_read_as_kept(world, kind, options):
    name, _, tables = world
    lines = [line for table in tables for line in text_lines(table, radii=RADII, **options)]
    assert_golden(GOLDEN / f"{name}.{kind}.txt", "\n".join(f"{line.kind:8}|{line.text}" for line in lines) + "\n")


def test_tables_with_every_figure_read_as_kept(world):
    name, _, tables = world
    lines = [line for table in tables for line in text_lines(table, width=250, full=True)]
    assert_golden(GOLDEN / f"{name}.full.txt", "\n".join(f"{line.kind:8}|{line.text}" for line in lines) + "\n")


def test_markdown_and_latex_of_every_kind_of_table_read_as_kept(world):
    name, _, tables = world
    both = [render_markdown(table, radii=RADII) + render_markdown(table, full=True) for table in tables]
    assert_golden(GOLDEN / f"{name}.md", "\n".join(both))
    both = [render_latex(table, radii=RADII) + render_latex(table, full=True) for table in tables]
    assert_golden(GOLDEN / f"{name}.tex", "\n".join(both))


def test_records_of_every_kind_of_cell_read_as_kept(world):
    name, metas, _ = world
    assert_golden(GOLDEN / f"{name}.csv", render_csv(metas))


def test_tables_of_a_page_read_as_kept(world):
    name, _, tables = world
    said = []
    for table in tables:
        shown = shown_table(table, RADII)
        said += [f"# {shown.title}", *(f"! {remark}" for remark in shown.remarks)]
        for grid in shown.grids:
            said += [f"## {grid.title} folded {grid.folded}", *grid.said]
            said += [" | ".join(f"{title} {number}" for title, number in zip(grid.header, grid.numeric, strict=True))]
            said += [" | ".join(f"{word.text} [{word.order}]" for word in row) for row in grid.rows]
    assert_golden(GOLDEN / f"{name}.grids.txt", "\n".join(said) + "\n")


def test_curves_of_every_kind_of_table_are_drawn_from_what_is_kept(world):
    name, _, tables = world
    drawings = [drawing for table in tables for drawing in curves_of(table)]
    assert_golden(GOLDEN / f"{name}.curves.txt", "\n".join(map(described, drawings)))


def test_the_data_frame_of_every_kind_of_cell_reads_as_kept(world):
    name, metas, _ = world
    frame = Evaluation(tuple(metas), store_of(), failed_checks_of(metas)).table()
    assert_golden(GOLDEN / f"{name}.frame.csv", frame.to_csv(index=False, float_format="%.6g"))


def test_a_page_reads_as_kept(make_meta):
    cells, verdicts = cells_of_a_page(make_meta)
    page = page_of(*cells, verdicts=verdicts, title="A page <of> cells")
    html = re.sub(r"(?s)<style>.*?</style>|<script>.*?</script>|sha256-[A-Za-z0-9+/=]+", "", render_page(page))
    assert_golden(GOLDEN / "page.html", without_images(html).replace(page.version, "VERSION"))


def test_the_figures_of_a_page_are_drawn_from_what_is_kept(make_meta):
    cells, verdicts = cells_of_a_page(make_meta)
    page = page_of(*cells, verdicts=verdicts)
    assert_golden(GOLDEN / "page.drawings.txt", "\n".join(map(described, page.drawings)))


def test_the_images_of_a_page_are_those_that_are_kept(make_meta):
    cells, verdicts = cells_of_a_page(make_meta)
    said = []
    for gallery in page_of(*cells, verdicts=verdicts).galleries:
        said.append(f"{gallery.title}, {gallery.norm}")
        for shown in gallery.images:
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.attacked.partition(",")[2]))))
            said.append(f"{shown.set} {shown.norm} {shown.clean_score} {shown.score} {shown.outcome} {pixels.tolist()}")
    assert_golden(GOLDEN / "page.images.txt", "\n".join(said) + "\n")


def test_a_choice_of_cells_keeps_the_clean_ones_of_the_detectors_that_it_names(make_meta, make_set):
    metas = [meta for make in WORLDS.values() for meta in make(make_meta, make_set)]
    chosen = Choice(detectors=("gat", "msp"), threats=("square-l2", "cw-l2"), tracks=("digits",))
    found = [(meta.detector, meta.threat) for meta in filter(chosen, metas)]
    assert set(found) == {("gat", "clean"), ("gat", "square-l2"), ("gat", "cw-l2"), ("msp", "cw-l2")}
    assert not list(filter(Choice(tracks=("another",)), metas))
    assert list(filter(Choice(), metas)) == metas
