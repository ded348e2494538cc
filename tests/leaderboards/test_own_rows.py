"""The repository's own leaderboards: every row holds what it claims, and was attacked again."""

import shutil

import pytest
from row_world import bench

from bench.cards.catalog import Catalog
from bench.leaderboards.ranking import leaderboards
from bench.leaderboards.verify import Level


@pytest.fixture(scope="module")
def own():
    return leaderboards(Catalog())


def test_there_are_rows_of_digits_and_of_a_track_like_mnist_and_none_is_left_out(own):
    assert own.left_out == ()
    assert {"digits", "mnist"} <= {board.track.name for board in own.boards}
    counts = {board.track.name: len(board.standings) for board in own.boards}
    assert counts["digits"] >= 3 and all(count >= 1 for count in counts.values())


def test_every_row_was_attacked_again_and_is_of_the_cards_that_are_here(own):
    for board in own.boards:
        assert board.past == ()
        for standing in board.standings:
            assert standing.found.level is Level.REATTACKED
            assert standing.ranked <= standing.row.clean.auroc


def test_the_weights_give_the_scores_of_a_row(own):
    digits = next(board for board in own.boards if board.track.name == "digits")
    stem = digits.standings[0].row.stem
    path = next(root / f"digits/{stem}.json" for root in roots() if (root / f"digits/{stem}.json").is_file())
    result = bench("verify", path, "--level", "re-scored", "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert "[re-scored]" in result.output


def test_a_row_of_the_workspace_hides_the_one_that_ships_and_the_record_of_it(own, tmp_path):
    digits = next(board for board in own.boards if board.track.name == "digits")
    row = digits.standings[0].row
    (tmp_path / "robustood.toml").touch()
    there = tmp_path / "leaderboards/digits"
    there.mkdir(parents=True)
    source = next(root / "digits" for root in roots() if (root / f"digits/{row.stem}.json").is_file())
    for path in source.glob(f"{row.stem}.*"):
        if not path.name.endswith(".verified.json"):
            shutil.copy(path, there)
    result = bench("leaderboard", "--track", "digits", "--workspace", tmp_path)
    assert result.exit_code == 0, result.output
    assert any(row.detector.name in line and " claimed " in line for line in result.stdout.splitlines())


def roots():
    return [root / "leaderboards" for root in Catalog().content_roots()]
