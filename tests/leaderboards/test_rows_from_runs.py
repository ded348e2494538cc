"""`bench submit` builds rows whose figures follow from their scores, and refuses what is incomplete."""

import json
from pathlib import Path

import numpy as np
import pytest
from row_world import THREATS, bench, put, rows, run_suite, submit, verify
from safetensors.numpy import load

from bench.cards.catalog import Catalog
from bench.cli.request import read_request
from bench.evaluation.keys import track_hash
from bench.evaluation.store import Store
from bench.leaderboards.build import build_row
from bench.leaderboards.row import read_row, row_bytes, schema
from bench.leaderboards.suite import Choice
from bench.soundness.files import write_verdicts
from bench.soundness.verdicts import Finding, Verdict, Verdicts

REPOSITORY = Path(__file__).resolve().parents[2]


def cell_of(world: Path, threat: str):
    return next(meta for meta in Store(world / "runs").metas() if meta.threat == threat)


def counted_auroc(id_scores, ood_scores):
    """The definition: how often an ID image scores above an OOD image, ties half."""
    return np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in id_scores for b in ood_scores])


def test_the_published_schema_is_that_of_the_model():
    published = json.loads((REPOSITORY / "leaderboards/row.schema.json").read_text())
    assert published == json.loads(json.dumps(schema()))


def test_the_figures_of_a_row_are_the_counted_ones(row_path):
    row = read_row(row_path)
    arrays = load(row_path.with_name(row.scores.file).read_bytes())
    test, near = arrays["clean"][:40].astype(float), slice(0, 30)
    for number, entry in enumerate(row.entries):
        worst = arrays[f"worst.{number}"].astype(float)
        aurocs = [counted_auroc(test, worst[near]), counted_auroc(test, worst[30:60])]
        assert entry.sets["near"].attacked.auroc == pytest.approx(aurocs[0], abs=1e-12)
        assert entry.mean.auroc == pytest.approx(np.mean(aurocs), abs=1e-12)
        assert not entry.sets["static"].counts
    assert row.worst.auroc == min(entry.mean.auroc for entry in row.entries)


def test_a_row_has_the_figures_and_the_cost_of_the_cells(world, row_path):
    row = read_row(row_path)
    for entry in row.entries:
        meta = cell_of(world, entry.threat)
        assert entry.mean.auroc == pytest.approx(meta.mean.auroc, abs=1e-12)
        assert entry.mean.se == pytest.approx(meta.mean.se, abs=1e-12)
        assert (entry.cell.key, entry.cell.gradients) == (meta.key, meta.gradients)
        for name, figures in entry.sets.items():
            assert figures.fpr95 == meta.sets[name].fpr95
            assert figures.conservative_auroc == meta.sets[name].conservative_auroc
        assert {name: member.mean.auroc for name, member in entry.members.items()} == pytest.approx(meta.members)
    assert row.clean.auroc == pytest.approx(cell_of(world, "clean").mean.auroc, abs=1e-12)


def test_a_row_says_where_the_detector_comes_from(row_path, cards):
    own = read_row(row_path).detector
    assert own.paper.title == "On small ones"
    assert own.trained_on == "the training images of small"
    assert (own.white_box, own.random, own.certified) == (True, False, False)
    assert own.card_hash == cards.detector("bent")[0].content_hash()


def test_two_submissions_of_one_run_are_equal_byte_for_byte(world, cards):
    first, second = (build_row(Catalog(world), world / "runs", "bent", "small") for _ in range(2))
    assert row_bytes(first.row) == row_bytes(second.row)
    assert first.files == second.files


def test_a_dry_run_shows_the_row_and_writes_nothing(world):
    before = sorted(path for path in (world / "leaderboards").rglob("*"))
    result = submit(world, "bent", "--dry-run", "--to", world / "elsewhere")
    assert result.exit_code == 0, result.output
    for words in ("worst case: AUROC", "climb-l2", "On small ones", "soundness", "pull request", "git add"):
        assert words in result.stdout
    assert not (world / "elsewhere").exists()
    assert before == sorted(path for path in (world / "leaderboards").rglob("*"))


def test_a_row_is_written_before_it_is_printed(world, monkeypatch):
    """A reader such as `head` that closes the pipe must not cost the row."""
    from bench.cli import submit as command

    def closed():
        raise BrokenPipeError

    monkeypatch.setattr(command, "console", closed)
    submit(world, "bent", "--to", world / "kept")
    assert [path.suffix for path in (world / "kept").rglob("bent@*.json")] == [".json"]


def test_as_many_images_are_kept_as_are_asked_for(world, row_path):
    assert read_row(row_path).images.count == 16  # early stops kept 8 of each of two sets
    assert submit(world, "bent", "--images", "3").exit_code == 0
    assert read_row(row_path).images.count == 6
    assert submit(world, "bent", "--images", "0").exit_code == 0
    assert read_row(row_path).images is None
    assert verify(world, row_path).exit_code == 0


