"""Whatever a stranger's file or word holds, its parser answers with a value or with one printable sentence."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bench
from bench.cards.catalog import Kind
from bench.cards.reading import read_card
from bench.cli.app import app
from bench.errors import CardError, UsageError, reading
from bench.evaluation.eps import parse_eps
from bench.leaderboards.baseline import read_baseline
from bench.leaderboards.row import read_row

ROOT = Path(bench.__file__).parents[1]
SPLICES = [
    b"\x00", b"\xff\xfe", b"\x1b[31m", b"[bold]x[/bold]", b"\xed\xa0\x80", b"9" * 400, b"x" * 300, b"{", b"}", b"[",
    b"]", b":", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"null", b"NaN", b"1e999", b"-1", b"\n", b'"',
    b"'", b"%", b"#", b"\xe2\x80\xae", b"{{", b"? ", b"<<: ", b"2026-01-01", b"0x10", b".inf",
]  # fmt: skip
ROUNDS = 150


def mutated(content, seed):
    """A copy with one to four splices, cuts, flips or repeats."""
    generator = random.Random(seed)
    out = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(out) + 1)
        kind = generator.randrange(4)
        if kind == 0:
            out[at:at] = generator.choice(SPLICES)
        elif kind == 1:
            del out[at : at + generator.randint(1, 60)]
        elif kind == 2 and at < len(out):
            out[at] ^= 1 << generator.randrange(8)
        else:
            out[at:at] = out[at : at + generator.randint(1, 60)]
    return bytes(out)


def is_said_well(error):
    """One printable sentence a line, of bounded length."""
    lines = str(error).splitlines()
    return bool(lines) and all(line.isprintable() and len(line) < 1500 for line in lines)


def survives(parse, content, file):
    """Parse mutated copies of a file; how many of them were refused."""
    refused = 0
    for seed in range(ROUNDS):
        file.write_bytes(mutated(content, seed))
        try:
            parse(file)
        except UsageError as error:
            assert is_said_well(error), f"seed {seed}: {error!s:.300}"
            refused += 1
    return refused


CARDS = [
    (kind, ROOT / kind.folder / f"{name}.yaml")
    for kind, name in [(Kind.DETECTOR, "gat"), (Kind.THREAT, "pgd-l2"), (Kind.TRACK, "digits")]
]


@pytest.mark.parametrize(("kind", "card"), CARDS, ids=[str(kind) for kind, _ in CARDS])
def test_a_damaged_card_is_a_card_or_a_sentence(kind, card, tmp_path):
    assert survives(lambda file: read_card(file, kind.model), card.read_bytes(), tmp_path / card.name) > ROUNDS // 3


def smallest(folder):
    return min((ROOT / folder).rglob("*.json"), key=lambda path: (path.stat().st_size < 500, path.stat().st_size))


def test_a_damaged_row_is_a_row_or_a_sentence(tmp_path):
    row = smallest("leaderboards/digits")
    assert survives(read_row, row.read_bytes(), tmp_path / row.name) > ROUNDS // 3


def test_a_damaged_baseline_is_a_baseline_or_a_sentence(tmp_path):
    baseline = (ROOT / "leaderboards/baselines/digits-fast.json").read_bytes()
    assert survives(read_baseline, baseline, tmp_path / "b.json") > ROUNDS // 3


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"", b"null", b'"\\ud800"'])
def test_what_is_built_to_hurt_a_parser_is_a_sentence(text, tmp_path):
    for name, parse in [
        ("x.json", read_row),
        ("x.json", read_baseline),
        ("x.yaml", lambda file: read_card(file, Kind.THREAT.model)),
    ]:
        (tmp_path / name).write_bytes(text)
        with pytest.raises(UsageError) as caught:
            parse(tmp_path / name)
        assert is_said_well(caught.value)


def test_radii_of_any_text_are_numbers_or_a_sentence():
    for seed in range(400):
        text = mutated(b"l2:0.5,1,linf:8/255", seed).decode(errors="surrogateescape")
        try:
            assert all(value > 0 for values in parse_eps(text).by_norm.values() for value in values)
        except UsageError as error:
            assert is_said_well(error), text


@pytest.mark.parametrize("reason", [RecursionError("deep"), MemoryError(), AssertionError(), KeyError("\x1b[31m"),
                                    OSError(5, "bad"), ValueError("a\nb" * 500)])  # fmt: skip
def test_the_boundary_turns_whatever_a_parser_raises_into_one_sentence(reason):
    with pytest.raises(CardError) as caught, reading("card 'x'", CardError):
        raise reason
    assert is_said_well(caught.value)
    assert "\n" not in str(caught.value)


def test_the_boundary_lets_sentences_pass_as_they_are():
    with pytest.raises(UsageError, match=r"^already said$"), reading("card 'x'", CardError):
        raise UsageError("already said")


NAMES = ["x" * 300, "[bold]x[/bold]", "\x1b[31mred", "a\nb", "..", "/", "\udcff", "\u202ex", "x" * 5000]
COMMANDS = [
    ["show", "NAME"], ["validate", "NAME"], ["list", "tracks", "--workspace", "NAME"],
    ["table", "NAME"], ["verify", "NAME"],
    ["check", "--baseline", "NAME"], ["run", "--detector", "NAME", "--threat", "clean"],
    ["run", "--detector", "gat", "--threat", "NAME"],
    ["run", "--detector", "gat", "--threat", "clean", "--track", "NAME"],
    ["run", "--detector", "gat", "--threat", "pgd-l2", "--eps", "NAME"], ["train", "--detector", "NAME"],
    ["convert", "NAME", "--detector", "msp", "--track", "cifar10"], ["list", "NAME"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_any_name_is_answered_in_a_sentence_and_exit_code_2(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        done = CliRunner().invoke(app, [name if word == "NAME" else word for word in command])
        assert done.exit_code == 2 or (name in ("..", "/") and done.exit_code == 0), (name[:40], done.output[-300:])
        assert "Traceback" not in done.output
        assert "unexpected" not in done.output
        assert "\x1b[31m" not in done.output
        assert "\u202e" not in done.output


@pytest.mark.parametrize(
    "arguments",
    [["table", "--to", ""], ["table", "--out="], ["run", "--detector", "gat", "--threat", "clean", "--out", ""],
     ["run", "--detector", "gat", "--threat", "clean", "--out", "  "], ["validate", ""], ["show", ""],
     ["validate", "--workspace", ""]],
    ids=repr,
)  # fmt: skip
def test_an_empty_text_is_refused_and_nothing_is_written(arguments, tmp_path):
    done = process(arguments, tmp_path)
    assert done.returncode == 2
    assert "an empty text was given for" in done.stderr
    assert not list(tmp_path.iterdir())


def process(arguments, cwd, shell="", **environment):
    command = [sys.executable, "-m", "bench", *arguments]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=inherited, check=False)


@pytest.mark.parametrize(
    "environment",
    [{"COLUMNS": "0"}, {"COLUMNS": "1"}, {"COLUMNS": "wide"}, {"COLUMNS": "-3"}, {"TERM": "dumb"},
     {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"COLUMNS": "80", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}],
    ids=repr,
)  # fmt: skip
def test_a_terminal_of_any_kind_shows_the_names(environment, tmp_path):
    done = process(["list", "tracks"], tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout


@pytest.mark.parametrize("shell", [">&-", "<&-", "2>&-", ">&- 2>&- <&-", "| head -n 1"])
def test_closed_streams_end_no_command_early(shell, tmp_path):
    done = process(["list", "tracks"], tmp_path, shell)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_row_whose_names_hold_markup_is_no_markup(tmp_path):
    row = json.loads(smallest("leaderboards/digits").read_text())
    (tmp_path / "x.json").write_text(json.dumps({**row, "[red]more[/red]": 1}))
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "x.json")])
    assert done.exit_code != 0
    assert "\x1b" not in done.output
