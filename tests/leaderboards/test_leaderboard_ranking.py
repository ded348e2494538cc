"""Rows are ranked by what is left under attack, and by what others found out about them."""

import pytest
from board_rows import cell, found_row, row_of, score_table, track_card, varied_board

from bench.leaderboards.columns import Wanted, flags, ranked_because, shown
from bench.leaderboards.ranking import rank
from bench.leaderboards.row import Member
from bench.leaderboards.verify import Level
from bench.soundness.verdicts import Verdict


def names(board):
    return [standing.row.detector.name for standing in board.standings]


def ranked(*rows, version=1):
    return rank(track_card(version), rows)


def test_the_highest_worst_case_auroc_comes_first_whatever_the_clean_one():
    board = ranked(found_row("weak", 1, fall=3.0, gap=4.0), found_row("strong", 1, fall=0.1, gap=2.0))
    assert names(board) == ["strong", "weak"]
    assert board.standings[1].row.clean.auroc > board.standings[0].row.clean.auroc


def test_the_order_of_files_does_not_matter():
    rows = [found_row(name, seed) for seed, name in enumerate(("a", "b", "c", "d"))]
    assert ranked(*rows) == ranked(*reversed(rows))


def test_fresh_attacks_rank_a_row_by_their_median_and_not_by_its_claim():
    attacked = found_row("attacked", 1, fresh=(0.5, 0.9, 0.6))
    claimed = found_row("claimed", 1)
    board = ranked(attacked, claimed)
    assert names(board) == ["claimed", "attacked"]
    assert board.standings[1].ranked == 0.6 < board.standings[1].row.worst.auroc
    assert "median of 3 fresh attacks" in ranked_because(board.standings[1])


def test_rows_that_tie_share_a_place_and_the_next_place_is_skipped():
    board = ranked(found_row("a", 1), found_row("b", 1), found_row("c", 1, fall=3.0))
    assert [(standing.place, standing.row.detector.name) for standing in board.standings] == [
        (1, "a"), (1, "b"), (3, "c"),
    ]  # fmt: skip


def test_of_rows_that_tie_the_better_verified_one_stands_first():
    board = ranked(found_row("a", 1), found_row("b", 1, level=Level.RESCORED))
    assert names(board) == ["b", "a"]


def test_of_one_detector_the_row_by_the_newest_bench_is_ranked_and_the_other_is_history():
    old, new = found_row("gat", 1, bench="0.9.0", fall=0.1), found_row("gat", 2, bench="0.10.0", fall=2.0)
    board = ranked(old, new)
    assert [standing.found for standing in board.standings] == [new]
    assert [found.row.bench for found in board.history("gat")] == ["0.10.0", "0.9.0"]


def test_rows_of_other_cards_are_history_and_hold_no_place():
    board = ranked(
        found_row("gat", 1, fall=2.0), found_row("gat", 2, fall=0.1, past="other weights", settings="c" * 64)
    )
    assert len(board.standings) == 1
    assert [found.past for found in board.history("gat")] == ["", "other weights"]


def test_images_that_beat_a_row_do_not_move_it():
    board = ranked(found_row("beaten", 1, fall=0.1, beaten=(0.01,)), found_row("other", 1))
    assert names(board) == ["beaten", "other"]


def test_images_that_beat_the_detector_under_an_earlier_version_of_the_track_rank_it():
    before = found_row("beaten", 1, fall=0.1, beaten=(0.01, 0.3), version=1, past="version 1 of the track")
    other = found_row("other", 1, version=2, settings="c" * 64)
    board = ranked(found_row("beaten", 1, fall=0.1, version=2), before, other, version=2)
    assert names(board) == ["other", "beaten"]
    assert board.standings[1].ranked == 0.01
    assert "earlier version" in ranked_because(board.standings[1])


def test_another_name_does_not_save_a_detector_from_images_that_beat_it():
    before = found_row("old", 1, fall=0.1, beaten=(0.01,), version=1, past="version 1 of the track")
    assert ranked(found_row("new", 1, fall=0.1, version=2), before, version=2).standings[0].ranked == 0.01


@pytest.mark.parametrize("change", [{"settings": "c" * 64}, {"version": 2}])
def test_images_against_another_detector_or_the_same_version_do_not_rank(change):
    fields = {"version": 1, **change}
    before = found_row("gat", 1, fall=0.2, beaten=(0.01,), past="another", **fields)
    board = ranked(found_row("gat", 1, fall=0.1, version=2), before, version=2)
    assert board.standings[0].beaten_before == ()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), {"anchor", "plain", "outlier", "bounded", "boxed"}),
        (Wanted(extra_data=True), {"outlier"}),
        (Wanted(extra_data=False), {"anchor", "plain", "bounded", "boxed"}),
        (Wanted(certified=True), {"bounded"}),
        (Wanted(white_box=False), {"boxed"}),
        (Wanted(white_box=True, certified=False, extra_data=False), {"anchor", "plain"}),
    ],
)
def test_filters_choose_rows_and_leave_their_places(wanted, expected):
    board = varied_board()
    chosen = shown(board, wanted)
    assert {standing.row.detector.name for standing in chosen} == expected
    assert all(standing in board.standings for standing in chosen)


@pytest.mark.parametrize(
    ("soundness", "words"),
    [
        ({}, "not checked"),
        ({"D1": Verdict.SKIPPED}, "not checked"),
        ({"D1": Verdict.PASS, "D13": Verdict.INFO}, "none"),
        ({"D11": Verdict.WARN, "D4": Verdict.WARN, "D3": Verdict.FAIL, "D1": Verdict.PASS}, "FAIL D3, WARN D4 D11"),
    ],
)
def test_flags_name_the_checks_that_warn_or_fail(soundness, words):
    assert flags(row_of(score_table(), soundness=soundness)) == words


def test_flags_are_those_of_the_strongest_attack_and_not_of_weaker_ones():
    row = row_of(score_table(), soundness={"D16": Verdict.PASS})
    entry = row.entries[0]
    mean = entry.members["climb"].mean
    weaker = mean.model_copy(update={"auroc": mean.auroc + 0.01})
    for own, other, words in ((mean, weaker, "FAIL D4"), (weaker, mean, "none")):
        doubted, sound = Member(cell=cell(soundness={"D4": Verdict.FAIL}), mean=own), Member(cell=cell(), mean=other)
        changed = entry.model_copy(update={"members": {"climb": doubted, "walk": sound}})
        assert flags(row.model_copy(update={"entries": (changed,)})) == words
