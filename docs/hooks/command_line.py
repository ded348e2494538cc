"""The page of the command line: every subcommand with its arguments, options and examples, from the program itself."""

from typing import Any

import typer.main
from writing import code, page, plain, prose, table

from bench.cli.app import app


def command_line_page() -> str:
    """Every subcommand, in the order in which `bench --help` lists them."""
    root = typer.main.get_command(app)
    context: Any = root.make_context("bench", [], resilient_parsing=True)
    lines = [
        "# Command line",
        "",
        "This page is made from the program when the site is built; `bench COMMAND --help` prints the same.",
        "",
        "Exit codes, unless a command says otherwise: 0 done; 1 something failed; 2 the request was wrong; 130 "
        "interrupted.",
        *_described(root, context),
    ]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        lines += _section(name, command, context, depth=2)
    return page(lines)


def _section(name: str, command: Any, above: Any, *, depth: int) -> list[str]:
    context = command.make_context(name, [], parent=above, resilient_parsing=True)
    lines = ["", f"{'#' * depth} {context.command_path}", *_described(command, context)]
    for inner, each in getattr(command, "commands", {}).items():
        lines += _section(inner, each, context, depth=depth + 1)
    return lines


def _described(command: Any, context: Any) -> list[str]:
    lines = ["", *(f"{prose(part)}\n" for part in (command.help or "").split("\n\n"))]
    pieces = " ".join(command.collect_usage_pieces(context))
    lines += ["", "```text", f"{context.command_path} {pieces}", "```", ""]
    for kind, title in (("argument", "argument"), ("option", "option")):
        records = [
            param.get_help_record(context) for param in command.get_params(context) if param.param_type_name == kind
        ]
        if rows := [(code(names), plain(text)) for names, text in filter(None, records)]:
            lines += table((title, "what it is"), rows)
    if examples := getattr(command, "examples", ()):
        lines += ["Examples:", "", "```sh", *examples, "```", ""]
    return lines
