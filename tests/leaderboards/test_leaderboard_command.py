"""`bench leaderboard`: what is broken is left out in a sentence, and the exit code says so."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from row_tampering import loads, reseal, with_fields
from row_world import bench, places, records, rows, run_suite, submit, verify

from bench.leaderboards.adversarials import Beaten, write_beaten
from bench.leaderboards.row import SCORES_SUFFIX, read_row
from bench.report.html.drawing import Drawing

OTHER = "shaken"


@pytest.fixture(scope="module")
def filled(attested, tmp_path_factory):
    """A workspace with the rows of two detectors, one of them verified; tests must not change it."""
    root = shutil.copytree(attested, tmp_path_factory.mktemp("filled") / "world")
    assert run_suite(root, OTHER).exit_code == 0
    assert submit(root, OTHER).exit_code == 0
    return root


@pytest.fixture
def root(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "world", ignore=shutil.ignore_patterns("runs"))


def row_of(root, detector):
    return next(path for path in rows(root) if path.name.startswith(f"{detector}@"))


@pytest.fixture
def undrawn(monkeypatch):
    """As that of the folder, for one test: another one is about the bytes of figures."""
    monkeypatch.setattr(Drawing, "svg", lambda self, *, wide=False: '<svg xmlns="http://www.w3.org/2000/svg"/>')


def unverify(path):
    """Take the record of a row away."""
    for file in path.parent.glob(f"{path.stem}.verified-*"):
        file.unlink()


def board(root, *more):
    return bench("leaderboard", "--workspace", root, *more)


def test_the_verified_row_has_a_place_and_the_other_stands_apart(filled):
    result = board(filled, "--track", "small")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert places(filled) == {"bent": "1 re-attacked"}
    apart = result.stdout.partition("Not verified: no place")[2]
    assert OTHER in apart and "bent" not in apart


@pytest.mark.usefixtures("undrawn")
def test_the_same_folder_gives_the_same_output(filled, tmp_path):
    assert board(filled).stdout == board(filled).stdout
    for name in ("one", "two"):
        assert board(filled, "--html", tmp_path / name).exit_code == 0
    one, two = ([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.html"))] for name in ("one", "two"))
    assert one == two and len(own_pages(tmp_path / "one")) == 5


def own_pages(site):
    """The front page and those of the small track: the pages of the rows that ship lie beside them."""
    return [path for path in site.rglob("*.html") if path.relative_to(site).parts[0] in ("index.html", "small")]


def test_two_verified_rows_are_compared_in_the_terminal(root, key):
    words = f"'{OTHER}' has no ranked row"
    assert words in board(root, "--track", "small", "--compare", f"bent,{OTHER}").stderr
    assert verify(root, row_of(root, OTHER), "re-attacked", "--seeds", "5,6,7", "--sign", key, "-q").exit_code == 0
    result = board(root, "--track", "small", "--compare", f"bent,{OTHER}")
    assert result.exit_code == 0
    assert "on the same samples" in result.stdout
    assert "worst case" in result.stdout


def test_filters_leave_rows_out_and_say_how_many(filled):
    assert "No ranked row fits the filters" in board(filled, "--certified").stdout
    assert "bent" in board(filled, "--not-certified", "--white-box", "--no-extra-data").stdout


def test_a_workspace_without_rows_is_no_error(fresh_world):
    root = fresh_world()
    result = board(root)
    assert result.exit_code == 0
    assert "There is no row; `bench submit` builds one." in board(root, "--track", "small").stdout


def test_where_there_is_no_row_at_all_the_command_that_builds_one_is_named(fresh_world, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.cards.catalog.builtin_content", lambda: tmp_path)
    result = board(fresh_world())
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "there is no row yet; `bench submit --run RUN --detector NAME` builds one.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--track", "smal"], "did you mean small?"),
        (["--track", "../small"], "unknown track"),
        (["--compare", "bent,shaken"], "--track NAME"),
        (["--track", "small", "--compare", "bent"], "two detectors"),
        (["--track", "small", "--compare", "bent,nobody"], "'nobody' has no ranked row"),
        (["--html", "site", "--certified"], "leave the other options out"),
        (["--html", "site", "--markdown", "board.md"], "--markdown writes boards"),
        (["--track", "small", "--compare", "bent,shaken", "--markdown", "board.md"], "--markdown writes boards"),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(filled, options, words):
    result = board(filled, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def left_out(root, words):
    """The board, which leaves out one file for this reason and shows the other row."""
    result = board(root, "--track", "small")
    assert result.exit_code == 1, result.output
    (sentence,) = result.stderr.strip().splitlines()
    assert sentence.startswith("left out: ")
    assert words in sentence
    assert len(sentence) < 700
    assert OTHER in result.stdout
    return result.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "not JSON"),
        (lambda text: text.replace('"format": 1', '"format": 99', 1), "format 99"),
        (lambda text: text.replace('"format": 1', '"format": 1, "format": 1', 1), "twice"),
        (lambda text: text.replace('"seed": 0', '"seed": NaN', 1), "NaN"),
        (lambda text: text.replace('"tuned_on": "nothing"', '"tuned_on": "<script>alert(1)</script>"', 1), "changed"),
        (lambda text: text.replace('"name": "bent"', '"name": "../../bent"', 1), "detector.name"),
        (lambda text: text + " " * 2_000_000, "larger than"),
    ],
)
def test_a_broken_row_is_left_out_and_the_others_are_shown(root, change, words):
    path = row_of(root, "bent")
    path.write_text(change(path.read_text()))
    unverify(path)
    assert "bent" not in left_out(root, words)


def test_a_figure_that_the_scores_do_not_give_is_found_even_if_the_row_is_sealed_again(root):
    path = row_of(root, "bent")
    unverify(path)
    row = read_row(path)
    better = row.worst.model_copy(update={"auroc": 0.999})
    reseal(path, row.model_copy(update={"worst": better}))
    assert "bent" not in left_out(root, "the scores make it")


def test_a_row_without_its_scores_is_left_out(root):
    path = row_of(root, "bent")
    path.with_name(path.stem + SCORES_SUFFIX).unlink()
    unverify(path)
    assert "bent" not in left_out(root, "the file of scores")


def test_boards_are_written_as_markdown_with_the_same_words(filled, tmp_path):
    assert board(filled, "--markdown", tmp_path / "board.md").exit_code == 0
    own = (tmp_path / "board.md").read_text().partition("**small, version 1")[2]
    ranked, _, apart = own.partition("**Not verified: no place**")
    assert "| 1 | bent | re-attacked |" in ranked and OTHER not in ranked
    assert f"| {OTHER} | not verified |" in apart


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes().replace(b"0.1.0", b"0.2.0", 1)), "signature does not hold"),
        (lambda path: path.with_name(f"{path.name}.sig").write_text("no signature"), "none of OpenSSH's"),
        (lambda path: path.with_name(f"{path.stem}.scores.safetensors").unlink(), "verifier's own scores"),
        (lambda path: path.with_name(f"{path.stem}.scores.safetensors").write_bytes(b"x"), "verifier's own scores"),
    ],
)
def test_a_verification_that_was_changed_costs_the_place_and_not_the_row(root, change, words):
    change(records(row_of(root, "bent"))[0])
    shown = left_out(root, words)
    assert "bent" in shown and "re-attacked" not in shown


def test_a_verification_that_nobody_signed_gives_no_place_and_is_named_in_one_notice(root):
    path = row_of(root, "bent")
    (record,) = records(path)
    record.with_name(f"{record.name}.sig").unlink()
    result = board(root, "--track", "small")
    assert result.exit_code == 0 and places(root) == {}
    (notice,) = result.stderr.splitlines()
    assert notice.startswith("notice: records of verification that nobody signed") and record.name in notice


def test_a_verification_of_no_row_is_left_out(root):
    path = row_of(root, "bent")
    path.unlink()
    assert "bent" not in left_out(root, "about a row that is not beside it")


@pytest.mark.parametrize("name", ["elsewhere", "unknown"])  # before the board's own name, and after it
def test_a_row_of_another_workspace_s_track_is_left_out_with_its_folder(root, name):
    shutil.copytree(root / "leaderboards/small", root / f"leaderboards/{name}")
    result = board(root)
    assert result.exit_code == 1
    assert f"folder '{name}' of leaderboards has no track to it" in result.stderr
    assert "bent" in result.stdout


def test_a_row_whose_detector_has_another_card_now_is_history(root):
    card = root / "detectors/bent.yaml"
    card.write_text(json.dumps({**loads(card), "summary": "another one"}))
    result = board(root, "--track", "small")
    assert result.exit_code == 0, result.stderr
    assert "1 row is not ranked" in result.stdout
    assert not any(line.split()[1:2] == ["bent"] for line in result.stdout.splitlines())


def test_rows_of_an_earlier_version_of_the_track_are_history(root):
    card = root / "datasets/small.yaml"
    card.write_text(json.dumps({**loads(card), "version": 2}))
    result = board(root, "--track", "small")
    assert result.exit_code == 0, result.stderr
    assert "There is no row" in result.stdout
    assert "2 rows are not ranked" in result.stdout


@pytest.mark.usefixtures("undrawn")
def test_files_of_any_kind_and_name_are_left_out_and_nothing_follows_them(root, tmp_path):
    folder = root / "leaderboards/small"
    (folder / "folder@1.json").mkdir()
    (folder / "loop@1.json").symlink_to("loop@1.json")
    (folder / "away@1.json").symlink_to("/etc/passwd")
    (folder / "two\nlines @1.json").write_text("{}")
    (root / "leaderboards/<script>alert(1)<").mkdir()
    (root / "leaderboards/<script>alert(1)</@1.json").write_text("{}")
    result = board(root, "--html", tmp_path / "site")
    assert result.exit_code == 1
    sentences = result.stderr.strip().splitlines()
    assert len(sentences) == 5 and all(sentence.startswith("left out: ") for sentence in sentences)
    pages = [path.read_text() for path in (tmp_path / "site").rglob("*.html")]
    assert len(own_pages(tmp_path / "site")) == 5
    assert not any("<script>alert" in page or "root:" in page for page in pages)


@pytest.fixture
def beaten(root):
    """The record of images that beat the row of `bent`, beside it."""
    path = row_of(root, "bent")
    row = read_row(path)
    arrays = {"images": np.zeros((3, 1, 4, 4), np.float32), "rows": np.arange(3)}
    return write_beaten(path, Beaten(row, row.worst_entry, 0.4321, 0.02, 3, 0, arrays))


def test_images_that_are_said_to_beat_a_row_are_not_shown_before_a_verifier_has_scored_them(root, beaten):
    result = board(root, "--track", "small")
    assert result.exit_code == 0, result.stderr
    assert "beaten" not in result.stdout
    (notice,) = result.stderr.splitlines()
    assert "not shown before a verifier has scored them" in notice and beaten.stem in notice


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row_sha256": "0" * 64}, "does not fit its row"),
        ({"auroc": 1.0}, "does not fit its row"),
        ({"claimed": 0.5}, "does not fit its row"),
        ({"threat": "other"}, "does not fit its row"),
        ({"file": "../../secret", "file_sha256": "0" * 64}, "are not those of their record"),
        ({"more": 1}, "field 'more'"),
    ],
)
def test_a_record_of_images_that_says_other_things_is_left_out_and_its_row_stays(root, beaten, change, words):
    with_fields(beaten, **change)
    shown = left_out(root, words)
    assert "bent" in shown and "beaten" not in shown


def test_images_that_are_not_there_beat_nothing(root, beaten):
    beaten.with_suffix(".safetensors").unlink()
    assert "beaten" not in left_out(root, "the file of images")


def test_a_row_that_was_attacked_again_is_ranked_by_its_lowest_median(root):
    (path,) = records(row_of(root, "bent"))
    (line,) = [line for line in board(root, "--track", "small").stdout.splitlines() if " re-attacked " in line]
    assert f"{min(entry['median'] for entry in loads(path)['fresh']['entries']):.3f}" in line.split()


@pytest.mark.usefixtures("undrawn")
def test_a_site_is_written_in_full_beside_a_broken_row(root, tmp_path):
    row_of(root, "bent").write_text("{}")
    before = sorted(root.rglob("*"))
    result = board(root, "--html", tmp_path / "site")
    assert result.exit_code == 1
    assert (tmp_path / "site/small/index.html").is_file()
    assert str(tmp_path) not in (tmp_path / "site/small/index.html").read_text()
    assert before == sorted(root.rglob("*"))


@pytest.mark.usefixtures("undrawn")
def test_a_folder_that_cannot_be_written_is_refused(filled, tmp_path):
    (tmp_path / "file").write_text("")
    result = board(filled, "--html", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_another_process_writes_the_same_bytes(filled, tmp_path):
    """Python orders sets otherwise in every process, unless it is told how."""

    def pages(folder):
        return [path.read_bytes() for path in sorted(folder.rglob("*.*"))]

    one, two = (tmp_path / name for name in ("one", "two"))
    commands = [
        ["leaderboard", "--workspace", str(filled), "--html", "SITE"],
        ["report", str(filled / "runs"), "--workspace", str(filled), "--to", "SITE/report.html", "--tables", "SITE"],
    ]
    for command in commands:
        done = bench(*(part.replace("SITE", str(one)) for part in command))
        assert done.exit_code == 0, done.output
    there = [[part.replace("SITE", str(two)) for part in command] for command in commands]
    script = f"from bench.cli.app import app\nfor command in {there!r}: app(command, standalone_mode=False)"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
    )
    assert len(own_pages(one)) == 5 and len(list(one.glob("*.*"))) == 1 + 1 + 4 + 2
    assert pages(one) == pages(two)
