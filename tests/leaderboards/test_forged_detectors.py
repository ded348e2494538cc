"""Forgeries by cards and code: a detector that gives attacks no numbers, or says less of itself than is so."""

import json

import numpy as np
import pytest
import row_world
from board_rows import row_of, score_table
from forging import with_keys
from row_tampering import loads, reseal
from row_world import allow, board, line_for, make_world, places, ranked, records, rows, run_suite, submit, verify

from bench.cards.catalog import Catalog
from bench.leaderboards import beliefs
from bench.leaderboards.adversarials import Beaten, BeatenRecord, write_beaten
from bench.leaderboards.beaten import Rescored
from bench.leaderboards.identity import detector_part, is_nothing, own_code
from bench.leaderboards.records import MOST_BEATEN, verified_record
from bench.leaderboards.rescore import Scorer
from bench.leaderboards.row import read_row
from bench.leaderboards.verify import Level, Verification

ON_BYTES = "((x * 255 - (x * 255).round()).abs().flatten(1).amax(1) < 1e-3)"
MUTE = {
    "nan": f"torch.where({ON_BYTES}, s, torch.full_like(s, float('nan')))",
    "infinite": f"torch.where({ON_BYTES}, s, torch.full_like(s, -float('inf')))",
}
STATIC = {**row_world.THREATS["static-l2"], "norm": "linf", "eps": [0.05]}


def mute_world(root, monkeypatch, kind):
    """A detector without a gradient whose score is finite on images of bytes alone, and attacks on scores for it."""
    body = f"s = super().score(x).detach()\n            return {MUTE[kind]}"
    monkeypatch.setattr(row_world, "METHODS", row_world.METHODS.replace("return super().score(x).detach()", body))
    both = {**row_world.THREATS["all-linf"], "members": {"evade": ["climb-linf", "static-linf"]}}
    monkeypatch.setattr(row_world, "THREATS", {**row_world.THREATS, "static-linf": STATIC, "all-linf": both})
    return make_world(root)


@pytest.mark.parametrize("kind", MUTE)
def test_a_detector_that_gives_attacks_no_number_makes_no_row_and_has_no_place(tmp_path, key, monkeypatch, kind):
    root = mute_world(tmp_path / "world", monkeypatch, kind)
    assert run_suite(root, "stepped").exit_code == 0
    refused = submit(root, "stepped")
    assert refused.exit_code == 2 and "found no number for 60 of 60 images" in refused.stderr
    monkeypatch.setattr(beliefs, "NO_GRADIENT", 1.0)  # as a forger would who builds the row with code of his own
    assert submit(root, "stepped").exit_code == 0
    monkeypatch.undo()
    allow(root, line_for(key))
    (path,) = rows(root)
    result = verify(root, path, "re-attacked", "--sign", key, "-q")
    assert result.exit_code == 1 and "found no number for 60 of 60 images" in result.stderr
    assert places(root) == {} and "doubted" in board(root).stdout


def test_a_score_on_the_network_of_a_trained_detector_owns_up_to_what_that_one_saw(tmp_path):
    root = make_world(tmp_path / "world")
    whole = loads(root / "detectors/bent.yaml")
    network = {"method": "bench.detectors.networks.small:SmallConvNet", "args": {"outputs": 2}}
    whole["tracks"]["small"]["network"] = network
    more = {"name": "greedy", "extra_data": "a million images", "tuned_on": "the test images"}
    (root / "detectors/greedy.yaml").write_text(json.dumps({**whole, **more}))
    strength = {"name": "strength", "summary": "a small one", "method": "bench.detectors.energy:Energy"}
    (root / "detectors/strength.yaml").write_text(json.dumps({**strength, "on_network": True}))
    catalog = Catalog(root)
    part = detector_part(catalog, "strength@greedy", catalog.track("small"), ("0" * 64,))
    assert part.extra_data == "a million images (for greedy)" and part.tuned_on == "the test images (for greedy)"
    assert part.trained_on == "the training images of small"
    (root / "detectors/strength.yaml").write_text(json.dumps({**strength, "on_network": True, "extra_data": "others"}))
    catalog = Catalog(root)
    part = detector_part(catalog, "strength@greedy", catalog.track("small"), ("0" * 64,))
    assert part.extra_data == "others; a million images (for greedy)"


@pytest.mark.parametrize("said", ["", "none", "None.", " nothing ", "No"])
def test_no_extra_data_is_said_in_few_ways(said):
    assert is_nothing(said)


