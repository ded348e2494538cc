"""Whatever is changed in a row or in a file beside it, a verification finds it."""

import json

import numpy as np
import pytest
from row_tampering import at, changes, loads, reseal, with_scores
from row_world import bench, verify
from safetensors.numpy import load

from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.arrays import pack
from bench.leaderboards.claims import check_claims
from bench.leaderboards.identity import digest_problem
from bench.leaderboards.rescore import Scorer, check_rescored
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, Row, RowError, read_row
from bench.soundness.verdicts import Verdict

# What only the one who computed a row can know: a forger who seals the row again may change it.
CIRCUMSTANCES = ("seconds", "device", "soundness", "versions")


def test_a_change_of_any_one_field_is_found(row_path, cards):
    content = loads(row_path)
    every = list(changes(content))
    assert len({place for place, _ in every}) > 200
    for place, other in every:
        row_path.write_text(json.dumps(other))
        try:
            row = read_row(row_path)
        except RowError:
            continue
        assert row.row_sha256 != row.content_sha256(), place


def test_a_change_of_any_one_field_that_is_sealed_again_is_found_but_for_circumstances(row_path, cards):
    content = loads(row_path)
    unseen = []
    for place, other in changes(content):
        if place == ("row_sha256",) or place[:2] == ("entries", 1):  # the second entry is made like the first
            continue
        try:
            row = Row.model_validate_json(json.dumps(other))
        except ValueError:
            continue
        sealed = reseal(row_path, row)
        claims = check_claims(read_row(sealed), sealed, cards, None)
        problems = claims.problems
        if not problems and claims.files is not None:
            problems = check_rescored(row, claims.files, cards).problems
        if not problems and at(content, place) != at(json.loads(sealed.read_text()), place):
            unseen.append(place)
    assert unseen
    assert all(set(place) & set(CIRCUMSTANCES) for place in unseen), unseen


@pytest.mark.parametrize("ending", [SCORES_SUFFIX, IMAGES_SUFFIX])
def test_a_change_of_one_byte_of_a_file_is_found(world, row_path, ending):
    path = row_path.with_name(read_row(row_path).stem + ending)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = verify(world, row_path, "claimed")
    assert result.exit_code == 1
    assert "sha256" in result.stderr


@pytest.mark.parametrize("name", ["clean", "worst.0", "norm.1", "member.0.climb-l2", "ids"])
def test_a_score_that_is_changed_and_sealed_again_is_found(world, row_path, cards, name):
    row = read_row(row_path)
    arrays = load(row_path.with_name(row.scores.file).read_bytes())
    changed_scores = arrays[name].copy()
    changed_scores[3] = {"norm.1": 0.5, "ids": 7}.get(name, changed_scores[3] - 0.05)
    forged, scores = with_scores(row, {**arrays, name: changed_scores})
    sealed = reseal(row_path, with_figures(forged, {**arrays, name: changed_scores}), {SCORES_SUFFIX: scores})
    assert verify(world, sealed, "re-scored").exit_code == 1


def test_an_image_that_is_changed_and_sealed_again_is_found(world, row_path):
    row = read_row(row_path)
    arrays = load(row_path.with_name(row.images.file).read_bytes())
    images = arrays["images.0"].copy()
    images[2] = np.clip(images[2] * 0.9, 0, 1)
    sealed = reseal(row_path, row, {IMAGES_SUFFIX: pack({**arrays, "images.0": images})})
    result = verify(world, sealed, "re-scored")
    assert result.exit_code == 1
    assert "kept images" in result.stderr
    assert "[claimed]" in result.stdout


