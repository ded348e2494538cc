"""Forgeries of our own: each is done to a workspace whose row has a place, and takes it away."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from forging import arrays_of, idle, resign, rewrite, setting, signature
from row_tampering import loads, reseal, with_scores
from row_world import allow, board, line_for, new_key, places, public_half, put, records, rows
from safetensors.numpy import load
from test_row_tampering import with_figures

from bench.leaderboards.arrays import pack
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, read_row
from bench.leaderboards.signatures import sign


@pytest.fixture(scope="module")
def thief(tmp_path_factory):
    """The key of somebody who may not verify."""
    return new_key(tmp_path_factory.mktemp("thief"), "thief")


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


def _a_key_that_was_taken_out(root, path, key, thief):
    allow(root, line_for(thief))


def _a_key_in_a_file_of_another_name(root, path, key, thief):
    signers = root / "leaderboards/allowed_signers"
    signers.rename(signers.with_name("Allowed_Signers.txt"))


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
    (_a_key_that_was_taken_out, "does not name"),
    (_a_key_in_a_file_of_another_name, "does not name"),
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
