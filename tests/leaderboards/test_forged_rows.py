"""Forgeries that were seen: whatever a row says of itself, it gives no place that a verifier did not."""

import json
import shutil

import numpy as np
import pytest
from forging import idle, rewrite, scorer_base, unverify, with_keys
from row_tampering import loads, reseal
from row_world import board, make_world, places, put, ranked, records, rows, run_suite, submit, verify

from bench.cards.catalog import Catalog
from bench.leaderboards.adversarials import Beaten, write_beaten
from bench.leaderboards.arrays import pack
from bench.leaderboards.claims import check_claims
from bench.leaderboards.drawn import check_drawn
from bench.leaderboards.row import read_row
from bench.soundness.verdicts import Verdict


@pytest.mark.parametrize("keep", [0, 16])
def test_scores_that_no_attack_has_earned_give_no_place_at_their_claim(honest, key, keep):
    (path,) = rows(honest)
    truth = read_row(path).worst.auroc
    unverify(path)
    claimed = read_row(idle(path, keep)).worst.auroc
    assert claimed > truth + 0.1 and places(honest) == {}
    scored = verify(honest, path, "re-scored", "--sign", key, "-q")
    assert scored.exit_code == 1 and "images drawn with seed" in scored.stderr
    assert places(honest) == {} and "refuted" in board(honest).stdout
    assert verify(honest, path, "re-attacked", "--sign", key, "-q").exit_code == 1
    assert places(honest) == {"bent": "1 refuted"}
    ((_, _, _, left, *_),) = ranked(honest)
    assert float(left[:5]) == pytest.approx(truth, abs=0.02)
    unverify(path)  # and the refutation is forgotten: so is the place
    assert places(honest) == {}


def test_a_record_that_somebody_wrote_by_hand_survives_nothing(honest):
    (path,) = rows(honest)
    rewrite(path, lambda content: None)
    assert places(honest) == {}
    assert verify(honest, path, "re-scored", "--record", "-q").exit_code == 0
    assert places(honest) == {} and "not verified" in board(honest).stdout
    old = path.with_name(f"{path.stem}.verified.json")
    unverify(path)
    old.write_text(json.dumps({"format": 1, "row_sha256": read_row(path).row_sha256, "level": "re-attacked"}))
    assert places(honest) == {} and old.name in board(honest).stderr


def test_a_row_of_bench_99_displaces_nobody(honest, key):
    (path,) = rows(honest)
    row = read_row(path)
    loud = reseal(path, with_keys(row.model_copy(update={"bench": "99.0.0"})))
    assert loud != path
    before = ranked(honest)
    assert places(honest) == {"bent": "1 re-attacked"} and "99.0.0" in board(honest).stdout
    assert verify(honest, loud, "re-attacked", "--sign", key, "-q", "--seeds", "1,2,3").exit_code == 0
    assert [words[:11] for words in ranked(honest)] == [words[:11] for words in before]


def test_forged_images_that_beat_a_row_are_never_shown_and_rank_nothing_when_the_track_s_version_rises(honest, key):
    (path,) = rows(honest)
    row = read_row(path)
    fakes = {"images": np.zeros((70, 1, 4, 4), np.float32), "rows": np.arange(70)}
    write_beaten(path, Beaten(row, row.worst_entry, 0.0, 0.0, 70, 0, fakes))
    own = np.clip(scorer_base(honest, path) - 0.01, 0, 1)  # inside the ball, and no better than the row's own
    write_beaten(path, Beaten(row, row.worst_entry, 0.001, 0.0, 70, 0, {"images": own, "rows": np.arange(70)}))
    assert "beaten" not in board(honest).stdout and places(honest) == {"bent": "1 re-attacked"}
    result = verify(honest, path, "re-attacked", "--sign", key, "-q")
    assert result.exit_code == 1 and "outside the ball" in result.stderr and "0.0010 is given" in result.stderr
    assert "do not beat it" in result.stdout
    assert "beaten" not in board(honest).stdout and places(honest) == {"bent": "1 re-attacked"}
    card = honest / "datasets/small.yaml"
    card.write_text(json.dumps({**loads(card), "version": 2}))
    assert places(honest) == {}
    assert run_suite(honest).exit_code == 0 and submit(honest).exit_code == 0
    (new,) = [other for other in rows(honest) if other != path]
    assert verify(honest, new, "re-attacked", "--sign", key, "-q").exit_code == 0
    assert places(honest) == {"bent": "1 re-attacked"}
    ((_, _, _, left, *_),) = ranked(honest)
    assert float(left[:5]) > 0.8


def test_circumstances_that_a_submitter_invents_are_not_what_a_board_shows(honest, key):
    (path,) = rows(honest)
    row = read_row(path)
    before = ranked(honest)
    unverify(path)

    def boast(cell, gradients, queries):
        sound = {"D4": Verdict.PASS, "D19": Verdict.PASS}
        free = {"gradients": gradients, "queries": queries}
        return cell.model_copy(update={"seconds": 9e9, "device": "cuda (H200)", "soundness": sound, **free})

    entries = tuple(
        entry.model_copy(
            update={
                "cell": boast(entry.cell, 7 * len(entry.members), 3 * len(entry.members)),
                "members": {
                    name: m.model_copy(update={"cell": boast(m.cell, 7, 3)}) for name, m in entry.members.items()
                },
            }
        )
        for entry in row.entries
    )
    clean = boast(row.clean_cell, 0, 0)
    spent = [clean, *(entry.cell for entry in entries)]
    sums = {name: sum(getattr(cell, name) for cell in spent) for name in ("gradients", "queries", "seconds")}
    assert sums["gradients"] < row.gradients and sums["queries"] < row.queries
    reseal(
        path, row.model_copy(update={**sums, "entries": entries, "clean_cell": clean, "versions": {"torch": "9.9.9"}})
    )
    assert verify(honest, path, "re-attacked", "--sign", key, "-q", "--seeds", "1,2,3").exit_code == 0
    assert [words[:12] for words in ranked(honest)] == [words[:12] for words in before]
    assert float(ranked(honest)[0][12]) < 100
    board(honest, "--html", honest / "site")
    (page,) = (honest / "site/small").glob("bent@*.html")
    assert "H200" not in page.read_text() and "9.9.9" not in page.read_text()


