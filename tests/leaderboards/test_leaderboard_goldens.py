"""Whole boards, pages, rows and sessions of submitting and verifying, word by word."""

import json
import re
from itertools import permutations
from pathlib import Path

import pytest
from board_rows import found_row, track_card, varied_board
from goldens import assert_golden, without_images
from row_tampering import reseal
from row_world import allow, bench, line_for, make_world, new_key, records, rows, run_suite, submit, verify

from bench.leaderboards.board_markdown import board_markdown
from bench.leaderboards.board_text import board_lines, compare_lines
from bench.leaderboards.columns import Wanted
from bench.leaderboards.compare import compare
from bench.leaderboards.folder import LeftOut
from bench.leaderboards.ranking import Leaderboards, rank
from bench.leaderboards.row import read_row
from bench.leaderboards.site import site_pages

GOLDEN = Path(__file__).with_name("golden")
MASKED = (
    (r"(?s)<style>.*?</style>|<script>.*?</script>|sha256-[A-Za-z0-9+/=]+", ""),
    (r"[0-9a-f]{12,64}", "HEX"),
    (r"row\\?_methods\\?_\d+", "METHODS"),
    (r'("(?:seconds|bench|bytes|torch|numpy|python|platform|machine|[a-z_-]+)": )"[0-9][^"]*"', r"\1VERSION"),
    (r"\b\d+(\.\d+)? s\b", "T s"),
    (r"drawn with seed \d+", "drawn with seed N"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
)


def masked(text):
    """Without what is another in every run or version."""
    for pattern, instead in MASKED:
        text = re.sub(pattern, instead, text)
    return without_images(text)


def printed(lines):
    return "\n".join(f"{line.kind:8}|{line.text}" for line in lines) + "\n"


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(scope="module")
def board():
    return varied_board()


def test_boards_of_every_filter_and_width_read_as_kept(board):
    kinds = [Wanted(), Wanted(extra_data=True), Wanted(certified=False, white_box=True), Wanted(certified=True)]
    said = [printed(board_lines(board, wanted, width)) for wanted in kinds for width in (60, 110, 300)]
    said.append(printed(board_lines(rank(track_card(version=7), []), Wanted(), 120)))
    said += [board_markdown(board, wanted) for wanted in kinds]
    assert_golden(GOLDEN / "boards.txt", "\n".join(said))


def test_every_pair_of_rows_is_compared_as_kept(board):
    ranked = board.standings
    said = [printed(compare_lines(a, b, compare(a, b), 110)) for a, b in permutations(ranked, 2)]
    assert_golden(GOLDEN / "pairs.txt", "\n".join(said))


def test_the_pages_of_a_site_read_as_kept(undrawn, board):
    other = rank(track_card(name="other"), [found_row("alone", 9)])
    left_out = (LeftOut("small/x.json", "it is no row."),)
    pages = dict(site_pages(Leaderboards((board, other), left_out)))
    text = "\n".join(f"==== {name}\n{masked(html)}" for name, html in sorted(pages.items(), key=str))
    assert_golden(GOLDEN / "site.html", text)


class Session:
    """Commands and what they said."""

    def __init__(self, root):
        self.root, self.said = root, []

    def __call__(self, done, what):
        self.said += [f"$ {what}", done.stdout, f"! {done.stderr}" if done.stderr else "", f"exit {done.exit_code}", ""]

    def file(self, path):
        content = json.loads(path.read_text(), parse_float=lambda text: round(float(text), 3))
        self.said += [f"<< {path.name}", json.dumps(content, indent=1)]

    def text(self):
        text = "\n".join(part for part in self.said if part).replace(str(self.root), "WORLD")
        text = re.sub(r'("(?:seconds|row_bytes|bytes)": )[0-9.e+-]+', r"\1T", text)
        return masked(text) + "\n"


def test_a_session_of_rows_reads_as_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.report.numbers.seconds", lambda value: "T")
    root = make_world(tmp_path / "world")
    session = Session(root)
    session(submit(root), "submit before any run")
    assert run_suite(root).exit_code == 0
    session(submit(root, "bent", "--dry-run"), "submit, dry")
    session(submit(root), "submit")
    session(submit(root), "submit again")
    session(submit(root, "stepped"), "submit what was not run")
    (row,) = rows(root)
    session.file(row)
    session(bench("leaderboard", "--workspace", root, "--track", "small"), "leaderboard")
    for level in ("claimed", "re-scored"):
        session(verify(root, row, level, "--record"), f"verify {level}")
    session(bench("leaderboard", "--workspace", root, "--track", "small"), "leaderboard with unsigned records")
    unsigned, key = set(records(row)), new_key(root)
    allow(root, line_for(key))
    session(verify(root, row, "re-attacked", "--sign", root / "none"), "sign without a key")
    options = ("--sign", key, "--quiet", "--seeds", "1,2,3", "--markdown", root / "v.md")
    session(verify(root, row, "re-attacked", *options), "verify re-attacked, and sign")
    session.said.append((root / "v.md").read_text())
    session(verify(root, row, "re-attacked", "--seeds", "1,2"), "too few seeds")
    session(verify(root, row, "re-attacked", "--seeds", "0,1,2"), "the row's own seed")
    (signed,) = set(records(row)) - unsigned
    session.file(signed)
    for path in unsigned:
        path.unlink()
    session(bench("leaderboard", "--workspace", root, "--track", "small"), "leaderboard of a verified row")
    session(bench("leaderboard", "--workspace", root, "--track", "small", "--compare", "bent,absent"), "compare")
    session(bench("leaderboard", "--workspace", root, "--track", "small", "--html", root / "site"), "site")
    for name, value in (("id_accuracy", 0.125), ("gradients", 2241), ("queries", 1), ("micro_batch", 64)):
        before = row.read_bytes()
        changed = reseal(row, read_row(row).model_copy(update={name: value}))
        session(verify(root, changed, "claimed"), f"verify a row with another {name}")
        session(bench("leaderboard", "--workspace", root, "--track", "small"), "leaderboard with it")
        changed.unlink()
        row.write_bytes(before)
    row.write_text(json.dumps({**json.loads(row.read_text()), "side": "alarm"}))
    session(verify(root, row, "claimed"), "verify a row of another side")
    row.write_text("{")
    session(verify(root, row, "claimed"), "verify no JSON")
    assert_golden(GOLDEN / "rows.txt", session.text())
