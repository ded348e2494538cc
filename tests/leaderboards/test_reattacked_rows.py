"""Rows that are attacked again, and the record that is kept of it."""

import json

import numpy as np
import pytest
from row_tampering import at
from row_world import allow, line_for, records, rows, verify
from safetensors.numpy import load

from bench.errors import UsageError
from bench.evaluation.store import MemoryStore, Store
from bench.leaderboards.arrays import worst_name
from bench.leaderboards.checks import Outcome
from bench.leaderboards.claims import check_claims
from bench.leaderboards.reattack import Fresh, FreshEntry, _drawn_seeds, check_reattacked, fresh_attacks, mildest_share
from bench.leaderboards.record_files import read_beside
from bench.leaderboards.records import VerifiedRecord, contradictions
from bench.leaderboards.row import read_row
from bench.leaderboards.signatures import read_signers
from bench.leaderboards.verify import Level


def test_an_honest_row_is_re_attacked_and_its_record_kept(world, row_path, key):
    allow(world, line_for(key))
    result = verify(world, row_path, "re-attacked", "--sign", key, "--quiet", "--out", world / "fresh")
    assert result.exit_code == 0, result.output
    metas = Store(world / "fresh").metas()
    assert len(metas) > 3  # where it was asked to keep them
    first = result.stdout.splitlines()[0]
    assert first.startswith("[re-attacked] bent on small: claimed worst-case AUROC")
    assert first.rpartition(", clean ")[2].startswith("0.")  # one line, however long
    record = signed(world, row_path).record
    fresh = record.fresh
    assert set(fresh.seeds) == {meta.seed for meta in metas if meta.eps} and read_row(row_path).seed not in fresh.seeds
    assert fresh.ranked == min(np.median(entry.aurocs) for entry in fresh.entries)
    for entry in fresh.entries:
        assert entry.claimed <= entry.allowed == entry.mean + max(0.005, 3.0 * entry.sd)
    assert (record.asked, record.reached, fresh.refuted, fresh.doubted) == (Level.REATTACKED,) * 2 + (False, False)
    again = verify(world, row_path, "re-attacked", "--quiet", "--out", world / "fresh")
    assert f"seeds {', '.join(map(str, fresh.seeds))}" in again.stdout  # an interrupted verification goes on
    assert len(Store(world / "fresh").metas()) == len(metas)


def signed(world, row_path):
    """The one record beside a row that counts."""
    row = read_row(row_path)
    found = read_beside(row, records(row_path), read_signers(world / "leaderboards"))
    assert found.refused == {}
    (record,) = found.signed
    return record


def test_the_seeds_of_two_verifications_are_others_and_nobody_knows_them_before(row_path):
    row = read_row(row_path)
    drawn = [_drawn_seeds(row, MemoryStore()) for _ in range(3)]
    assert len({seed for seeds in drawn for seed in seeds}) == 9 and all(row.seed not in seeds for seeds in drawn)


def test_a_verifier_s_own_row_is_made_of_its_own_attacks(attested):
    (path,) = rows(attested)
    row, found = read_row(path), signed(attested, path)
    own = found.record.fresh.row
    assert (own.detector, own.track, own.micro_batch) == (row.detector, row.track, row.micro_batch)
    assert own.seed in (1, 2, 3) and row.seed == 0
    number = found.record.fresh.seeds.index(own.seed)
    for entry, figures in zip(own.entries, found.record.fresh.entries, strict=True):
        assert entry.mean.auroc == figures.aurocs[number]
        assert entry.cell.key not in {part.cell.key for part in row.entries}
    assert found.record.fresh.ranked == own.worst.auroc
    assert np.array_equal(found.table.arrays["ids"], load(path.with_name(row.scores.file).read_bytes())["ids"])


def test_records_are_written_beside_each_other_and_say_what_each_run_found(world, row_path):
    for level, unchecked in (("claimed", 5), ("re-scored", 3), ("re-attacked", 2)):  # the last two are a reviewer's
        before = set(records(row_path))
        assert verify(world, row_path, level, "--record", "--quiet").exit_code == 0
        (new,) = set(records(row_path)) - before
        record = VerifiedRecord.model_validate_json(new.read_bytes())
        assert (record.asked, record.reached, record.words) == (level, level, level)
        left = [own for own in record.checked if own.outcome is Outcome.UNCHECKED]
        assert len(left) == unchecked and all("a reviewer" in own.said for own in left[-2:])
    assert len(records(row_path)) == 3


