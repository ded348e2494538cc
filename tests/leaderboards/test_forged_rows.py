"""Forgeries: whatever is written into a row, beside it or into its cards, it gives no place that a verifier did not."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from row_tampering import at, loads, reseal, with_scores
from row_world import (
    allow,
    board,
    line_for,
    make_world,
    new_key,
    places,
    public_half,
    put,
    ranked,
    records,
    rows,
    run_suite,
    submit,
    verify,
)
from safetensors.numpy import load
from test_row_tampering import with_figures

from bench.cards.catalog import Catalog
from bench.leaderboards.adversarials import Beaten, write_beaten
from bench.leaderboards.arrays import pack
from bench.leaderboards.claims import check_claims
from bench.leaderboards.drawn import check_drawn
from bench.leaderboards.record_files import _digest, record_bytes
from bench.leaderboards.records import VerifiedRecord
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, read_row
from bench.leaderboards.signatures import sign
from bench.soundness.verdicts import Verdict


@pytest.fixture(scope="module")
def thief(tmp_path_factory):
    """The key of somebody who may not verify."""
    return new_key(tmp_path_factory.mktemp("thief"), "thief")


def arrays_of(path):
    return dict(load(path.with_name(read_row(path).scores.file).read_bytes()))


def idle(path, keep=0):
    """The row as if its attacks had done nothing: with no kept images, or with those and their honest scores."""
    row, arrays = read_row(path), arrays_of(path)
    clean = arrays["clean"][row.scores.sets["test"] :]
    changed = {name: clean.copy() if name.startswith(("worst", "member")) else own for name, own in arrays.items()}
    files, kept = {}, {}
    if keep:
        images = dict(load(path.with_name(row.images.file).read_bytes()))
        for number in range(len(row.entries)):
            chosen = images[f"rows.{number}"][:keep]
            kept |= {f"rows.{number}": chosen, f"images.{number}": images[f"images.{number}"][:keep]}
            for name in arrays:
                if name == f"worst.{number}" or name.startswith(f"member.{number}."):
                    changed[name][chosen] = arrays[name][chosen]
        files[IMAGES_SUFFIX] = pack(kept)
        row = row.model_copy(update={"images": row.images.model_copy(update={"count": keep})})
    else:
        row = row.model_copy(update={"images": None})
    forged, scores = with_scores(row, changed)
    return reseal(path, with_figures(forged, changed), {**files, SCORES_SUFFIX: scores})


def unverify(path):
    for file in path.parent.glob(f"{path.stem}.verified-*"):
        file.unlink()


def rewrite(path, change, key=None):
    """The record beside a row, changed and signed anew; unsigned where no key is given."""
    (old,) = records(path)
    content = loads(old)
    change(content)
    text = record_bytes(VerifiedRecord.model_validate_json(json.dumps(content)))
    scores = old.with_name(f"{old.stem}.scores.safetensors").read_bytes()
    unverify(path)
    new = path.with_name(f"{path.stem}.verified-{_digest(text)}.json")
    new.write_bytes(text)
    new.with_name(f"{new.stem}.scores.safetensors").write_bytes(scores)
    if key is not None:
        new.with_name(f"{new.name}.sig").write_bytes(sign(text, key))
    return new


def signature(record):
    return record.with_name(f"{record.name}.sig")


def setting(*place):
    """A change of one value."""
    *way, value = place

    def change(content):
        at(content, way[:-1])[way[-1]] = value

    return change


# ---- (a) to (h)


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


def with_keys(row):
    """The row with the keys that its version asks for."""
    from bench.cards.threat import Side
    from bench.evaluation.keys import Ingredients

    def cell(own, seed):
        key = Ingredients(
            detector_hash=row.detector.settings_hash, weights_sha256=tuple(w.sha256 for w in row.detector.weights),
            source_hash=own.source_hash, threat_hash=own.threat_hash, track_hash=row.track.hash,
            set_digests=dict(row.track.set_digests), norm=own.norm, eps=own.eps, side=Side.EVADE, seed=seed,
            limit=row.track.limit, micro_batch=row.micro_batch, early_stop=own.early_stop, needs=own.needs,
        ).key(layout=row.cell_format, version=row.bench)  # fmt: skip
        return own.model_copy(update={"key": key})

    entries = []
    for entry in row.entries:
        members = {name: m.model_copy(update={"cell": cell(m.cell, row.seed)}) for name, m in entry.members.items()}
        needs = tuple(member.cell.key for member in members.values())
        own = cell(entry.cell.model_copy(update={"needs": needs}), row.seed)
        entries.append(entry.model_copy(update={"cell": own, "members": members}))
    return row.model_copy(update={"entries": tuple(entries), "clean_cell": cell(row.clean_cell, 0)})


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


def scorer_base(root, path):
    from bench.leaderboards.rescore import Scorer

    return Scorer.load(read_row(path), Catalog(root), device="cpu", data_dir=None).base


def test_circumstances_that_a_submitter_invents_are_not_what_a_board_shows(honest, key):
    (path,) = rows(honest)
    row = read_row(path)
    before = ranked(honest)
    unverify(path)

    def boast(cell):
        sound = {"D4": Verdict.PASS, "D19": Verdict.PASS}
        return cell.model_copy(update={"seconds": 9e9, "device": "cuda (H200)", "soundness": sound})

    entries = tuple(
        entry.model_copy(
            update={
                "cell": boast(entry.cell),
                "members": {name: m.model_copy(update={"cell": boast(m.cell)}) for name, m in entry.members.items()},
            }
        )
        for entry in row.entries
    )
    clean = boast(row.clean_cell)
    seconds = clean.seconds + sum(entry.cell.seconds for entry in entries)
    changes = {"entries": entries, "clean_cell": clean, "seconds": seconds, "versions": {"torch": "9.9.9"}}
    reseal(path, row.model_copy(update=changes))
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


# ---- of our own: each is done to a workspace whose row has a place, and takes it away


def _another_signature(root, path, key, thief):
    (record,) = records(path)
    signature(record).write_bytes(sign(b"something else", key))


def _copied_signature(root, path, key, thief):
    (record,) = records(path)
    kept = signature(record).read_bytes()
    rewrite(path, setting("bench", "99.0.0"))
    signature(records(path)[0]).write_bytes(kept)


def _another_namespace(root, path, key, thief):
    (record,) = records(path)
    done = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", key], input=record.read_bytes(), capture_output=True, check=True
    )
    signature(record).write_bytes(done.stdout)


def _a_key_for_another_namespace(root, path, key, thief):
    allow(root, line_for(key, options='namespaces="git,file"'))


def _an_expired_key(root, path, key, thief):
    allow(root, line_for(key, options='valid-before="20200101Z"'))


def _a_key_that_expired_a_minute_ago(root, path, key, thief):
    then = datetime.now(UTC) - timedelta(minutes=1)
    allow(root, line_for(key, options=f'valid-before="{then:%Y%m%d%H%M%S}Z"'))


def _a_key_that_is_not_valid_yet(root, path, key, thief):
    allow(root, line_for(key, options='valid-after="29990101Z"'))


def _a_key_of_a_certificate_authority(root, path, key, thief):
    allow(root, line_for(key, options="cert-authority"))


def _an_unknown_option(root, path, key, thief):
    allow(root, line_for(key, options='always="yes"'))


def _a_look_alike_of_a_name(root, path, key, thief):
    allow(root, line_for(thief), line_for(key, name="vеrifier@example.org"))  # noqa: RUF001 - a Cyrillic letter


def _a_key_that_nobody_named(root, path, key, thief):
    rewrite(path, lambda content: None, thief)


def _signers_in_the_track_s_folder(root, path, key, thief):
    rewrite(path, lambda content: None, thief)
    put(path.parent / "allowed_signers", line_for(thief) + "\n")


def _signers_behind_a_link(root, path, key, thief):
    rewrite(path, lambda content: None, thief)
    put(path.parent / "mine", line_for(thief) + "\n")
    (root / "leaderboards/allowed_signers").unlink()
    (root / "leaderboards/allowed_signers").symlink_to("small/mine")


def _signers_in_a_comment(root, path, key, thief):
    allow(root, f"# {line_for(key)}", f"verifier@example.org {public_half(thief)} {public_half(key)}")


def _a_linked_record(root, path, key, thief):
    (record,) = records(path)
    record.rename(root / "elsewhere.json")
    record.symlink_to(root / "elsewhere.json")


def _a_linked_signature(root, path, key, thief):
    (record,) = records(path)
    signature(record).rename(root / "elsewhere.sig")
    signature(record).symlink_to(root / "elsewhere.sig")


def _the_verifier_s_scores_behind_a_link(root, path, key, thief):
    (record,) = records(path)
    scores = record.with_name(f"{record.stem}.scores.safetensors")
    scores.rename(root / "elsewhere")
    scores.symlink_to(root / "elsewhere")


def _a_row_that_was_edited_after_it_was_verified(root, path, key, thief):
    row = read_row(path)
    reseal(path, row.model_copy(update={"versions": {"torch": "9.9"}}))


def _better_scores_after_it_was_verified(root, path, key, thief):
    idle(path)


def _kept_images_exchanged_after_it_was_verified(root, path, key, thief):
    row = read_row(path)
    images = dict(load(path.with_name(row.images.file).read_bytes()))
    images["rows.0"] = images["rows.0"][::-1]
    reseal(path, row, {IMAGES_SUFFIX: pack(images)})


def _a_record_of_other_weights(root, path, key, thief):
    rewrite(path, setting("subject", "weights", ["0" * 64]), key)


def _a_record_of_another_track(root, path, key, thief):
    rewrite(path, setting("subject", "track_hash", "0" * 64), key)


def _a_record_with_the_row_s_own_seed(root, path, key, thief):
    rewrite(path, setting("fresh", "seeds", [0, 1, 2]), key)


def _a_record_whose_median_is_invented(root, path, key, thief):
    rewrite(path, setting("fresh", "ranked", 0.999), key)


def _a_record_that_was_only_re_scored(root, path, key, thief):
    def lower(content):
        content |= {"fresh": None, "beaten": [], "asked": "re-scored", "reached": "re-scored"}

    rewrite(path, lower, key)


def _a_record_that_names_a_level_and_holds_no_attack(root, path, key, thief):
    rewrite(path, setting("fresh", None), key)


def _a_record_whose_attacks_are_doubted(root, path, key, thief):
    def doubt(content):
        content["reached"], content["fresh"]["doubted"] = "re-scored", True

    rewrite(path, doubt, key)


def _exchanged_scores_of_the_verifier(root, path, key, thief):
    (record,) = records(path)
    shutil.copy(path.with_name(read_row(path).scores.file), record.with_name(f"{record.stem}.scores.safetensors"))


def _numbers_that_are_none(root, path, key, thief):
    (record,) = records(path)
    record.write_text(record.read_text().replace('"sd": ', '"sd": NaN, "was": ', 1))
    resign(record, key)


def _numbers_that_are_huge(root, path, key, thief):
    (record,) = records(path)
    record.write_text(record.read_text().replace('"ranked": ', '"ranked": 1e999, "was": ', 1))
    resign(record, key)


def resign(record, key):
    """Name and sign the content of a record anew."""
    text = record.read_bytes()
    new = record.with_name(f"{record.name.partition('.verified-')[0]}.verified-{_digest(text)}.json")
    record.rename(new)
    record.with_name(f"{record.stem}.scores.safetensors").rename(new.with_name(f"{new.stem}.scores.safetensors"))
    signature(record).unlink()
    signature(new).write_bytes(sign(text, key))


def _a_record_under_another_name(root, path, key, thief):
    (record,) = records(path)
    for file in list(path.parent.glob(f"{record.stem}*")):
        file.rename(file.with_name(file.name.replace(record.stem, f"{path.stem}.verified-{'0' * 12}")))


def _an_id_that_comes_twice(root, path, key, thief):
    row, arrays = read_row(path), arrays_of(path)
    arrays["ids"] = arrays["ids"].copy()
    arrays["ids"][45] = arrays["ids"][44]
    forged, scores = with_scores(row, arrays)
    reseal(path, forged, {SCORES_SUFFIX: scores})


def _exchanged_attacks(root, path, key, thief):
    row, arrays = read_row(path), arrays_of(path)
    arrays["worst.0"], arrays["worst.1"] = arrays["worst.1"], arrays["worst.0"]
    forged, scores = with_scores(row, arrays)
    reseal(path, with_figures(forged, arrays), {SCORES_SUFFIX: scores})


def _a_track_s_card_changed_in_place(root, path, key, thief):
    card = root / "datasets/small.yaml"
    content = loads(card)
    content["ood"]["far"]["kind"] = "synthetic"
    card.write_text(json.dumps(content))


def _a_weaker_suite_in_place(root, path, key, thief):
    card = root / "threat_models/climb-l2.yaml"
    content = loads(card)
    content["params"]["steps"] = 1
    card.write_text(json.dumps(content))


def _a_detector_s_card_changed_afterwards(root, path, key, thief):
    card = root / "detectors/bent.yaml"
    card.write_text(json.dumps({**loads(card), "extra_data": "everything"}))


def _weights_that_no_card_pins_changed_afterwards(root, path, key, thief):
    card = root / "detectors/bent.yaml"
    content = loads(card)
    content["tracks"]["small"]["weights"][0]["sha256"] = None
    card.write_text(json.dumps(content))
    weights = root / "detectors/weights/bent.safetensors"
    weights.write_bytes(pack({"slope": np.full(16, 3.0, np.float32)}))


FORGERIES = [
    (_another_signature, "signature does not hold"),
    (_copied_signature, "signature does not hold"),
    (_another_namespace, "signature does not hold"),
    (_a_key_for_another_namespace, "may not sign in the namespace"),
    (_an_expired_key, "was valid before 2020-01-01 only"),
    (_a_key_that_expired_a_minute_ago, "was valid before"),
    (_a_key_that_is_not_valid_yet, "is valid after 2999-01-01 only"),
    (_a_key_of_a_certificate_authority, "certificate authority"),
    (_an_unknown_option, "line 1 of"),
    (_a_look_alike_of_a_name, "other characters than ASCII's"),
    (_a_key_that_nobody_named, "does not name"),
    (_signers_in_the_track_s_folder, "does not name"),
    (_signers_behind_a_link, "is a link"),
    (_signers_in_a_comment, "does not name"),
    (_a_linked_record, "is a link"),
    (_a_linked_signature, "is a link"),
    (_the_verifier_s_scores_behind_a_link, "is a link"),
    (_a_row_that_was_edited_after_it_was_verified, "before it was changed"),
    (_better_scores_after_it_was_verified, "before it was changed"),
    (_kept_images_exchanged_after_it_was_verified, "before it was changed"),
    (_a_record_of_other_weights, "of another row"),
    (_a_record_of_another_track, "of another row"),
    (_a_record_with_the_row_s_own_seed, "its seeds are not"),
    (_a_record_whose_median_is_invented, "not the lowest median"),
    (_a_record_that_was_only_re_scored, ""),
    (_a_record_that_names_a_level_and_holds_no_attack, "no fresh attacks"),
    (_a_record_whose_attacks_are_doubted, ""),
    (_exchanged_scores_of_the_verifier, "verifier's own scores"),
    (_numbers_that_are_none, "NaN"),
    (_numbers_that_are_huge, "not finite"),
    (_a_record_under_another_name, "named by other content"),
    (_an_id_that_comes_twice, "twice"),
    (_exchanged_attacks, ""),
    (_a_track_s_card_changed_in_place, ""),
    (_a_weaker_suite_in_place, ""),
    (_a_detector_s_card_changed_afterwards, ""),
    (_weights_that_no_card_pins_changed_afterwards, ""),
]


@pytest.mark.parametrize(("forge", "words"), FORGERIES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_forgery_gives_no_place_and_is_named(honest, key, thief, forge, words):
    assert places(honest) == {"bent": "1 re-attacked"}
    (path,) = rows(honest)
    forge(honest, path, key, thief)
    result = board(honest)
    assert places(honest) == {}
    assert words in result.stderr and "Traceback" not in result.stderr
    assert all(len(line) < 900 for line in result.stderr.splitlines())


# ---- rows that meet


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
