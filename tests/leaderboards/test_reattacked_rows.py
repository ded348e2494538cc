"""Rows that are attacked again, and the record that is kept of it."""

import json

import numpy as np
import pytest
from row_tampering import with_fields
from row_world import verify

from bench.errors import UsageError
from bench.evaluation.store import Store
from bench.leaderboards.arrays import worst_name
from bench.leaderboards.claims import check_claims
from bench.leaderboards.reattack import Fresh, FreshEntry, check_reattacked, mildest_share
from bench.leaderboards.records import VERIFIED_SUFFIX, read_verified, verified_record, write_record
from bench.leaderboards.row import RowError, read_row
from bench.leaderboards.verify import Level, Verification


def test_an_honest_row_is_re_attacked_and_its_record_kept(world, row_path):
    result = verify(world, row_path, "re-attacked", "--record", "--quiet", "--out", world / "fresh")
    assert result.exit_code == 0, result.output
    assert len(Store(world / "fresh").metas()) > 3  # where it was asked to keep them
    first = result.stdout.splitlines()[0]
    assert first.startswith("[re-attacked] bent on small: worst-case AUROC")
    assert first.rpartition(", clean ")[2].startswith("0.")  # one line, however long
    row = read_row(row_path)
    record = read_verified(row_path, row)
    assert record.seeds == (1, 2, 3)
    assert record.ranked == min(np.median(entry.aurocs) for entry in record.entries)
    for entry in record.entries:
        assert entry.claimed <= entry.mean + max(0.005, 3.0 * entry.sd)
    beside = row_path.with_name(row.stem + VERIFIED_SUFFIX)
    content = json.loads(beside.read_text())
    for place in ("ranked", "row_sha256", "level", "seeds"):
        wrong = {"ranked": 0.99, "row_sha256": "0" * 64, "level": "claimed", "seeds": [0, 1, 2]}[place]
        with_fields(beside, **{**content, place: wrong})
        with pytest.raises(RowError, match=r"another row|it holds|its seeds|figure that ranks"):
            read_verified(row_path, row)
    beside.write_text(json.dumps({**content, "bench": "0.2.0"}))
    with pytest.raises(RowError, match="differs from its seal"):
        read_verified(row_path, row)


def test_a_file_of_somebody_else_under_the_records_name_stays(row_path):
    row = read_row(row_path)
    beside = row_path.with_name(row.stem + VERIFIED_SUFFIX)
    beside.write_text("my notes")
    with pytest.raises(UsageError, match="nothing in it tells that this program wrote it"):
        write_record(row_path, Verification(row, Level.RESCORED))
    assert beside.read_text() == "my notes"
    beside.unlink()
    for _ in range(2):
        assert write_record(row_path, Verification(row, Level.RESCORED)) == beside


def test_a_row_that_was_not_verified_has_no_record(row_path):
    assert read_verified(row_path, read_row(row_path)) is None


def test_the_allowed_auroc_is_the_mean_and_0_005_or_three_deviations():
    nothing = np.zeros((3, 1), np.float32)
    assert FreshEntry((0.5, 0.5, 0.5), nothing).allowed == pytest.approx(0.505)
    assert FreshEntry((0.4, 0.5, 0.6), nothing).allowed == pytest.approx(0.5 + 3 * 0.1)
    assert FreshEntry((0.4, 0.45, 0.6), nothing).median == 0.45


def test_the_mildest_of_equal_attacks_is_as_rare_as_chance_says():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 2000)).astype(np.float32)
    share, most = mildest_share(scores[0], scores[1:], 0.0)
    assert share == pytest.approx(0.25, abs=0.04)
    assert most == pytest.approx(0.25 + 3 * np.sqrt(0.25 * 0.75 / 2000))
    weaker, _ = mildest_share(scores[0] - 0.5, scores[1:], 0.0)
    assert weaker > most


def fresh_of(row, table, *, raised, lowered=0.0):
    """Fresh attacks that score every image higher by `raised`, and whose AUROCs are the claimed ones less `lowered`."""
    entries = []
    for number, entry in enumerate(row.entries):
        claimed = table.arrays[worst_name(number)]
        aurocs = (entry.mean.auroc - lowered,) * 3
        entries.append(FreshEntry(aurocs, np.stack([claimed + np.float32(raised)] * 3)))
    return Fresh((1, 2, 3), tuple(entries))


def test_each_of_the_two_rules_finds_a_weaker_attack_by_itself(row_path, cards):
    row = read_row(row_path)
    files = check_claims(row, row_path, cards, None).files
    table = files.table

    def found(**fresh):
        return list(check_reattacked(row, files, fresh_of(row, table, **fresh)))

    assert found(raised=0.0) == []
    assert all("milder than that of every fresh attack" in sentence for sentence in found(raised=1.0))
    assert all("fresh attacks allow" in sentence for sentence in found(raised=0.0, lowered=0.006))
    assert [len(found(raised=1.0)), len(found(raised=0.0, lowered=0.006))] == [2, 2]
    assert found(raised=0.0, lowered=0.004) == []


def test_scores_that_hardly_differ_are_milder_for_nobody():
    scores = np.zeros((4, 100), np.float32)
    assert mildest_share(scores[0] - 1e-4, scores[1:], 1e-3)[0] == 0.0
    assert mildest_share(scores[0] - 1e-2, scores[1:], 1e-3)[0] == 1.0


def test_a_record_of_a_higher_level_is_kept_until_something_is_found_wrong(world, row_path):
    row = read_row(row_path)
    verify(world, row_path, "re-scored", "--record")
    kept = verify(world, row_path, "claimed", "--record")
    assert "kept" in kept.stderr
    assert read_verified(row_path, row).level == "re-scored"
    found = Verification(row, Level.CLAIMED, problems=("its scores are others.",))
    assert write_record(row_path, found) is not None
    assert read_verified(row_path, row).level == "claimed"


def record_of(row, *, lower=0.0, **changes):
    """A record of fresh attacks that found the claimed figures less `lower`, with other values in its first entry."""
    fresh = [FreshEntry((entry.mean.auroc - lower,) * 3, np.zeros((3, 1), np.float32)) for entry in row.entries]
    found = Verification(row, Level.REATTACKED, fresh=Fresh((1, 2, 3), tuple(fresh)))
    content = verified_record(found).model_dump(mode="json")
    content["entries"][0] |= changes
    return json.dumps(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lower": 0.006}, "above what its fresh attacks allow"),
        ({"median": 0.99}, "do not follow"),
        ({"sd": 0.3}, "do not follow"),
        ({"claimed": 0.3}, "do not follow"),
        ({"eps": 0.2}, "do not follow"),
        ({"aurocs": [0.9, 0.9]}, "2 figures for 3 seeds"),
    ],
)
def test_a_record_whose_figures_contradict_each_other_or_the_row_is_refused(row_path, changes, words):
    row = read_row(row_path)
    beside = row_path.with_name(row.stem + VERIFIED_SUFFIX)
    beside.write_text(record_of(row))
    assert read_verified(row_path, row).level == "re-attacked"
    beside.write_text(record_of(row, **changes))
    with pytest.raises(RowError, match=words):
        read_verified(row_path, row)
