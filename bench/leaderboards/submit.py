"""Writing a row and the files beside it, and telling a person what a reviewer will see."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.files import write_file
from bench.leaderboards.build import Built
from bench.leaderboards.handed_in import private_images, whence, workspace_files
from bench.leaderboards.row import Entry, Estimate, Row, row_bytes
from bench.report import numbers
from bench.report.accuracy import LOW_ACCURACY
from bench.soundness.verdicts import Verdict

FOLDER = "leaderboards"


def write_row(built: Built, root: Path) -> list[Path]:
    """Write a row below a folder of leaderboards, its companions first, so that a row is never without them.

    Args:
        built: The row and its companions.
        root: The folder of leaderboards; the row goes into its track's own.

    Returns:
        The files, the row last.

    Raises:
        UsageError: The folder cannot be written.
    """
    row = built.row
    folder = root / row.track.name
    written = []
    for ending, content in [*built.files.items(), (".json", row_bytes(row))]:
        path = folder / f"{row.stem}{ending}"
        write_file(path, content)
        written.append(path)
    return written


def review_lines(built: Built, catalog: Catalog) -> Iterator[str]:
    """What a reviewer sees of a row, a line each; the catalog knows where weights and images lie."""
    row, own = built.row, built.row.detector
    yield f"{own.name} on {row.track.name} (version {row.track.version}), seed {row.seed}"
    yield f"  worst case: AUROC {figure(row.worst)} under {row.worst_entry.threat}; clean {figure(row.clean)}"
    if row.id_accuracy is not None:
        share = numbers.share(row.id_accuracy)
        yield f"  ID accuracy: {share} of the ID test images are classified correctly{_doubted(row.id_accuracy)}"
    for entry in row.entries:
        yield from _entry_lines(entry)
    paper = f"{own.paper.authors} ({own.paper.year}): {own.paper.title}" if own.paper else "none"
    yield f"  paper: {_one_line(paper)}"
    seen = f"trained on: {own.trained_on}; tuned on: {own.tuned_on}; extra data: {own.extra_data}"
    yield f"  {_one_line(seen)}"
    kinds = [name for name in ("white_box", "certified", "random") if getattr(own, name)]
    yield f"  kind: {', '.join(kinds).replace('_', '-') or 'black-box'}"
    for part in own.weights:
        yield f"  weights: {part.file}, sha256 {part.sha256[:16]}..., {whence(catalog, part)}"
    yield f"  cost: {row.gradients:,} gradients, {row.queries:,} scores, {row.seconds:,.0f} s; bench {row.bench}"
    sizes = ", ".join(f"{row.stem}{ending} ({len(content):,} bytes)" for ending, content in built.files.items())
    yield f"  files: {row.stem}.json, {sizes}"
    if private := private_images(catalog.track(row.track.name).of_rows()):
        yield f"  images: {private}"


def request_lines(row: Row, written: list[Path], catalog: Catalog) -> Iterator[str]:
    """How to open the pull request, with all that the row needs of the workspace."""
    needed = workspace_files(catalog, row.detector, catalog.track(row.track.name).of_rows())
    yield "To hand it in:"
    yield f"  bench verify {written[-1]} --level re-attacked"
    yield f"  git switch -c row-{row.stem.replace('@', '-')}"
    yield f"  git add {shlex.join(map(str, [*written, *needed]))}"
    yield f'  git commit -m "Add {row.detector.name} to the leaderboard of {row.track.name}"'
    yield "  git push, and open a pull request that holds the detector's card too; weights that are not in the"
    yield "  repository must lie where the card's `source` says."


def figure(estimate: Estimate) -> str:
    """An AUROC with its 95 % interval."""
    return numbers.with_ends(estimate.auroc, estimate.low, estimate.high)


def _doubted(accuracy: float) -> str:
    """What goes with an accuracy that is lower than that of most classifiers which are put together rightly."""
    doubt = "; where it should be more, look at mean and std in the network's card, and at the order of the classes"
    return doubt if accuracy < LOW_ACCURACY else ""


def _one_line(text: str) -> str:
    """A card's text on one line, so that none of it passes for a line of ours."""
    return " ".join(text.split())


def _entry_lines(entry: Entry) -> Iterator[str]:
    yield f"  {entry.threat} at {entry.norm} {entry.eps:g}: AUROC {figure(entry.mean)}"
    for name, figures in entry.sets.items():
        aside = "" if figures.counts else " (not in the mean)"
        yield f"    {name}: {figure(figures.clean)} clean, {figure(figures.attacked)} attacked{aside}"
    alone = ", ".join(f"{name} {member.mean.auroc:.3f}" for name, member in entry.members.items())
    yield f"    each attack alone: {alone or 'none'}"
    for name, why in entry.left_out.items():
        yield f"    left out: {name} ({why})"
    said = [
        f"{name} {check} {verdict}"
        for name, cell in [(entry.threat, entry.cell), *((n, m.cell) for n, m in entry.members.items())]
        for check, verdict in cell.soundness.items()
        if verdict in (Verdict.WARN, Verdict.FAIL)
    ]
    yield f"    soundness: {'; '.join(said) or 'no check warns'}"