@pytest.mark.parametrize("said", ["none but ImageNet", "nоne", "-", "0"])  # noqa: RUF001 - the second is Cyrillic
def test_whatever_else_is_said_counts_as_extra_data(said):
    assert not is_nothing(said)


def test_images_that_beat_a_row_are_scored_for_every_other_row_of_its_detector(honest, key):
    """A row of the same detector under another name of its file does not leave them behind."""
    (path,) = rows(honest)
    row = read_row(path)
    scorer = Scorer.load(row, Catalog(honest), device="cpu", data_dir=None)
    images = np.clip(scorer.base - 0.01, 0, 1)
    write_beaten(path, Beaten(row, row.worst_entry, 0.001, 0.0, 70, 0, {"images": images, "rows": np.arange(70)}))
    other = reseal(path, with_keys(row.model_copy(update={"bench": "99.0.0"})))
    result = verify(honest, other, "re-attacked", "--sign", key, "-q", "--seeds", "1,2,3")
    assert result.exit_code == 0 and "70 images handed in under" in result.stdout
    assert "do not beat it" in result.stdout and len(ranked(honest)) == 1


def test_a_flood_of_images_neither_ends_a_verification_nor_hides_those_that_beat_its_row():
    row = row_of(score_table())
    entry, file = row.entries[0], {"file": "x", "file_sha256": "0" * 64, "row_sha256": row.row_sha256}
    record = BeatenRecord(
        threat=entry.threat, norm=entry.norm, eps=entry.eps, images=1, higher=0, claimed=0.9, auroc=0.5, se=0.0, **file
    )
    flood = [Rescored(record, False, 0.9, 0.01, 0, 0.5) for _ in range(MOST_BEATEN + 50)]
    flood.append(Rescored(record, False, 0.1, 0.01, 1, 0.5))
    found = Verification(row=row, asked=Level.CLAIMED, reached=Level.CLAIMED, rescored=flood)
    kept = verified_record(found).record.beaten
    assert len(kept) == MOST_BEATEN and [part.auroc for part in kept if part.beats] == [0.1]


def test_more_seeds_than_a_record_holds_are_refused_before_anything_is_attacked(honest):
    (path,) = rows(honest)
    result = verify(honest, path, "re-attacked", "-q", "--seeds", ",".join(map(str, range(1, 102))))
    assert result.exit_code == 2 and "allowed are 3 to 100 different ones" in result.stderr


def test_code_that_was_exchanged_after_it_was_verified_takes_the_place_away(honest):
    (module,) = honest.glob("row_methods_*.py")
    assert places(honest) == {"bent": "1 re-attacked"}
    module.write_text(module.read_text().replace("torch.sin(9.0", "torch.sin(8.0"))
    shown = board(honest)
    assert places(honest) == {} and f"scored by other code than is here ('{module.stem}')" in shown.stderr
    assert "not verified" in shown.stdout


def test_the_code_of_a_workspace_is_named_as_what_a_reviewer_must_read(honest, attested):
    (path,) = rows(honest)
    (module,) = honest.glob("row_methods_*.py")
    told = next(
        line for line in verify(honest, path, "claimed").stdout.splitlines() if "does nothing but score" in line
    )
    assert told.startswith("  not checked") and told.endswith(f"before the row is signed: {module.stem}")
    (record,) = records(path)
    assert list(loads(record)["code"]) == [module.stem]
    catalog = Catalog(attested)
    assert own_code(catalog, "bent", "small") == loads(record)["code"]


def test_a_detector_of_bench_alone_has_no_code_of_its_own(tmp_path):
    root = make_world(tmp_path / "world")
    card = {"name": "strength", "summary": "a small one", "method": "bench.detectors.energy:Energy", "on_network": True}
    (root / "detectors/strength.yaml").write_text(json.dumps(card))
    net = {
        "name": "own",
        "summary": "a small one",
        "track": "small",
        "method": "bench.detectors.networks.small:SmallConvNet",
    }
    (root / "detectors/networks").mkdir()
    (root / "detectors/networks/own.yaml").write_text(json.dumps(net))
    (root / "net_of_rows.py").write_text("from torch import nn\n\nclass Net(nn.Module):\n    pass\n")
    (root / "detectors/networks/other.yaml").write_text(
        json.dumps({**net, "name": "other", "method": "net_of_rows:Net"})
    )
    catalog = Catalog(root)
    assert own_code(catalog, "strength@own", "small") == {}
    assert list(own_code(catalog, "strength@other", "small")) == ["net_of_rows"]
