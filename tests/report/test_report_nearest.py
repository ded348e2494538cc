"""Tables of attacks that look for the nearest image across a threshold."""

import csv
import io

from bench.cards.threat import Side
from bench.evaluation.results import NearestAtEps, NearestFigures, NearestMetrics
from bench.report.flat import flat_grid
from bench.report.html.curves import curves_of
from bench.report.markdown import render_markdown
from bench.report.records import render_csv
from bench.report.table import build_tables
from bench.report.text import render_text


def figures(across, *within, median=0.75, counts=True):
    curve = tuple(NearestAtEps(eps=eps, across=share) for eps, share in zip((0.5, None), within, strict=True))
    return NearestFigures(
        n=100, counts=counts, across=across, median_radius=median, curve=curve, gradients=5000, queries=1000
    )


def crossed(make_meta, detector="gat", side=Side.EVADE, median=0.75, **more):
    if side is Side.ALARM:
        sets = {"test": figures(0.05, 0.25, 0.875, median=median)}
    else:
        sets = {
            "letters": figures(0.125, 0.5, 1.0, median=median),
            "noise": figures(0.0, 0.0, 0.625, counts=False),
        }
    nearest = NearestMetrics(threshold="calibration_tpr95", sets=sets, mean=next(iter(sets.values())))
    meta = make_meta(detector, "ddn-l2", side=side, nearest=nearest, sets={}, gradients=10_000, queries=2000, **more)
    return meta.model_copy(update={"eps": None})


def test_every_column_is_the_figure_that_its_title_says(make_meta):
    grid = flat_grid(build_tables([crossed(make_meta)])[0])
    assert dict(zip(grid.header, grid.blocks[0][0], strict=True)) == {
        "detector": "gat", "threat": "ddn-l2", "eps": "0.5", "accepted": "0.125 → 0.500", "median radius": "0.75",
        "letters": "0.500", "noise*": "0.000", "grads": "50", "queries": "10", "seconds": "3.2",
    }  # fmt: skip
    assert grid.blocks[0][1][2:4] == ["any", "0.125 → 1.000"]


def test_on_side_alarm_images_are_rejected_and_there_is_one_set(make_meta):
    grid = flat_grid(build_tables([crossed(make_meta, side=Side.ALARM)])[0])
    assert "rejected" in grid.header and "test" not in grid.header
    assert grid.blocks[0][0][3] == "0.050 → 0.250"


def test_where_half_are_never_across_there_is_no_median(make_meta):
    grid = flat_grid(build_tables([crossed(make_meta, median=None)])[0])
    assert grid.blocks[0][0][4] == "-"


def test_radii_stand_in_a_table_of_their_own_beside_aurocs(make_meta):
    tables = build_tables([crossed(make_meta), make_meta("gat"), make_meta("gat", "clean", eps=None)])
    assert [table.nearest for table in tables] == [False, True]
    assert "ddn-l2" not in render_text(tables[0]) and "pgd-l2" not in render_text(tables[1])
    assert "there is no AUROC under this attack" in render_text(tables[1])


def test_the_largest_median_radius_stands_first(make_meta):
    cells = [crossed(make_meta, name, median=m) for name, m in (("a", 0.5), ("b", None), ("c", 0.75))]
    grid = flat_grid(build_tables(cells)[0])
    assert list(dict.fromkeys(row[0] for row in grid.blocks[0])) == ["b", "c", "a"]


def test_without_a_clean_cell_the_caption_says_how_many_were_attacked(make_meta):
    (table,) = build_tables([crossed(make_meta)])
    assert "attacked: 100 of letters, 100 of noise" in render_text(table) and "| gat |" in render_markdown(table)


def test_a_csv_holds_a_record_for_each_set_and_radius_and_no_auroc(make_meta):
    found = list(csv.DictReader(io.StringIO(render_csv([crossed(make_meta)]))))
    assert [(row["set"], row["eps"], row["across"], row["median_radius"]) for row in found] == [
        ("letters", "0.5", "0.5", "0.75"),
        ("letters", "", "1.0", "0.75"),
        ("noise", "0.5", "0.0", "0.75"),
        ("noise", "", "0.625", "0.75"),
        ("mean", "0.5", "0.5", "0.75"),
        ("mean", "", "1.0", "0.75"),
    ]
    assert {row["auroc"] for row in found} == {""}


def test_a_page_draws_the_share_against_the_radius(make_meta):
    (drawing,) = curves_of(build_tables([crossed(make_meta)])[0])
    (line,) = drawing.figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [0.0, 0.5] and line.get_ydata().tolist() == [0.125, 0.5]
