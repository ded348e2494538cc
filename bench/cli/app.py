"""The command `bench`: one subcommand a module, found by name; examples at the end of every help text."""

import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import bench
from bench.allocator import hold_freed_memory
from bench.cli import common
from bench.errors import UsageError

MODULES = {
    "run": "run",
    "plan": "plan",
    "status": "status",
    "runs": "runs",
    "diagnose": "diagnose",
    "table": "table",
    "report": "report",
    "list": "list_",
    "init": "init",
    "new": "new",
    "show": "show",
    "validate": "validate",
    "train": "train",
    "generate": "generate",
    "data": "data",
    "convert": "convert",
    "submit": "submit",
    "verify": "verify",
    "leaderboard": "leaderboard",
    "baseline": "baseline",
    "check": "check",
    "repro": "repro",
}
"""Subcommand -> module of `bench.cli`: it has `EXAMPLES`, and `command` or, with subcommands of its own, `app`."""

SUMMARIES = {
    "run": "Attack detectors on tracks and print how much AUROC is left.",
    "plan": "Print what a run would compute: cells, gradients, queries, time and memory.",
    "status": "Say how far the runs on a store are: cells done, running, failed, and how long still.",
    "runs": "List the cells of a store, the oldest first; every option leaves out those that do not fit.",
    "diagnose": "Check an attack: is its figure strong, converged, and made of gradients that can be used?",
    "table": "Print the tables of the cells that are stored, computing nothing.",
    "report": "Write one HTML page of the cells that are stored: tables, curves, images, soundness, hashes.",
    "list": "List the detectors, threats, tracks and networks that can be named, and where each comes from.",
    "init": "Make a folder a workspace, for cards and code of your own.",
    "show": "Print a card as YAML with every default written out, its hash, and the file it was found in.",
    "validate": "Check cards: fields, references, the code they name, and their weights against sha256.",
    "train": "Train the weights of a detector or a network by its card's recipe.",
    "generate": "Make new images with a detector and draw them as a picture.",
    "convert": "Turn a published PyTorch checkpoint into safetensors; nothing in it is executed.",
    "submit": "Build a row of the leaderboard from the cells of a run, or hand in images that beat a row.",
    "verify": "Verify a row: its hashes and arithmetic, its scores by its weights, its attack by fresh ones.",
    "leaderboard": "Rank the rows of the folders `leaderboards/`: the workspace's and the built-in ones.",
    "baseline": "Record a baseline: the figures of stored cells, and every score that they follow from.",
    "check": "Hold a run against a baseline: did a detector get worse, or an attack weaker?",
    "repro": "Make tables and figures of papers again from stored cells, and lay them beside what was published.",
    "new": "Write a new card: a track, a network, a detector or a threat.",
    "data": "Whether the images of the tracks are there, and fetching them.",
}
"""What `bench --help` says of each subcommand, in this order, without an import of its module."""

EXAMPLES = (
    "bench run --detector gat --threat pgd-l2 --eps 1",
    "bench table",
    "bench list detectors",
    "bench show gat",
    "bench validate",
)


class _Command(TyperCommand):
    """A subcommand whose help ends in examples, one a line and never wrapped, so that they can be copied."""

    examples: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty text, which a shell makes of a variable that is not set: as a path it is this folder."""
        for before, word in zip(["", *args], args, strict=False):
            if not word.strip() or (word.startswith("--") and word.endswith("=")):
                option = word.rstrip("=") if word.strip() else before if before.startswith("-") else "an argument"
                raise UsageError(f"an empty text was given for {option}; give a value or leave it out.")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        _print_examples(self.examples)


class _Group(TyperGroup):
    """A group of subcommands whose help ends in examples."""

    examples: tuple[str, ...] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        _print_examples(self.examples)


def build() -> typer.Typer:
    """The typer application with every subcommand that is there."""
    app = _bare()
    for name, file in MODULES.items():
        if find_spec(f"bench.cli.{file}") is not None:
            _mount(app, name, import_module(f"bench.cli.{file}"))
    return app


def build_for(words: Sequence[str]) -> typer.Typer:
    """The application as far as these words of a command line need it: imports take longer than many a command.

    Where the first word that is no option names a subcommand, it has that one alone. Where none does, the help text or
    an error is all there will be, and subcommands have their summaries.
    """
    app = _bare()
    name = next((word for word in words if not word.startswith("-")), "")
    if name in MODULES:
        _mount(app, name, import_module(f"bench.cli.{MODULES[name]}"))
        return app
    for known, summary in SUMMARIES.items():
        app.command(known, help=summary)(_unmounted)
    return app


def _bare() -> typer.Typer:
    app = typer.Typer(
        name="bench",
        cls=_with_examples(_Group, EXAMPLES),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def _unmounted() -> None:
    """Stands for a subcommand where only its name is needed."""


def main() -> None:
    """Run `bench` with the arguments of this process and exit."""
    # Threads that spin while they wait slow every operation down where others use the same cores; OpenMP reads this
    # when torch is first imported, which no module of the command line does before it needs it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hold_freed_memory()
    # Imports make many objects and no garbage: looking for it took a tenth of a short command.
    gc.set_threshold(20_000, 20, 20)
    code: int | str | None = 0
    if sys.stdout is None:  # closed by whoever started this: print into nothing, work all the same
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of few signs shows the others as they are typed
    try:
        try:
            build_for(sys.argv[1:])()
        except SystemExit as end:
            code = end.code
        except (Exception, KeyboardInterrupt) as error:
            common.fail(error)
        sys.stdout.flush()
    except typer.Exit as end:
        code = end.exit_code
    except BrokenPipeError:
        common.silence_stdout()
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bench {bench.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; BENCH_DEBUG=1 does so too.")
    ] = False,
) -> None:
    """How much of an out-of-distribution detector's AUROC is left when the detector itself is attacked?"""
    common.settings.debug = debug or os.environ.get("BENCH_DEBUG", "0") not in ("", "0")


def _mount(app: typer.Typer, name: str, module: ModuleType) -> None:
    examples: tuple[str, ...] = module.EXAMPLES
    if not hasattr(module, "app"):
        app.command(name, cls=_with_examples(_Command, examples))(common.guarded(module.command))
        return
    inner: typer.Typer = module.app
    for info in inner.registered_commands:
        if info.callback is not None and not hasattr(info.callback, "__wrapped__"):
            info.callback = common.guarded(info.callback)
    app.add_typer(inner, name=name, cls=_with_examples(_Group, examples), no_args_is_help=True)


def _with_examples(base: Any, examples: tuple[str, ...]) -> Any:
    return type(base.__name__, (base,), {"examples": examples})


def _print_examples(examples: tuple[str, ...]) -> None:
    typer.echo("\n".join([" Examples:", *(f"   {line}" for line in examples)]))


def __getattr__(name: str) -> Any:
    """`app`: the whole application, for `typer.testing` and for documentation tools; `main` runs it in part."""
    if name != "app":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()["app"] = build()
    return globals()["app"]
