"""A row from a stranger does nothing but be refused in one sentence."""

import copy
import json
import pickle
import time

import pytest
from row_tampering import at, loads, reseal
from row_world import bench, verify

from bench.leaderboards.row import SCORES_SUFFIX, Row, read_row

SCRIPT = "<script>alert(1)</script>"


def refused(world, path, words):
    before = sorted(str(found) for found in world.rglob("*"))
    result = verify(world, path, "re-attacked")
    assert result.exit_code in (1, 2), result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()[0]) < 700
    assert before == sorted(str(found) for found in world.rglob("*"))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("detector", "name"), "../../etc/passwd", "detector.name"),
        (("detector", "name"), SCRIPT, "detector.name"),
        (("track", "name"), "../small", "track.name"),
        (("detector", "weights", 0, "file"), "../../secret", "detector.weights.0.file"),
        (("detector", "weights", 0, "source"), "javascript:alert(1)", "source"),
        (("detector", "tuned_on"), "x" * 10_000_000, "larger than"),
        (("detector", "tuned_on"), "x" * 5000, "characters"),
        (("detector", "tuned_on"), "\x1b[2J", "control or invisible"),
        (("entries", 0, "mean", "auroc"), "0.9", "entries.0.mean.auroc"),
        (("entries", 0, "mean", "auroc"), 2.0, "entries.0.mean.auroc"),
        (("entries", 0, "mean", "auroc"), True, "entries.0.mean.auroc"),
        (("entries", 0, "eps"), -1.0, "entries.0.eps"),
        (("entries",), [], "entries"),
        (("format",), 99, "format 99"),
        (("format",), True, "format True"),
        (("seed",), 1.5, "seed"),
        (("entries", 0, "mean"), {"auroc": 2.0, "se": 3.0}, "field 'entries.0.mean.auroc': "),
        (("surprise",), 1, "surprise"),
        (("scores", "sets", "test"), 10**12, "scores.sets.test"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_its_field(world, row_path, place, value, words):
    content = copy.deepcopy(loads(row_path))
    at(content, place[:-1])[place[-1]] = value
    row_path.write_text(json.dumps(content))
    refused(world, row_path, words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"format": 1', '"format": 1, "format": 1', "twice"),
        ('"seed": 0', '"seed": NaN', "NaN"),
        ('"seed": 0', '"seed": Infinity', "Infinity"),
        ('"seed": 0', '"seed": 1e999', "not finite"),
        ('"seed": 0', '"seed": ' + "[" * 100 + "]" * 100, "nested"),
        ('"seed": 0', '"seed": ' + "[" * 100_000 + "]" * 100_000, "nested"),
        ('"seed": 0', '"seed": ' + "9" * 5000, "digits"),
        ('"seed": 0', '"seed": ', "not JSON"),
    ],
)
def test_json_that_says_more_than_one_thing_or_none_is_refused(world, row_path, old, new, words):
    text = row_path.read_text()
    assert old in text
    row_path.write_text(text.replace(old, new, 1))
    refused(world, row_path, words)


@pytest.mark.parametrize("content", [b"\x80\x04", b"", b"[]", b"null", b"\xff\xfe{}", pickle.dumps({"format": 1})])
def test_a_file_that_is_no_json_object_is_refused(world, row_path, content):
    row_path.write_bytes(content)
    refused(world, row_path, "row")


def test_a_row_that_is_not_there_is_refused(world):
    refused(world, world / "leaderboards/small/nobody@0.json", "is not a file")


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("made", [pickle.dumps, lambda trap: b"\xff" * 64, lambda trap: b""])
def test_a_pickle_that_is_named_safetensors_is_never_unpickled(world, row_path, made):
    trap = world / "trapped"
    sealed = reseal(row_path, read_row(row_path), {SCORES_SUFFIX: made(Trap(trap)) or b" "})
    refused(world, sealed, "safetensors")
    assert not trap.exists()


def test_the_name_of_a_file_in_a_row_is_never_opened(world, row_path):
    content = loads(row_path)
    content["scores"]["file"] = "../../../secret.safetensors"
    row = Row.model_validate_json(json.dumps(content)).sealed()
    row_path.write_text(row.model_dump_json())
    refused(world, row_path, "scores.file must be")


def test_a_detector_or_a_track_that_is_not_here_is_said_in_one_sentence(world, row_path):
    (world / "detectors/bent.yaml").unlink()
    refused(world, row_path, "unknown detector 'bent'")


def test_script_in_a_card_does_not_pass_for_a_row_of_the_card_here(world, row_path):
    content = loads(row_path)
    content["detector"]["tuned_on"] = SCRIPT
    row = Row.model_validate_json(json.dumps(content))
    refused(world, reseal(row_path, row), "detector.tuned_on is not what the card here says")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--level", "certain"], "allowed is claimed"),
        (["--level", "re-attacked", "--seeds", "1,2"], "seeds are 1, 2"),
        (["--level", "re-attacked", "--seeds", "0,1,2"], "not the row's own"),
        (["--level", "re-attacked", "--seeds", "1,x,3"], "--seeds holds x"),
    ],
)
def test_a_wrong_request_ends_with_code_2_and_one_sentence(world, row_path, arguments, words):
    result = bench("verify", row_path, "--workspace", world, "--device", "cpu", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_field_that_is_given_twice_among_very_many_is_found_at_once(world, row_path):
    names = ", ".join(f'"{number:x}": 0' for number in range(40_000))
    row_path.write_text(f'{{{names}, "last": 0, "last": 0}}')
    before = time.monotonic()
    refused(world, row_path, "'last' twice")
    assert time.monotonic() - before < 10  # pairs of names would take minutes


@pytest.mark.parametrize("place", [("entries", 0, "cell", "device"), ("detector", "paper", "title")])
@pytest.mark.parametrize("sign", ["\u202e", "\u200b", "\ufeff", "\u0085"])
def test_invisible_characters_and_turned_text_are_refused(world, row_path, place, sign):
    content = copy.deepcopy(loads(row_path))
    at(content, place[:-1])[place[-1]] = f"cpu{sign}"
    row_path.write_text(json.dumps(content))
    refused(world, row_path, "control or invisible")


def test_a_name_of_two_lines_is_refused(world, row_path):
    content = copy.deepcopy(loads(row_path))
    content["entries"][0]["cell"]["device"] = "cpu\n[re-attacked] bent on small"
    row_path.write_text(json.dumps(content))
    refused(world, row_path, "entries.0.cell.device")


def test_windows_line_ends_change_nothing(world, row_path):
    row_path.write_bytes(row_path.read_bytes().replace(b"\n", b"\r\n"))
    assert verify(world, row_path, "claimed").exit_code == 0


def test_files_that_are_exchanged_between_two_rows_are_refused(world, row_path):
    row = read_row(row_path)
    scores, images = (row_path.with_name(part.file) for part in (row.scores, row.images))
    content = scores.read_bytes()
    scores.write_bytes(images.read_bytes())
    images.write_bytes(content)
    refused(world, row_path, "differs from the sha256")


def test_a_row_under_another_name_is_refused(world, row_path):
    refused(world, row_path.rename(row_path.with_name("best@000000000000.json")), "what it holds asks for")
