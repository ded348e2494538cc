"""What a column of a table is sorted by."""

import math

import pytest

from bench.report.grid import Grid
from bench.report.html.grids import figure_of, shown_grid


@pytest.mark.parametrize(
    ("word", "figure"),
    [
        ("0.960", 0.96), ("0.993 → 0.960 [0.948, 0.970]", 0.96), ("0.993 → 0.944! [0.930, 0.956]", 0.944),
        ("[0.985, 1]", 1.0),
        ("[0, 0.015]", 0.0), ("0.993 → [0, 0.015]", 0.0), ("[0, 0.015]!", 0.0), ("12.3k", 12300.0), ("1.25M", 1.25e6),
        ("1 (255 on the 0-255 scale)", 1.0), ("0.0314 = 8/255", 0.0314), ("1e-05", 1e-5), ("any", math.inf),
        ("0.875 (0.375 at 1 %)", 0.875), ("-3.5", -3.5), ("gat", None), ("-", None), ("3d", None), ("", None),
    ],
)  # fmt: skip
def test_the_figure_of_a_word_is_the_attacked_one(word, figure):
    assert figure_of(word) == figure


def test_a_column_is_sorted_by_figures_where_all_its_words_have_one():
    grid = Grid(["name", "eps", "AUROC"], 1, [[["1", "-", "0.5"], ["b", "1", "x"]]])
    shown = shown_grid(grid)
    assert shown.numeric == (False, True, False)
    assert [[word.order for word in row] for row in shown.rows] == [["", "", ""], ["", "1.0", ""]]


def test_a_column_without_any_figure_is_sorted_by_words():
    assert shown_grid(Grid(["a"], 0, [[["-"], ["-"]]])).numeric == (False,)


def test_no_radius_at_all_is_the_largest():
    assert (
        shown_grid(Grid(["eps"], 0, [[["any"], ["2"]]])).rows[0][0].order == "1e999"
    )  # infinity, as a script reads it
