"""`bench verify`: how far a row of the leaderboard can be trusted."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import devices
from bench.cli.common import FAILED, WorkspaceOption, catalog, console, say
from bench.cli.options import comma_separated
from bench.cli.places import written_store
from bench.errors import UsageError
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from bench.leaderboards import record_files, records, signatures, verify, verify_report

if TYPE_CHECKING:
    from bench.leaderboards.verify import Verification

EXAMPLES = (
    "bench verify leaderboards/digits/gat@0123456789ab.json",
    "bench verify leaderboards/digits/gat@0123456789ab.json --level re-attacked --out fresh --sign ~/.ssh/id_ed25519",
)
_LEVELS = ("claimed", "re-scored", "re-attacked")


def command(
    row: Annotated[Path, typer.Argument(help="The row's JSON file, with its companions beside it.")],
    *,
    level: Annotated[str, typer.Option(help="claimed, re-scored (the default) or re-attacked.")] = "re-scored",
    seeds: Annotated[
        list[str] | None,
        typer.Option(help="Of re-attacked: 3 or more other seeds than the row's; else ones that nobody knows before."),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write what was found beside the row; unsigned, it gives no place.")
    ] = False,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Write it and sign it: a private key, or a public one in ssh-agent."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write claim and findings side by side to this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="STORE", help="Folder or URL that keeps the cells of fresh attacks.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the verdict and errors.")] = False,
) -> None:
    """Verify a row: its hashes and arithmetic, its scores by its weights, its attack by fresh ones.

    claimed: schema, hashes and arithmetic, without weights or data. re-scored: the weights give the row's scores, and
    images that this command draws are attacked no better than claimed. re-attacked: with 3 or more other seeds at equal
    budget the claimed AUROC is at most their mean + max(0.005, 3 sd), and no weaker image by image. Only a signed
    record of re-attacked gives a place, by what it found. Exit code: 0 the level was reached, 1 it was not, or a record
    of images is wrong, 2 the file is no row or the request is wrong.
    """
    if level not in _LEVELS:
        raise UsageError(f"--level is {level[:40]}; allowed is {', '.join(_LEVELS)}.")
    chosen = _seeds(comma_separated(seeds))
    if sign is not None:
        signatures.check_key(sign)
    cards = catalog(workspace)
    with nullcontext() if out is None else written_store(out) as store:
        found = verify.verify(
            row,
            verify.Level(level),
            cards,
            device=devices.resolve_device(device),
            data_dir=data_dir,
            seeds=chosen,
            out=None if store is None else store.root,
            tell=(lambda sentence: None) if quiet else say,
        )
    for sentence in found.remarks:
        say(f"notice: {sentence}")
    for sentence in (*found.problems, *found.beaten):
        say(f"error: {sentence}")
    for line in (
        verify_report.verdict_line(found),
        *verify_report.checked_lines(found),
        *verify_report.fresh_lines(found),
    ):
        console().print(line, soft_wrap=True)
    if markdown is not None:
        write_file(markdown, verify_report.verified_markdown(found).encode())
    if record or sign is not None:
        _record(row, found, sign)
    raise typer.Exit(FAILED if found.problems or found.beaten else 0)


def _record(row: Path, found: "Verification", key: Path | None) -> None:
    if found.reached is None:
        say("nothing is recorded: the row does not hold what it claims.")
        return

    made = records.verified_record(found)
    content = record_files.record_bytes(made.record)
    written = record_files.write_record(
        row, found.row.stem, made, None if key is None else signatures.sign(content, key), content
    )
    said = "it is not signed, so that it gives no place" if key is None else f"signed with {key}"
    say(f"written: {written} ({said}).")


def _seeds(given: list[str]) -> tuple[int, ...]:
    if wrong := [text for text in given if not (text.isascii() and text.isdigit() and len(text) < 10)]:
        raise UsageError(f"--seeds holds {wrong[0][:40]}; allowed are integers from 0 to 999999999.")
    return tuple(int(text) for text in given)
