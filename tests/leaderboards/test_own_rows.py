"""The repository's own leaderboards: every row holds what it claims, and ranks by what a verifier signed for."""

import shutil

import pytest
from row_world import bench

from bench.cards.catalog import Catalog
from bench.leaderboards.identity import card_hashes
from bench.leaderboards.ranking import leaderboards


@pytest.fixture(scope="module")
def own():
    return leaderboards(Catalog())


def test_there_are_rows_of_digits_and_of_a_track_like_mnist_and_none_is_left_out(own):
    assert own.left_out == () and own.unsigned == ()
    counts = {board.track.name: len(board.rows) for board in own.boards}
    assert counts["digits"] >= 3 and counts["mnist"] >= 1


def test_every_row_is_of_the_cards_that_are_here_and_has_a_place(own):
    for board in own.boards:
        assert board.past == () and board.unranked == ()
        for standing in board.standings:
            assert standing.found.words == "re-attacked"
            assert standing.ranked <= standing.row.clean.auroc


def test_the_weights_give_the_scores_of_a_row(own):
    digits = next(board for board in own.boards if board.track.name == "digits")
    stem = digits.rows[0].row.stem
    if digits.rows[0].past:
        pytest.skip(f"{stem} is of earlier cards: {digits.rows[0].past}")
    path = next(root / f"digits/{stem}.json" for root in roots() if (root / f"digits/{stem}.json").is_file())
    result = bench("verify", path, "--level", "re-scored", "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert "[re-scored]" in result.output


def test_a_copy_of_a_row_in_the_workspace_is_the_row_that_ships(own, tmp_path):
    digits = next(board for board in own.boards if board.track.name == "digits")
    (tmp_path / "robustood.toml").touch()
    there = tmp_path / "leaderboards/digits"
    there.mkdir(parents=True)
    stem = digits.rows[0].row.stem
    source = next(root / "digits" for root in roots() if (root / f"digits/{stem}.json").is_file())
    for path in source.glob(f"{stem}.*"):
        if ".verified-" not in path.name:
            shutil.copy(path, there)
    here, there_too = (bench("leaderboard", "--track", "digits", *more) for more in ((), ("--workspace", tmp_path)))
    assert (there_too.exit_code, there_too.stdout) == (here.exit_code, here.stdout)


def roots():
    return [root / "leaderboards" for root in Catalog().content_roots()]


def test_what_a_card_says_of_other_tracks_may_come_after_a_row():
    card = Catalog().detector("gat")[0]
    before = card_hashes(card, "digits")
    other = card.tracks["mnist"]
    more = card.model_copy(update={"tracks": {**card.tracks, "later": other}})
    assert card.content_hash() in card_hashes(more, "digits") and card.content_hash() in before
    assert card.content_hash() not in card_hashes(more.model_copy(update={"summary": "Another."}), "digits")
    changed = card.model_copy(update={"tracks": {**card.tracks, "digits": other}})
    assert not before & card_hashes(changed, "digits")


def test_another_variant_of_a_card_may_come_after_a_row_and_its_own_stays():
    card = Catalog().detector("gat")[0]
    more = card.model_copy(update={"variants": {**card.variants, "later": card.variants["k0"]}})
    assert card.content_hash() in card_hashes(more, "digits")
    assert card.content_hash() in card_hashes(more, "digits", "k0")
    without = card.model_copy(update={"variants": {n: own for n, own in card.variants.items() if n != "k0"}})
    assert without.content_hash() in card_hashes(card, "digits")
    assert without.content_hash() not in card_hashes(card, "digits", "k0")
