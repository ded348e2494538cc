"""Rows are ranked by what is left under attack, and by what others found out about them."""

from dataclasses import replace

import pytest
from board_rows import cell, found_row, row_of, score_table, track_card, varied_board

from bench.cards.catalog import Catalog
from bench.leaderboards.beliefs import failed_attacks
from bench.leaderboards.columns import Wanted, flags, ranked_because, shown, shown_unranked
from bench.leaderboards.folder import FoundRow
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
    other = found_row("other", 1)
    board = ranked(attacked, other)
    assert names(board) == ["other", "attacked"]
    assert board.standings[1].ranked == 0.6 < board.standings[1].found.row.worst.auroc
    assert "median of 3 fresh attacks" in ranked_because(board.standings[1])


def test_rows_that_tie_share_a_place_and_the_next_place_is_skipped():
    board = ranked(found_row("a", 1), found_row("b", 1), found_row("c", 1, fall=3.0))
    assert [(standing.place, standing.row.detector.name) for standing in board.standings] == [
        (1, "a"),
        (1, "b"),
        (3, "c"),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"level": None}, "not verified"),
        ({"level": Level.CLAIMED}, "claimed"),
        ({"level": Level.RESCORED}, "re-scored"),
        ({"doubted": True}, "doubted"),
    ],
)
def test_a_row_that_no_verifier_attacked_with_success_stands_apart_without_a_place(row, words):
    board = ranked(found_row("best", 1, fall=0.0, **row), found_row("other", 1, fall=3.0))
    assert names(board) == ["other"]
    assert [(found.row.detector.name, found.words) for found in board.unranked] == [("best", words)]


def test_a_refuted_row_says_so_and_ranks_by_what_was_left():
    board = ranked(found_row("gat", 1, fall=0.0, fresh=(0.3, 0.31, 0.32), refuted=True), found_row("other", 1))
    assert [(own.row.detector.name, own.found.words) for own in board.standings] == [
        ("other", "re-attacked"),
        ("gat", "refuted"),
    ]
    assert board.standings[1].ranked == 0.31
    assert "refutes the row's claim" in ranked_because(board.standings[1])


def both(one, other):
    """A row that two verifiers have looked at."""
    return FoundRow(one.row, (*one.records, *other.records), one.files)


def test_of_two_verifications_of_a_row_the_one_that_leaves_less_counts_whichever_came_last():
    mild, strong = found_row("gat", 1, fresh=(0.7, 0.7, 0.7)), found_row("gat", 1, fresh=(0.4, 0.4, 0.4), refuted=True)
    for one in (both(mild, strong), both(strong, mild)):
        (standing,) = ranked(one).standings
        assert (standing.ranked, standing.found.words) == (0.4, "refuted")


def test_a_later_verification_of_a_lower_level_takes_no_place_and_no_refutation_away():
    for told, words in ((False, "re-attacked"), (True, "refuted")):
        attacked = found_row("gat", 1, refuted=told)
        (standing,) = ranked(both(attacked, found_row("gat", 1, level=Level.RESCORED))).standings
        assert standing.found.words == words


def test_a_row_that_one_of_two_verifiers_could_not_believe_has_no_place():
    board = ranked(both(found_row("gat", 1), found_row("gat", 1, doubted=True)))
    assert board.standings == () and board.unranked[0].words == "doubted"


@pytest.mark.parametrize(
    ("verifier", "other", "placed"),
    [
        ("0.1.0", {}, False),
        ("0.0.9", {}, False),
        ("0.2.0", {}, True),
        ("0.1.0", {"settings": "c" * 64}, True),  # the card has other settings now
    ],
)
def test_a_doubted_detector_gets_no_place_by_another_row_unless_a_newer_bench_verified_it(verifier, other, placed):
    doubted, again = found_row("gat", 1, doubted=True), found_row("gat", 2, bench="99.0.0", verifier=verifier, **other)
    board = ranked(doubted, again, found_row("other", 3))
    assert [standing.row.detector.name for standing in board.standings] == ["gat", "other"][not placed :]
    assert board.unranked == (doubted,)
    assert [found.past for found in board.past] == ["another row of this detector is doubted"] * (not placed)


def test_of_one_detector_the_row_that_the_newest_bench_verified_is_ranked_and_the_other_is_history():
    old, new = found_row("gat", 1, verifier="0.9.0", fall=0.1), found_row("gat", 2, verifier="0.10.0", fall=2.0)
    board = ranked(old, new)
    assert [standing.found for standing in board.standings] == [new]
    assert [found.row.row_sha256 for found in board.history("gat")] == [new.row.row_sha256, old.row.row_sha256]


@pytest.mark.parametrize("level", [None, Level.RESCORED, Level.REATTACKED])
def test_the_version_that_a_row_claims_for_itself_displaces_nobody(level):
    honest, loud = found_row("gat", 1, fall=2.0), found_row("gat", 2, fall=0.1, bench="99.0.0", level=level)
    (standing,) = ranked(honest, loud).standings
    assert standing.found is honest


def test_of_two_rows_that_one_bench_verified_the_one_of_which_less_is_left_is_ranked():
    weak, strong = found_row("gat", 1, fresh=(0.5, 0.5, 0.5)), found_row("gat", 2, fresh=(0.6, 0.6, 0.6))
    assert [own.found for own in ranked(strong, weak).standings] == [weak]


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
    board = ranked(found_row("beaten", 1, fall=0.1, before=(0.3, 0.01)), found_row("other", 1))
    assert names(board) == ["other", "beaten"]
    assert board.standings[1].ranked == 0.01
    assert "earlier version" in ranked_because(board.standings[1])


def test_images_that_a_verifier_found_not_to_beat_a_row_say_nothing():
    row = found_row("gat", 1, before=(0.01,))
    (signed,) = row.records
    (part,) = signed.record.beaten
    record = signed.record.model_copy(update={"beaten": (part.model_copy(update={"beats": False}),)})
    (standing,) = ranked(FoundRow(row.row, (replace(signed, record=record),), row.files)).standings
    assert standing.beaten == () and standing.ranked == standing.fresh.ranked


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
    assert all(wanted.fits(found.row) for found in shown_unranked(board, wanted))
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


@pytest.mark.parametrize(("other", "doubted"), [("adaptive-l2", False), ("square-l2", True)])
def test_repairs_that_beat_an_attack_are_no_doubt_where_the_worst_case_holds_them(other, doubted):
    entry = row_of(score_table(), soundness={"D16": Verdict.PASS}).entries[0]
    mean = next(iter(entry.members.values())).mean
    failing = Member(cell=cell(soundness={"D20": Verdict.FAIL}), mean=mean)
    weaker = Member(cell=cell(), mean=mean.model_copy(update={"auroc": 1.0}))
    changed = entry.model_copy(update={"members": {"pgd-l2": failing, other: weaker}})
    assert failed_attacks(changed, Catalog()) == ({"pgd-l2": ("D20",)} if doubted else {})
    itself = changed.model_copy(update={"cell": cell(soundness={"D20": Verdict.FAIL})})
    assert entry.threat in failed_attacks(itself, Catalog())