def test_a_run_that_lacks_an_attack_of_the_suite_is_refused_with_the_command_that_computes_it(fresh_world):
    root = fresh_world()
    bench(
        "run", "--workspace", root, "--out", root / "runs", "--track", "small", "--detector", "bent", "--threat",
        "all-l2", "--eps", "0.3", "-q",
    )  # fmt: skip
    result = submit(root)
    assert result.exit_code == 2
    assert "no cell bent x all-linf" in result.stderr
    assert "bench run --suite --detector bent" in result.stderr


def test_where_nothing_is_stored_the_suite_is_asked_for_as_a_run_without_options_computes_it():
    request = read_request({"detector": ["bent"]})
    assert Choice() == Choice(request.seed, request.early_stop)


def test_too_few_samples_are_refused(fresh_world):
    root = fresh_world()
    assert run_suite(root, "bent", "--limit", 20).exit_code == 0
    result = submit(root)
    assert result.exit_code == 2
    assert "at most 20 images" in result.stderr


def test_a_suite_may_ask_for_fewer_images_than_the_track_has(fresh_world):
    root = fresh_world()
    card = root / "datasets/small.yaml"
    put(card, json.dumps({**json.loads(card.read_text()), "suite_limit": 20}))
    assert run_suite(root, "bent").exit_code == 0
    result = submit(root)
    assert result.exit_code == 2
    assert "at most all images of a set, and a row of this track needs 20" in result.stderr
    assert "bench run --suite --detector bent" in result.stderr
    assert run_suite(root, "bent", "--limit", 20).exit_code == 0
    assert submit(root).exit_code == 0
    row = read_row(rows(root)[0])
    assert (row.track.limit, row.scores.sets["test"], row.scores.sets["near"]) == (20, 20, 20)
    assert verify(root, rows(root)[0]).exit_code == 0
    put(card, json.dumps({**json.loads(card.read_text()), "suite_limit": 30}))
    assert verify(root, rows(root)[0]).exit_code == 1


def test_a_suite_may_leave_out_sets_that_enter_no_mean(fresh_world):
    root = fresh_world()
    card = root / "datasets/small.yaml"
    put(card, json.dumps({**json.loads(card.read_text()), "suite_without": ["static"], "suite_limit": 20}))
    assert run_suite(root, "bent", "--limit", 20).exit_code == 0
    result = submit(root)
    assert result.exit_code == 2
    assert "was run on all OOD sets of the track, and a row needs all but static" in result.stderr
    assert "bench run --suite --detector bent" in result.stderr
    assert run_suite(root, "bent", "--limit", 20, "--without", "static").exit_code == 0
    assert submit(root).exit_code == 0
    row = read_row(rows(root)[0])
    assert list(row.scores.sets) == ["test", "near", "far"] and set(row.entries[0].sets) == {"near", "far"}
    assert "static" not in row.track.set_digests
    for level in ("claimed", "re-scored", "re-attacked"):
        done = verify(root, rows(root)[0], level)
        assert done.exit_code == 0, done.output
    put(card, json.dumps({key: value for key, value in json.loads(card.read_text()).items() if key != "suite_without"}))
    assert verify(root, rows(root)[0]).exit_code == 1


def test_a_row_needs_one_seed_for_its_whole_suite(fresh_world):
    root = fresh_world()
    for seed, threat, eps in ((1, "all-l2", 0.3), (2, "all-linf", 0.05)):
        bench(
            "run", "--workspace", root, "--out", root / "runs", "--track", "small", "--detector", "bent", "--threat",
            threat, "--eps", eps, "--seed", seed, "-q",
        )  # fmt: skip
    assert submit(root).exit_code == 2


def test_a_card_that_changed_since_the_run_is_refused_by_name(world):
    path = world / "threat_models/climb-l2.yaml"
    card = json.loads(path.read_text())
    put(path, json.dumps({**card, "params": {**THREATS["climb-l2"]["params"], "steps": 9}}))
    result = submit(world)
    assert result.exit_code == 2
    assert "the attacks that it is made from differs" in result.stderr


@pytest.mark.parametrize(("threat", "refused"), [("all-l2", True), ("climb-l2", True), ("static-l2", False)])
def test_a_failed_check_of_the_worst_case_or_its_strongest_gradient_attack_is_refused(world, threat, refused):
    finding = Finding(check="D11", title="a check", verdict=Verdict.FAIL, found="it fails.")
    write_verdicts(world / "runs", Verdicts(key=cell_of(world, threat).key, findings=(finding,)))
    result = submit(world, "bent", "--to", world / "elsewhere")
    assert result.exit_code == (2 if refused else 0), result.output
    assert ("fails D11" in result.stderr) is refused
    assert (world / "elsewhere").exists() is not refused


