"""`bench leaderboard`: the rows of the leaderboards, ranked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import FAILED, WorkspaceOption, catalog, console, say
from bench.cli.options import comma_separated
from bench.cli.table import print_lines, width_of
from bench.errors import UsageError
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from bench.leaderboards import board_markdown, board_text, columns, compare, published, ranking, site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.leaderboards.columns import Wanted
    from bench.leaderboards.published import PublishedTable
    from bench.leaderboards.ranking import Board, Leaderboards

EXAMPLES = (
    "bench leaderboard",
    "bench leaderboard --track digits --no-extra-data",
    "bench leaderboard --track digits --compare gat,msp",
    "bench leaderboard --track cifar10 --setting linf-8-255",
    "bench leaderboard --html site",
)


def command(
    *,
    track: Annotated[str | None, typer.Option(help="Only this track.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a static site to this folder instead.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the boards to this file as Markdown instead.")] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Two detectors of the track: their figures side by side.")
    ] = None,
    extra_data: Annotated[
        bool | None, typer.Option("--extra-data/--no-extra-data", help="Only detectors that saw more than ID images.")
    ] = None,
    certified: Annotated[
        bool | None, typer.Option("--certified/--not-certified", help="Only detectors with a certified bound.")
    ] = None,
    white_box: Annotated[
        bool | None, typer.Option("--white-box/--black-box", help="Only detectors whose gradient can be followed.")
    ] = None,
    setting: Annotated[
        str | None, typer.Option(help="Of published figures, which stand apart, only those of this setting.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Rank the rows of the folders `leaderboards/`: the workspace's and the built-in ones.

    A row has a place where a verifier attacked it again and signed what came of it; whose signatures count stands in
    `leaderboards/allowed_signers`. Other rows stand apart. Nothing is attacked or scored here; hashes, arithmetic and
    signatures are checked. What is broken, or holds other than it claims, is left out and named. Exit code: 0 every
    row is shown, 1 some file was left out (the others are shown), 2 the request is wrong.
    """
    pair = comma_separated(compare)
    if pair and (len(pair) != 2 or track is None):
        raise UsageError("--compare takes two detectors of one track; give --track NAME --compare A,B.")
    if html is not None and (pair or (extra_data, certified, white_box) != (None, None, None)):
        raise UsageError("--html writes all rows, and its pages filter and compare them; leave the other options out.")
    if (html is not None and markdown is not None) or (pair and markdown is not None):
        raise UsageError("--markdown writes boards, and nothing beside them; leave --html and --compare out.")
    cards = catalog(workspace)

    found = ranking.leaderboards(cards, track)
    unread: list[str] = []
    if setting is not None and (html is not None or markdown is not None or pair):
        raise UsageError("--setting chooses what the terminal shows; the pages (--html) show every setting.")
    if html is not None:
        tables = published.published_tables(cards, None if track is None else [track], said=unread.append)
        pages = site.write_site(found, html, tables)
        typer.echo(f"{pages} pages are in '{html}'; open '{html / 'index.html'}'.")
    elif markdown is not None:
        wanted = columns.Wanted(extra_data, certified, white_box)
        boards = [board_markdown.board_markdown(board, wanted) for board in found.boards]
        text = "\n".join(boards) or "There is no row yet.\n"
        write_file(markdown, text.encode())
    elif pair:
        _print_pair(found.boards[0], pair)
    else:
        _print(found, columns.Wanted(extra_data, certified, white_box))
        named = None if setting is not None else [board.track.name for board in found.boards]
        tracks = [track] if track is not None else named
        _print_published(published.published_tables(cards, tracks, setting, said=unread.append))
    if found.unsigned:
        say(
            f"notice: records of verification that nobody signed give no place ({_some(found.unsigned)}); `bench "
            "verify --level re-attacked --sign KEY` makes one that does."
        )
    if found.unscored:
        say(
            f"notice: images that are said to beat a row are not shown before a verifier has scored them "
            f"({_some(found.unscored)}); `bench verify --level re-attacked --sign KEY` of the row does."
        )
    if found.hidden:
        say(
            f"notice: rows of the workspace have the name of a verified one, which is shown in their place "
            f"({_some(found.hidden)}); verified too, they are shown."
        )
    for why in (*(left_out.why for left_out in found.left_out), *unread):
        say(f"left out: {' '.join(why.split())}")  # one line, whatever a file is called
    raise typer.Exit(FAILED if found.left_out or unread else 0)


def _some(names: "Sequence[str]") -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _print(found: "Leaderboards", wanted: "Wanted") -> None:
    out = console()
    for board in found.boards:
        print_lines(out, board_text.board_lines(board, wanted, width_of(out)))
    if not found.boards:
        say("there is no row yet; `bench submit --run RUN --detector NAME` builds one.")


def _print_published(tables: "Sequence[PublishedTable]") -> None:
    out = console()
    if tables:
        print_lines(out, published.published_lines(tables, width_of(out)))


def _print_pair(board: "Board", names: "Sequence[str]") -> None:
    ranked = {standing.row.detector.name: standing for standing in board.standings}
    if unknown := [name for name in names if name not in ranked]:
        known = ", ".join(sorted(ranked)) or "none"
        raise UsageError(f"'{unknown[0][:80]}' has no ranked row on '{board.track.name}'; these have: {known}.")
    a, b = (ranked[name] for name in names)
    out = console()
    print_lines(out, board_text.compare_lines(a, b, compare.compare(a, b), width_of(out)))
