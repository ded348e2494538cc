"""What a board and a comparison say in a terminal, line by line."""

import pytest
from board_rows import cell, found_row, row_of, score_table, track_card, varied_board

from bench.cli import leaderboard as command
from bench.leaderboards.board_text import CAPTION, board_lines, compare_lines, counted_words
from bench.leaderboards.columns import UNRANKED_HINT, Wanted, history_grid, judged, uses_extra_data
from bench.leaderboards.compare import compare
from bench.leaderboards.ranking import Leaderboards, rank
from bench.soundness.verdicts import Verdict

BOARD = """\
small, version 1: all-l2 at 1, all-linf at 0.05
{caption}
                                        worst-case        worst                 clean               extra
place  detector  badge                       AUROC       attack                 AUROC        flags   data  certified\
  white-box  gradients  queries  seconds
1      anchor    re-attacked                 0.840  all-l2 at 1  0.955 [0.863, 0.992]  not checked     no         no\
        yes      24.6k      140      3.0
2      outlier   re-attacked  0.792 [0.670, 0.885]  all-l2 at 1  0.917 [0.820, 0.971]  not checked    yes         no\
        yes      24.6k      140      3.0
3      boxed     re-attacked  0.537 [0.407, 0.664]  all-l2 at 1  0.936 [0.861, 0.978]  not checked     no         no\
         no      24.6k      140      3.0
4      bounded   re-attacked  0.433 [0.304, 0.568]  all-l2 at 1  0.736 [0.607, 0.841]  not checked     no        yes\
        yes      24.6k      140      3.0
5      plain     refuted      0.383 [0.262, 0.515]  all-l2 at 1  0.922 [0.839, 0.970]      WARN D4     no         no\
        yes      24.6k      140      3.0
outlier beaten: AUROC 0.400 by 50 images of a third party under all-l2 at l2 1 (20 score higher), as a verifier scored\
 them; ranks once the track's version rises.
Not verified: no place
{hint}
                                     claimed                            claimed
                                  worst-case        worst                 clean
detector         badge                 AUROC       attack                 AUROC   bench
loud      not verified  0.949 [0.869, 0.987]  all-l2 at 1  0.949 [0.869, 0.987]  99.0.0
masked         doubted  0.927 [0.846, 0.973]  all-l2 at 1  0.935 [0.857, 0.978]   0.1.0
scored       re-scored  0.889 [0.794, 0.951]  all-l2 at 1  0.908 [0.818, 0.963]   0.1.0
1 row is not ranked, being of earlier cards or versions; the pages (--html) show every row.
"""

COMPARED = """\
anchor against outlier on small
Mean AUROCs of the verifiers' attacks on the same samples; the error of the difference is that of DeLong et al.,\
 paired, and p is two-sided, of one comparison alone.
figure            anchor  outlier      difference      p
clean              0.955    0.917  +0.038 ± 0.042   0.36
worst case         0.934    0.792  +0.142 ± 0.060  0.017
all-l2 at 1        0.934    0.792  +0.142 ± 0.060  0.017
all-linf at 0.05   0.945    0.853  +0.092 ± 0.053  0.077
"""


def text(lines):
    return "".join(f"{line.text.rstrip()}\n" for line in lines)


def test_a_board_reads_as_written_here():
    board = varied_board()
    assert text(board_lines(board, Wanted(), 400)) == BOARD.format(caption=CAPTION, hint=UNRANKED_HINT)


def test_every_kind_of_line_of_a_board_is_told_apart():
    board = varied_board()
    kinds = [line.kind for line in board_lines(board, Wanted(), 230)]
    ranked = ["heading", "caption", "caption", "header", "header", *["row"] * 5, "remark"]
    assert kinds == [*ranked, "heading", "caption", *["header"] * 3, *["row"] * 3, "caption"]


def test_in_a_narrow_terminal_every_panel_of_a_board_begins_with_place_and_detector():
    board = varied_board()
    lines = board_lines(board, Wanted(), 100)
    assert max(len(line.text) for line in lines) <= 100
    heads = [line.text.split() for line in lines if line.kind == "header"]
    assert [words[:2] for words in heads if words[0] == "place"] == [["place", "detector"]] * 2
    rows = [line.text.split()[:2] for line in lines if line.kind == "row" and line.text[0].isdigit()]
    assert rows == [[str(standing.place), standing.row.detector.name] for standing in board.standings] * 2


