"""What a verification found, in words: for a terminal, and as Markdown beside a row in a pull request."""

from collections.abc import Iterator

from bench.leaderboards.columns import flags
from bench.leaderboards.row import Entry, Row
from bench.leaderboards.submit import figure
from bench.leaderboards.verify import Verification
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.markdown import escape_markdown, markdown_grid


def verdict_line(found: Verification) -> str:
    """The row, and what was reached."""
    row = found.row
    return (
        f"{found.badge} {row.detector.name} on {row.track.name}: claimed worst-case AUROC {figure(row.worst)} under "
        f"{row.worst_entry.threat}, clean {figure(row.clean)}"
    )


def checked_lines(found: Verification) -> Iterator[str]:
    """What passed, what failed, and what was not looked at: a line each."""
    width = max(len(str(own.outcome)) for own in found.checked)
    for own in found.checked:
        yield f"  {own.outcome:{width}}  {own.what}{f': {own.said}' if own.said else ''}"


def fresh_lines(found: Verification) -> Iterator[str]:
    """The claim beside the fresh figures, a line an entry."""
    if found.fresh is None:
        return
    seeds = ", ".join(map(str, found.fresh.seeds))
    for entry, again in zip(found.row.entries, found.fresh.entries, strict=True):
        figures = ", ".join(f"{auroc:.4f}" for auroc in again.aurocs)
        yield (
            f"  {_where(entry)}: claimed {entry.mean.auroc:.4f}, fresh {figures} (seeds {seeds}), allowed "
            f"{again.allowed:.4f}, median {again.median:.4f}"
        )
    for part in found.rescored:
        own, words = part.record, "beat it" if part.beats else "do not beat it"
        yield (
            f"  {own.images} images handed in under {own.threat} at {own.norm} {own.eps:g} {words}: AUROC "
            f"{part.auroc:.4f}, below {part.allowed:.4f} beats"
        )


def verified_markdown(found: Verification) -> str:
    """The claim beside the verifier's figures, and every check, as GitHub-flavoured Markdown."""
    lines = [f"**{escape_markdown(verdict_line(found))}**", ""]
    if found.fresh is not None:
        lines += [*markdown_grid(_compared(found.row, found.fresh.ranking.row, found)), ""]
        lines += [f"- {escape_markdown(line.strip())}" for line in fresh_lines(found)] + [""]
    words = [[own.what, str(own.outcome), own.said] for own in found.checked]
    lines += markdown_grid(Grid(["check", "outcome", "said"], 3, [words]))
    lines += ["", *(f"- {escape_markdown(sentence)}" for sentence in [*found.problems, *found.beaten, *found.remarks])]
    return "\n".join(lines).rstrip() + "\n"


def _compared(row: Row, own: Row, found: Verification) -> Grid:
    """Every figure that a row says of itself, beside the verifier's."""
    assert found.fresh is not None
    pairs = [(row.clean, own.clean, "clean AUROC")]
    pairs += [
        (entry.mean, ours.mean, f"worst case under {_where(entry)}")
        for entry, ours in zip(row.entries, own.entries, strict=True)
    ]
    words = [[what, figure(claimed), figure(ours)] for claimed, ours, what in pairs]
    words.append(["worst-case AUROC, which ranks", numbers.share(row.worst.auroc), numbers.share(found.fresh.ranked)])
    for what, tell in (
        ("ID accuracy", lambda r: numbers.ABSENT if r.id_accuracy is None else numbers.share(r.id_accuracy)),
        ("flags", flags),
        ("gradients", lambda r: numbers.amount(r.gradients)),
        ("queries", lambda r: numbers.amount(r.queries)),
        ("seconds", lambda r: numbers.seconds(r.seconds)),
        ("device", lambda r: r.entries[0].cell.device),
        ("bench", lambda r: r.bench),
    ):
        words.append([what, tell(row), tell(own)])
    return Grid(["figure", "claimed", "verifier's"], 1, [words])


def _where(entry: Entry) -> str:
    return f"{entry.threat} at {entry.norm} {entry.eps:g}"
