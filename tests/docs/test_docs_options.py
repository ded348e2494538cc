"""Commands in the prose are not run, but they must exist: every subcommand, and every option of it."""

from importlib import import_module

import pytest
import typer
from doc_pages import CHECKOUT, inline_commands, page_names, split

from bench.cli.app import MODULES, app

COMMANDS = [
    command for name in page_names() for command in inline_commands(name, (CHECKOUT / name).read_text(encoding="utf-8"))
]
BENCH = [command for command in COMMANDS if command.words[0] == "bench"]
SCRIPTS = [command for command in COMMANDS if command.words[0] == "python" and not command.words[1].startswith("-")]


def options(words):
    """The options that the subcommand of these words has."""
    found = typer.main.get_command(app)
    for word in words:
        inner = getattr(found, "commands", {})
        if not inner:
            break
        assert word in inner, f"there is no `bench {word}`"
        found = inner[word]
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


def check_options(words):
    """Raise where `bench ...` has a subcommand or an option that does not exist."""
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    rest = [word for word in words[1:] if not word.startswith("-") and word != "..."]
    unknown = given - options(rest) - {"-h", "--help", "--debug", "--version"}
    assert not unknown, f"`{' '.join(words)}`: no such option: {', '.join(unknown)}"


@pytest.mark.parametrize("command", BENCH, ids=[command.place for command in BENCH])
def test_a_command_of_the_prose_has_the_options_that_it_is_given(command):
    check_options(command.words)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_help_text_have_the_options_that_they_are_given(name):
    for example in import_module(f"bench.cli.{MODULES[name]}").EXAMPLES:
        check_options(split(example))


@pytest.mark.parametrize("command", SCRIPTS, ids=[command.place for command in SCRIPTS])
def test_a_script_of_the_prose_exists(command):
    assert (CHECKOUT / command.words[1]).is_file(), command.place


def test_a_subcommand_or_option_that_does_not_exist_is_found_out():
    with pytest.raises(AssertionError, match="no `bench fly`"):
        check_options(["bench", "fly"])
    with pytest.raises(AssertionError, match="no such option: --fast"):
        check_options(["bench", "run", "--eps", "1", "--fast"])
    assert "--eps" in options(["run"])
    assert "--data-dir" in options(["data", "check"])
