import errno
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import bench
from bench.cli import app as app_module
from bench.cli import common
from bench.errors import CardError, CellError, DataError, UsageError, WeightsError

CHECKOUT = Path(bench.__file__).parents[1]


def bench_process(*arguments, cwd, **environment):
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def raising(error):
    """An application with one command that raises, mounted as every other is."""
    inner = typer.Typer()
    inner.callback()(app_module._options)

    def command() -> None:
        raise error

    inner.command("fall")(common.guarded(command))
    return inner


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("eps is 'x'; allowed is a number."), 2, "error: eps is 'x'; allowed is a number.\n"),
        (CardError("card.yaml:3: wrong."), 2, "error: card.yaml:3: wrong.\n"),
        (DataError("no data."), 2, "error: no data.\n"),
        (WeightsError("no weights."), 2, "error: no weights.\n"),
        (CellError("the cell fell."), 1, "error: the cell fell.\n"),
        (OSError(errno.ENOSPC, "full", "/out/x"), 2, "error: cannot use /out/x: there is no space left;"),
        (OSError(errno.EDQUOT, "full", "/out/x"), 2, "error: cannot use /out/x: the disk quota is used up;"),
        (OSError(errno.EROFS, "ro", "/out/x"), 2, "error: cannot use /out/x: the file system is read-only;"),
        (PermissionError(errno.EACCES, "no", "/out/x"), 2, "error: cannot use /out/x: permission is denied;"),
        (OSError(errno.ENOSPC, "full"), 2, "error: cannot use the output folder: there is no space left;"),
        (KeyboardInterrupt(), 130, "interrupted: cells that were finished are kept"),
        (ZeroDivisionError("by zero"), 1, "error: unexpected ZeroDivisionError: by zero; run `bench --debug ...`"),
        (RuntimeError(), 1, "error: unexpected RuntimeError; run `bench --debug ...`"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_every_error_is_a_sentence_and_an_exit_code(error, code, said):
    result = CliRunner().invoke(raising(error), ["fall"])
    assert result.exit_code == code
    assert result.stderr.startswith(said)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) <= 1