def test_findings_that_were_changed_refuse_the_row(world):
    finding = Finding(check="D11", title="a check", verdict=Verdict.FAIL, found="it fails.")
    write_verdicts(world / "runs", Verdicts(key=cell_of(world, "all-l2").key, findings=(finding,)))
    for file in (world / "runs" / "verdicts").glob("*/*.json"):
        file.write_text(file.read_text().replace("FAIL", "PASS"))
    result = submit(world)
    assert result.exit_code == 2
    assert "the findings of 1 cell" in result.stderr and "it differs from its seal" in result.stderr


def test_a_detector_without_gradients_leaves_out_the_attacks_that_follow_them(fresh_world):
    root = fresh_world()
    track = json.loads((root / "datasets/small.yaml").read_text())
    put(root / "datasets/small.yaml", json.dumps({**track, "suite": [{"threat": "all-l2", "eps": 0.3}]}))
    run_suite(root, "stepped")
    assert submit(root, "stepped").exit_code == 0
    (path,) = rows(root)
    row = read_row(path)
    assert set(row.entries[0].left_out) == {"climb-l2"}
    assert not row.detector.white_box
    assert verify(root, path, "re-scored").exit_code == 0


def test_a_random_detector_is_scored_again_by_the_draws_of_its_cells(fresh_world):
    root = fresh_world()
    run_suite(root, "shaken")
    assert submit(root, "shaken").exit_code == 0
    (path,) = rows(root)
    assert verify(root, path, "re-scored").exit_code == 0


def test_a_track_without_a_suite_has_no_rows(world):
    track = json.loads((world / "datasets/small.yaml").read_text())
    put(world / "datasets/small.yaml", json.dumps({name: value for name, value in track.items() if name != "suite"}))
    result = submit(world)
    assert result.exit_code == 2
    assert "has no suite" in result.stderr


def test_the_suite_is_no_part_of_a_cells_key_but_of_the_cards_content(cards):
    track = cards.track("small")
    without = track.model_copy(update={"suite": ()})
    assert track_hash(track) == track_hash(without)
    assert track.content_hash() != without.content_hash()


def test_the_shipped_tracks_have_suites_of_threats_that_are_there():
    shipped = Catalog(REPOSITORY)
    for name in ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100"):
        track = shipped.track(name)
        assert {shipped.threat(entry.threat).norm for entry in track.suite} == {"l2", "linf"}
        assert all(shipped.threat(entry.threat).members for entry in track.suite)


@pytest.mark.parametrize("sign", ["\t", "\u200b", "\u00a0"])
def test_a_text_of_the_card_that_no_reader_of_rows_takes_is_refused_before_anything_is_written(world, sign):
    path = world / "detectors/bent.yaml"
    put(path, json.dumps({**json.loads(path.read_text()), "tuned_on": f"a{sign}b"}))
    result = submit(world, "bent", "--to", world / "elsewhere")
    assert result.exit_code == 2
    assert "no row can be made of the cards' texts" in result.stderr and "invisible" in result.stderr
    assert not (world / "elsewhere").exists()


def test_files_that_nobody_would_read_are_not_written(world, monkeypatch):
    monkeypatch.setattr("bench.leaderboards.build.MAX_FILE_BYTES", 1000)
    result = submit(world, "bent", "--to", world / "elsewhere")
    assert result.exit_code == 2
    assert "and 1,000 are read" in result.stderr
    assert not (world / "elsewhere").exists()


def test_code_without_a_card_has_no_row(world):
    result = submit(world, "callable:os:system")
    assert result.exit_code == 2
    assert "has no card" in result.stderr


def test_a_text_of_two_lines_does_not_pass_for_a_line_of_the_review(world):
    path = world / "detectors/bent.yaml"
    put(path, json.dumps({**json.loads(path.read_text()), "tuned_on": "nothing\n  kind: certified"}))
    result = submit(world, "bent", "--dry-run")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("  kind:")] == ["  kind: white-box"]


def test_the_images_of_a_row_may_be_just_as_large_as_the_limit(world, monkeypatch):
    monkeypatch.setattr("bench.leaderboards.build.MAX_IMAGES_BYTES", 0)
    said = " ".join(submit(world, "bent", "--to", world / "elsewhere").stderr.split())
    size = int(said.partition("would take ")[2].partition(" bytes")[0].replace(",", ""))
    for limit, code in ((size - 1, 2), (size, 0)):
        monkeypatch.setattr("bench.leaderboards.build.MAX_IMAGES_BYTES", limit)
        assert submit(world, "bent", "--to", world / "elsewhere").exit_code == code


def test_without_a_track_the_row_is_on_the_one_of_the_cells(world):
    result = bench("submit", "--workspace", world, "--run", world / "runs", "--detector", "bent", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "bent on small" in result.stdout
