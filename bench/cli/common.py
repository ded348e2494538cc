"""What all subcommands share: where they print, how errors end, and the options that several of them have."""

import errno
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from bench.cards.folders import MARKER, unmarked_cards
from bench.errors import BenchError, UsageError
from bench.lazy import lazily

with lazily():
    from bench.cards import catalog as catalogs

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog

Function = TypeVar("Function", bound=Callable[..., Any])

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder whose cards are read before the built-in ones; its cards execute code."),
]

NARROWEST = 40
"""Columns that output is laid out for at least."""

FAILED, USAGE, INTERRUPTED = 1, 2, 130

_REFUSED_BY_THE_SYSTEM = {
    errno.ENOSPC: "there is no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "a part of its path is no folder",
    errno.EISDIR: "it is a folder",
}


@dataclass
class _Settings:
    debug: bool = False


settings = _Settings()
"""What the options before the subcommand say."""


def console(*, stderr: bool = False) -> Console:
    """A console on the streams of this moment; it prints text as it is, without markup, highlights or emoji."""
    plain = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    plain.width = max(plain.width, NARROWEST)  # COLUMNS=0, or a window that shows nothing: tables would vanish
    return plain


def catalog(workspace: Path | None) -> "Catalog":
    """The catalog of a command, after a notice for every card that takes the place of a built-in one.

    A workspace that was found further up, and not named, is named too: its cards execute code.
    """
    found = catalogs.Catalog.find(workspace)
    if workspace is None and found.workspace is not None and found.workspace != Path.cwd():
        say(f"notice: workspace {found.workspace} (it has a robustood.toml).")
    if workspace is None and (sentence := _unread(found)):
        say(f"notice: {sentence}")
    for sentence in found.notices():
        say(f"notice: {sentence}")
    return found


def _unread(found: "Catalog") -> str:
    """The sentence for cards in the current folder that are not read; "" where there are none."""
    here = Path.cwd()
    folders = [kind.folder for kind in catalogs.Kind]
    if here in (found.workspace, found.builtin) or not (cards := unmarked_cards(here, folders)):
        return ""
    more = f" and {len(cards) - 1} more" if len(cards) > 1 else ""
    return (
        f"{cards[0].relative_to(here)}{more} is not read, since this folder has no {MARKER}; `bench init` makes it a "
        "workspace, and --workspace DIR names one."
    )


def say(text: str) -> None:
    """Print text to stderr, without the control characters that a card or file name may hold."""
    typer.echo(printable(text), err=True)


def notice(sentence: str) -> None:
    """Print what a reader should know, and what stops nothing."""
    say(f"notice: {sentence}")


def printable(text: str) -> str:
    """Text with control, invisible and direction characters written out, as they would be typed in Python."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def guarded(function: Function) -> Function:
    """The same command with every error turned into a sentence on stderr and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__module__.startswith(("typer.", "click.")):
                raise  # a wrong option, which typer itself says
            fail(error)

    return wrapper  # type: ignore[return-value]


def fail(error: BaseException) -> NoReturn:
    """Say what stopped a command and end it: 1 it failed, 2 the request is wrong, 130 interrupted.

    Raises:
        typer.Exit: Always.
    """
    if isinstance(error, BrokenPipeError):
        silence_stdout()
        raise typer.Exit(128 + signal.SIGPIPE)
    sentence, code = explain(error)
    if settings.debug and not isinstance(error, KeyboardInterrupt):
        say("".join(traceback.format_exception(error)))
    say(sentence)
    raise typer.Exit(code)


def explain(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for anything that may stop a command."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted: cells that were finished are kept, and the same command goes on from there.", INTERRUPTED
    if isinstance(error, BenchError):
        return f"error: {error}", USAGE if isinstance(error, UsageError) else FAILED
    if isinstance(error, OSError) and error.errno in _REFUSED_BY_THE_SYSTEM:
        where = error.filename2 or error.filename or "the output folder"
        why = _REFUSED_BY_THE_SYSTEM[error.errno]
        return f"error: cannot use {where}: {why}; free it or name another folder.", USAGE
    known = f"{type(error).__name__}: {str(error).strip()[:300]}".rstrip(": ")
    return f"error: unexpected {known}; run `bench --debug ...` for the traceback and report it.", FAILED


def silence_stdout() -> None:
    """Point stdout at nothing, after its reader has gone, so that flushing at exit is quiet too."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a replaced stdout without a descriptor has nothing to flush
        return