def test_rows_that_are_not_shown_are_counted_and_so_are_older_ones():
    board = varied_board()
    assert "6 rows do not fit the filters." in text(board_lines(board, Wanted(extra_data=True), 230))
    assert "1 row does not fit the filters." in text(board_lines(board, Wanted(certified=False), 230))
    none = text(board_lines(board, Wanted(certified=True, white_box=False), 230))
    assert "No ranked row fits the filters." in none and "Not verified" not in none
    older = rank(track_card(), [found_row("a", 1), *(found_row("a", n, past="old") for n in (2, 3))])
    assert "2 rows are not ranked, being of earlier cards" in text(board_lines(older, Wanted(), 230))
    empty = rank(track_card(), [])
    assert text(board_lines(empty, Wanted(), 230)).endswith("There is no row; `bench submit` builds one.\n")


def test_a_comparison_reads_as_written_here():
    a, b = varied_board().standings[:2]
    assert text(compare_lines(a, b, compare(a, b), 200)) == COMPARED


def test_a_comparison_of_other_samples_says_that_it_is_unpaired():
    anchor, _, boxed = varied_board().standings[:3]
    said = text(compare_lines(anchor, boxed, compare(anchor, boxed), 300))
    assert "on the other samples; the error of the difference is unpaired, and p" in said


def test_the_history_of_a_detector_says_of_each_row_why_it_is_shown_or_not():
    board = varied_board()
    grid = history_grid(board.history("anchor"))
    assert [dict(zip(grid.header, words, strict=True)) | {"row": ""} for words in grid.blocks[0]] == [
        {"row": "", "shown": "ranked", "track version": "1", "bench": "0.1.0", "badge": "re-attacked",
         "claimed worst case": "0.934 [0.839, 0.982]", "claimed clean": "0.955 [0.863, 0.992]"},
        {"row": "", "shown": "version 1 of the track", "track version": "1", "bench": "0.0.9", "badge": "re-attacked",
         "claimed worst case": "0.753 [0.629, 0.853]", "claimed clean": "0.838 [0.729, 0.916]"},
    ]  # fmt: skip
    assert [words[0] for words in grid.blocks[0]] == [found.row.stem for found in board.history("anchor")]


def test_every_attack_of_a_row_is_named_with_norm_and_radius_worst_cases_before_what_they_are_made_of():
    row = row_of(score_table(1))
    expected = []
    for entry, where in zip(row.entries, ("l2 1", "linf 0.05"), strict=True):
        expected += [(f"{entry.threat} at {where}", entry.cell), (f"climb at {where}", entry.members["climb"].cell)]
    assert judged(row) == expected


@pytest.mark.parametrize(
    ("given", "uses"),
    [("none", False), ("None.", False), (" no ", False), ("nothing.", False), ("", False), ("outliers", True)],
)
def test_extra_data_are_what_is_not_said_to_be_none(given, uses):
    assert uses_extra_data(row_of(score_table(1), extra_data=given)) is uses


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({"D4": Verdict.PASS}, "none"),
        ({"D10": Verdict.WARN, "D2": Verdict.WARN, "D4": Verdict.FAIL}, "FAIL D4, WARN D2 D10"),
        ({"D4": Verdict.SKIPPED}, "not checked"),
    ],
)
def test_flags_are_sorted_by_verdict_and_number(verdicts, words):
    board = rank(track_card(), [found_row("a", 1, soundness=verdicts)])
    assert words in text(board_lines(board, Wanted(), 230))
    assert cell(soundness=verdicts).soundness == verdicts


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"extra_data": True}, ["outlier"]),
        ({"certified": True}, ["bounded"]),
        ({"white_box": False}, ["boxed"]),
        ({"extra_data": False, "certified": False, "white_box": True}, ["anchor", "plain"]),
    ],
)
def test_each_option_filters_by_what_it_is_called(options, names, monkeypatch, capsys):
    found = Leaderboards((varied_board(),), ())
    monkeypatch.setattr("bench.leaderboards.ranking.leaderboards", lambda cards, track: found)
    monkeypatch.setattr("bench.leaderboards.published.published_tables", lambda cards, tracks, setting, said: ())
    monkeypatch.setattr(command, "catalog", lambda workspace: None)
    monkeypatch.setenv("COLUMNS", "230")
    with pytest.raises(command.typer.Exit):
        command.command(**options)
    lines = capsys.readouterr().out.splitlines()
    assert [
        line.split()[1] for line in lines if line[:1].isdigit() and "not fit" not in line and "row is" not in line
    ] == names


def test_rows_beside_another_one_of_their_detector_are_counted_apart_from_those_of_earlier_cards():
    old = found_row("old", 3, past="version 1 of the track")
    board = rank(track_card(), [found_row("gat", 1), found_row("gat", 2, bench="99.0.0"), old])
    assert [sentence.partition(";")[0] for sentence in counted_words(board, 1)] == [
        "1 row is not ranked, being of earlier cards or versions",
        "1 row is not ranked, since another row of the detector is ranked or doubted",
    ]