def test_of_a_row_that_does_not_hold_what_it_claims_nothing_is_recorded(world, row_path, key):
    row_path.write_text(row_path.read_text().replace('"seconds": ', '"seconds": 1', 1))
    result = verify(world, row_path, "re-attacked", "--sign", key)
    assert result.exit_code == 1 and "[refused]" in result.stdout
    assert "nothing is recorded" in result.stderr and records(row_path) == []


def test_a_row_that_was_not_verified_has_no_record(row_path):
    assert records(row_path) == []


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


def changed(record, place, value):
    """The record with another value at a place."""
    content = record.model_dump(mode="json")
    at(content, place[:-1])[place[-1]] = value
    return VerifiedRecord.model_validate_json(json.dumps(content))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("row_sha256",), "0" * 64, "another row"),
        (("subject", "weights"), ["0" * 64], "another row"),
        (("subject", "scores_sha256"), "0" * 64, "another row"),
        (("subject", "track_hash"), "0" * 64, "another row"),
        (("subject", "set_digests"), {}, "another row"),
        (("reached",), "claimed", "not the one that its figures reach"),
        (("asked",), "claimed", "not the one that its figures reach"),
        (("fresh", "refuted"), True, "not the one that its figures reach"),
        (("fresh", "doubted"), True, "not the one that its figures reach"),
        (("fresh",), None, "no fresh attacks"),
        (("fresh", "ranked"), 0.999, "not the lowest median"),
        (("fresh", "seeds"), [0, 1, 2], "its seeds"),
        (("fresh", "seeds"), [1, 1, 2], "its seeds"),
        (("fresh", "seeds"), [7, 8, 9], "none of its seeds"),
        (("fresh", "entries", 0, "median"), 0.99, "do not follow"),
        (("fresh", "entries", 0, "sd"), 0.3, "do not follow"),
        (("fresh", "entries", 0, "claimed"), 0.3, "do not follow"),
        (("fresh", "entries", 0, "aurocs"), [0.9, 0.9, 0.9, 0.9], "do not follow"),
        (("fresh", "entries", 0, "eps"), 0.2, "its attacks are not"),
        (("fresh", "row", "seconds"), 0.0, "changed after it was built"),
        (("fresh", "row", "seed"), 5, "none of its seeds"),
        (("fresh", "row", "detector", "extra_data"), "outliers", "another detector"),
    ],
)
def test_a_record_that_contradicts_itself_or_the_row_says_nothing_whoever_signs_it(attested, place, value, words):
    (path,) = rows(attested)
    row, found = read_row(path), signed(attested, path)
    assert list(contradictions(found.record, row, found.table)) == []
    assert any(words in problem for problem in contradictions(changed(found.record, place, value), row, found.table))


def test_a_verifier_s_own_row_must_follow_from_the_scores_beside_the_record(attested):
    (path,) = rows(attested)
    row, found = read_row(path), signed(attested, path)
    own = found.record.fresh.row
    better = own.model_copy(update={"clean": own.clean.model_copy(update={"auroc": 1.0})}).sealed()
    fresh = found.record.fresh.model_copy(update={"row": better})
    record = found.record.model_copy(update={"fresh": fresh})
    assert any("the scores make it" in problem for problem in contradictions(record, row, found.table))
    assert any("not beside it" in problem for problem in contradictions(found.record, row, None))


@pytest.mark.parametrize(("count", "allowed"), [(2, False), (3, True), (100, True), (101, False)])
def test_three_to_a_hundred_seeds_may_be_named(row_path, count, allowed):
    class Asked(Exception):
        """The seeds were taken, and the track is looked for."""

    class Cards:
        def track(self, name):
            raise Asked

    row = read_row(row_path)
    with pytest.raises(Asked if allowed else UsageError):
        fresh_attacks(row, Cards(), seeds=range(row.seed + 1, row.seed + 1 + count))