@pytest.mark.parametrize(("options", "environment"), [(["--debug"], "0"), ([], "1")])
def test_the_traceback_is_shown_where_it_is_asked_for(options, environment, monkeypatch):
    monkeypatch.setenv("BENCH_DEBUG", environment)
    result = CliRunner().invoke(raising(ZeroDivisionError("by zero")), [*options, "fall"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("error: unexpected ZeroDivisionError")


def test_what_falls_outside_of_a_command_is_a_sentence_too(monkeypatch, capsys):
    def falls():
        raise UsageError("no such thing.")

    monkeypatch.setattr(common.settings, "debug", False)
    monkeypatch.setattr(app_module, "build_for", lambda words: falls)
    with pytest.raises(SystemExit) as end:
        app_module.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: no such thing.\n"


def written_without_a_flush(text):
    sys.stdout.write(text)


@pytest.mark.parametrize(("write", "code"), [(typer.echo, 141), (written_without_a_flush, 0)])
def test_a_reader_that_has_gone_away_ends_a_command_without_a_word(monkeypatch, capsys, write, code):
    """What is still to be written when Python ends must not be tried again: it would complain, and exit with 120."""
    gone, written = os.pipe()
    os.close(gone)
    with os.fdopen(written, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(app_module, "build_for", lambda words: lambda: write("a table"))
        with pytest.raises(SystemExit) as end:
            app_module.main()
        stdout.flush()
    assert end.value.code == code
    assert capsys.readouterr().err == ""


def test_debug_of_one_call_is_forgotten_in_the_next():
    CliRunner().invoke(raising(ZeroDivisionError()), ["--debug", "fall"])
    assert "Traceback" not in CliRunner().invoke(raising(ZeroDivisionError()), ["fall"]).stderr


def test_control_characters_in_an_error_do_not_reach_the_terminal():
    result = CliRunner().invoke(raising(UsageError("name \x1b[2J\x07 is wrong.")), ["fall"])
    assert result.stderr == "error: name \\x1b[2J\\x07 is wrong.\n"


def test_an_exit_code_that_a_command_chose_is_kept():
    assert CliRunner().invoke(raising(typer.Exit(7)), ["fall"]).exit_code == 7


def test_a_wrong_value_that_typer_finds_is_a_usage_error():
    result = CliRunner().invoke(raising(typer.BadParameter("not so")), ["fall"])
    assert result.exit_code == 2
    assert "not so" in result.stderr


@pytest.mark.parametrize("arguments", [["list", "nothing"], ["list", "--nothing"], ["nothing"], ["show"]])
def test_wrong_arguments_end_with_exit_code_2_and_no_traceback(arguments, tmp_path):
    result = bench_process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_version_is_printed(tmp_path):
    result = bench_process("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"bench {bench.__version__}\n")


def test_help_takes_less_than_a_second_of_processor_time(tmp_path):
    bench_process("--help", cwd=tmp_path)  # compiles what was never imported
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert bench_process("--help", cwd=tmp_path).returncode == 0
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0


@pytest.mark.parametrize(
    ("line", "heavy"),
    [("--help", ["torch", "numpy", "pydantic", "yaml"]), ("list", ["torch", "numpy", "pandas", "scipy"])],
)
def test_what_computes_nothing_imports_nothing_that_computes(line, heavy, tmp_path):
    code = f"""
import sys
sys.argv = ["bench", {line!r}]
from bench.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sorted({set(heavy)!r} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "imported:", result.stderr


def test_the_help_text_without_imports_is_the_one_with_all_of_them():
    short, whole = (CliRunner().invoke(app, ["--help"]).stdout for app in (app_module.build_for([]), app_module.app))
    assert short == whole
    assert set(app_module.SUMMARIES) == set(app_module.MODULES)


@pytest.mark.parametrize("words", [["lsit"], ["--debug", "lsit"]])
def test_a_mistyped_command_is_compared_with_all_there_are(words):
    result = CliRunner().invoke(app_module.build_for(words), words)
    assert result.exit_code == 2
    assert "list" in result.output


def commands():
    """Every command line whose help can be asked for, with the examples it must show."""
    from importlib import import_module
    from importlib.util import find_spec

    yield [], app_module.EXAMPLES
    for name, file in app_module.MODULES.items():
        if find_spec(f"bench.cli.{file}") is not None:
            yield [name], import_module(f"bench.cli.{file}").EXAMPLES


@pytest.mark.parametrize(("command", "examples"), list(commands()))
def test_help_ends_in_examples_one_a_line(command, examples):
    result = CliRunner().invoke(app_module.app, [*command, "--help"])
    assert result.exit_code == 0
    shown = [line.strip() for line in result.stdout.partition("Examples:")[2].splitlines()]
    assert [line for line in shown if line] == list(examples)
    assert examples


@pytest.mark.parametrize(("command", "examples"), list(commands()))
def test_examples_begin_with_the_command_they_are_for(command, examples):
    for line in examples:
        assert shlex.split(line)[: len(command) + 1] == ["bench", *command]
    assert max(map(len, examples)) <= 160


def test_help_is_the_answer_to_no_arguments(tmp_path):
    result = bench_process(cwd=tmp_path)
    assert "Usage:" in result.stdout + result.stderr
    assert "Examples:" in result.stdout + result.stderr


def test_a_reader_that_goes_away_is_no_error(toy_cards):
    for number in range(200):
        toy_cards.card(f"threat_models/x{number}.yaml", "broken: " + "x" * 500)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=toy_cards.root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=60)
    assert said == ""


def test_ctrl_c_ends_a_command_with_130(toy_cards):
    """The signal arrives while a card's module is being imported."""
    toy_cards.card("detectors/flat.yaml", "name: flat\nsummary: s\nmethod: waits:X\ntracks: {toy: {}}\n")
    (toy_cards.root / "waits.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs start without it
        "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\nX = 1\n"
    )
    result = bench_process("validate", "detectors/flat.yaml", cwd=toy_cards.root)
    assert result.returncode == 130
    assert re.fullmatch(r"interrupted: .*\n", result.stderr)


@pytest.mark.parametrize("stderr", [False, True])
def test_what_is_printed_stands_as_it_is_on_a_terminal_too(stderr):
    plain = common.console(stderr=stderr)
    text = "[bold]x[/bold] :smile: 3.5 'a' True https://a.example /a/b"
    shown = plain.render_str(text)
    assert (shown.plain, shown.spans) == (text, [])
    assert plain.stderr is stderr
    assert common.console().stderr is False