def test_an_attack_that_did_nothing_is_found_by_attacking_drawn_images_and_by_attacking_all(world, row_path):
    row = read_row(row_path)
    arrays = load(row_path.with_name(row.scores.file).read_bytes())
    clean = arrays["clean"][row.scores.sets["test"] :]
    idle = {name: clean if name.startswith(("worst", "member")) else array for name, array in arrays.items()}
    forged, scores = with_scores(row.model_copy(update={"images": None}), idle)
    sealed = reseal(row_path, with_figures(forged, idle), {SCORES_SUFFIX: scores})
    drawn = verify(world, sealed, "re-scored")
    assert drawn.exit_code == 1
    assert "32 images drawn with seed" in drawn.stderr
    assert "[claimed]" in drawn.stdout
    result = verify(world, sealed, "re-attacked", "--quiet")
    assert result.exit_code == 1
    assert "is claimed, and fresh attacks allow" in result.stderr
    assert "[refuted]" in result.stdout


def test_other_weights_are_found(world, row_path):
    weights = world / "detectors/weights/bent.safetensors"
    weights.write_bytes(pack({"slope": np.ones(16, np.float32)}))
    assert verify(world, row_path, "claimed").exit_code == 0
    result = bench("verify", row_path, "--workspace", world, "--device", "cpu")
    assert result.exit_code == 2
    assert "sha256" in result.stderr


def with_figures(row: Row, arrays: dict[str, np.ndarray]) -> Row:
    """The row with the figures that these scores make."""
    table = ScoreTable(row.scores.sets, ("near", "far"), arrays)
    entries = []
    for number, entry in enumerate(row.entries):
        members = {
            name: member.model_copy(update={"mean": table.member_mean(number, name)})
            for name, member in entry.members.items()
        }
        figures = {"sets": table.set_figures(number), "mean": table.worst_mean(number), "members": members}
        entries.append(entry.model_copy(update=figures))
    worst = min((entry.mean for entry in entries), key=lambda mean: mean.auroc)
    return row.model_copy(update={"entries": tuple(entries), "worst": worst, "clean": table.clean_mean()})


def test_a_set_of_another_content_is_found_whatever_keys_a_forger_makes(row_path, cards):
    row = read_row(row_path)
    track, spec = cards.track("small"), cards.detector_spec("bent", "small")
    digests = dict(row.track.set_digests)
    assert digest_problem(track, spec, digests) is None
    assert "'near' has another content" in digest_problem(track, spec, {**digests, "near": "0" * 64})
    assert "it names the sets" in digest_problem(track, spec, {**digests, "more": "0" * 64})


def with_first_entry(row, **changes):
    """The row with other values in its first entry."""
    return row.model_copy(update={"entries": (row.entries[0].model_copy(update=changes), *row.entries[1:])})


def test_a_row_whose_own_checks_fail_is_refused_however_it_came_to_be(row_path, cards):
    row = read_row(row_path)
    cell = row.entries[0].cell.model_copy(update={"soundness": {"D11": Verdict.FAIL}})
    sealed = reseal(row_path, with_first_entry(row, cell=cell))
    problems = check_claims(read_row(sealed), sealed, cards, None).problems
    assert any("fails the soundness checks D11" in problem for problem in problems)


def test_an_attack_that_can_be_run_cannot_be_left_out(row_path, cards):
    row = read_row(row_path)
    members = {name: own for name, own in row.entries[0].members.items() if name != "climb-l2"}
    sealed = reseal(row_path, with_first_entry(row, members=members, left_out={"climb-l2": "it takes long"}))
    problems = check_claims(read_row(sealed), sealed, cards, None).problems
    assert any("lacks the attack climb-l2" in problem for problem in problems)


@pytest.mark.parametrize(("given", "problems"), [(0.5, 1), (0.901, 0)])
def test_an_id_accuracy_that_the_weights_do_not_give_is_found(row_path, cards, monkeypatch, given, problems):
    row = read_row(row_path)
    files = check_claims(row, row_path, cards, None).files
    monkeypatch.setattr(Scorer, "id_accuracy", lambda scorer: 0.9)
    found = check_rescored(row.model_copy(update={"id_accuracy": given}), files, cards).problems
    assert len(found) == problems
    assert all("id_accuracy is given as 0.5" in problem for problem in found)