def test_a_row_of_an_earlier_version_of_the_track_is_held_to_its_own_scores(honest):
    (path,) = rows(honest)
    card = honest / "datasets/small.yaml"
    content = {**loads(card), "version": 2}
    content["ood"].pop("static")
    card.write_text(json.dumps(content))
    result = board(honest)
    assert result.exit_code == 0 and "1 row is not ranked" in result.stdout and places(honest) == {}
    row = read_row(path)
    reseal(path, row.model_copy(update={"worst": row.worst.model_copy(update={"auroc": 0.999})}))
    result = board(honest)
    assert result.exit_code == 1 and "the scores make it" in result.stderr


def test_the_order_in_which_a_card_names_its_sets_changes_nothing(honest, key):
    card, (path,) = honest / "datasets/small.yaml", rows(honest)
    before = board(honest).stdout
    content = loads(card)
    content["ood"] = dict(reversed(content["ood"].items()))
    card.write_text(json.dumps(content))
    assert (board(honest).stdout, board(honest).exit_code) == (before, 0)
    assert verify(honest, path, "re-scored", "-q").exit_code == 0
    assert verify(honest, path, "re-attacked", "--sign", key, "-q").exit_code == 0
    assert places(honest) == {"bent": "1 re-attacked"}


def test_a_record_says_nothing_of_another_row_beside_it(honest, key):
    (path,) = rows(honest)
    assert run_suite(honest, "shaken").exit_code == 0 and submit(honest, "shaken").exit_code == 0
    (other,) = [own for own in rows(honest) if own != path]
    for file in list(path.parent.glob(f"{path.stem}.verified-*")):
        shutil.copy(file, file.with_name(file.name.replace(path.stem, other.stem)))
    assert places(honest) == {"bent": "1 re-attacked"} and "of another row" in board(honest).stderr


def test_of_two_records_that_disagree_the_one_that_leaves_less_counts(honest, key):
    (path,) = rows(honest)
    (mild,) = records(path)
    kept = {own: own.read_bytes() for own in path.parent.glob(f"{path.stem}.verified-*")}

    def lower(content):
        """What a verifier with a stronger attack would have found, without the scores that show it."""
        content["made"] = "2000-01-01T00:00:00Z"

    rewrite(path, lower, key)
    for own, content in kept.items():
        own.write_bytes(content)
    assert len(records(path)) == 2 and mild in records(path)
    assert places(honest) == {"bent": "1 re-attacked"}
    assert verify(honest, path, "re-attacked", "--sign", key, "-q", "--seeds", "4,5,6").exit_code == 0
    lowest = min(loads(own)["fresh"]["ranked"] for own in records(path))
    ((_, _, _, left, *_),) = ranked(honest)
    assert float(left[:5]) == pytest.approx(lowest, abs=5e-4)


def test_an_unverified_row_does_not_hide_the_verified_one_of_its_name(attested, tmp_path, monkeypatch):
    own = make_world(tmp_path / "own")
    shutil.copytree(attested, own, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.setattr("bench.cards.catalog.builtin_content", lambda: attested)
    (path,) = rows(own)
    unverify(path)
    idle(path)
    assert places(own) == {"bent": "1 re-attacked"}
    result = board(own)
    assert result.exit_code == 0 and "have the name of a verified one" in result.stderr
    put(own / "leaderboards/allowed_signers", "")  # who may verify elsewhere may do so here no more
    assert places(own) == {"bent": "1 re-attacked"}


def test_weights_that_no_card_pins_and_that_are_others_now_make_history_of_their_row(fresh_world):
    root = fresh_world()
    card = root / "detectors/bent.yaml"
    content = loads(card)
    content["tracks"]["small"]["weights"][0]["sha256"] = None
    card.write_text(json.dumps(content))
    assert run_suite(root).exit_code == 0 and submit(root).exit_code == 0
    assert "not verified" in board(root).stdout
    weights = root / "detectors/weights/bent.safetensors"
    weights.write_bytes(pack({"slope": np.full(16, 3.0, np.float32)}))
    assert "1 row is not ranked" in board(root).stdout


@pytest.mark.parametrize("rule", ["SURE", "DEVIATIONS"])
def test_each_rule_of_drawn_images_finds_idle_attacks_by_itself(honest, monkeypatch, rule):
    (path,) = rows(honest)
    row = read_row(idle(path))
    files = check_claims(row, path, Catalog(honest), None).files
    monkeypatch.setattr(f"bench.leaderboards.drawn.{rule}", np.inf)
    assert check_drawn(row, files, Catalog(honest), seed=1).problems
