"""What the page of one row shows: figures, attacks, soundness, where it comes from, and its history."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.leaderboards.checks import Checked
from bench.leaderboards.columns import history_grid, judged, ranked_because, ranked_words, verified_words
from bench.leaderboards.explained import checks_grid
from bench.leaderboards.figures import row_curve, row_galleries, row_scores
from bench.leaderboards.folder import FoundRow
from bench.leaderboards.ranking import Board, Standing
from bench.leaderboards.records import BeatenFigures, FreshPart
from bench.leaderboards.row import Entry, Row
from bench.leaderboards.submit import figure
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.html.drawing import Drawing
from bench.report.html.gallery import Gallery
from bench.report.html.grids import ShownGrid, shown_grid

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DetectorPage:
    """What the page shows: of a ranked row the verifier's figures, of another one what it claims.

    Attributes:
        found: The row, and what was found out about it.
        row: The verifier's own row of a ranked one; else the row as it was handed in.
        place: Its place; None for one that is not ranked.
        beaten: Images of others that beat it, as a verifier scored them.
        summary: The figures that matter, by name.
        attacks: Grids of the suite's entries, their attacks, and fresh ones.
        curve: AUROC by entry of the suite.
        scores: Histograms; None where no scores are at hand.
        galleries: Images of each worst case, as they were handed in.
        soundness: What each check asked, and what it says; None where nothing was checked.
        card: What its card says of it.
        hashes: Names and values that tell it from any other.
        history: The rows of this detector.
        stems: The rows of `history`, in its order.
    """

    found: FoundRow
    row: Row
    place: int | None
    beaten: tuple[BeatenFigures, ...]
    summary: Facts
    attacks: tuple[ShownGrid, ...]
    curve: Drawing
    scores: Drawing | None
    galleries: tuple[Gallery, ...]
    soundness: ShownGrid | None
    card: Facts
    hashes: Facts
    history: ShownGrid
    stems: tuple[str, ...]


def detector_page(board: Board, found: FoundRow) -> DetectorPage:
    """The page of a row.

    Args:
        board: Where it stands.
        found: The row.
    """
    standing = next((own for own in board.standings if own.found is found), None)
    row = found.row if standing is None else standing.row
    rows = board.history(row.detector.name)
    return DetectorPage(
        found=found,
        row=row,
        place=standing.place if standing is not None else None,
        beaten=standing.beaten if standing is not None else (),
        summary=tuple(_summary(found, row, standing)),
        attacks=tuple(_attacks(row, standing)),
        curve=row_curve(row),
        scores=_scores(found, row, standing),
        galleries=row_galleries(found.row, found.files),
        soundness=checks_grid(row),
        card=tuple(_card(row)),
        hashes=tuple(_hashes(row)),
        history=shown_grid(history_grid(rows)),
        stems=tuple(other.row.stem for other in rows),
    )


def _summary(found: FoundRow, row: Row, standing: Standing | None) -> Iterator[tuple[str, str]]:
    whose = "as claimed; nobody has verified it"
    if standing is not None:
        yield "worst-case AUROC, which ranks", f"{ranked_words(standing)}. {ranked_because(standing)}"
        whose = "of one run, the verifier's"
    claimed = found.row
    yield "worst-case AUROC, as claimed", f"{figure(claimed.worst)} under {claimed.worst_entry.threat}"
    yield f"clean AUROC, {whose}", figure(row.clean)
    if row.id_accuracy is not None:
        yield f"ID accuracy, {whose}", numbers.share(row.id_accuracy)
    spent = f"{row.gradients:,} gradients, {row.queries:,} scores, {row.seconds:,.0f} s"
    yield f"cost of the attacks, {whose}", spent
    for signed in found.records:
        yield "verified", verified_words(signed)


def _attacks(row: Row, standing: Standing | None) -> Iterator[ShownGrid]:
    for entry in row.entries:
        where = f"{entry.threat} at {entry.norm} {numbers.both_scales(entry.norm, entry.eps)}"
        said = ["In brackets the 95 % interval over samples; sets that are not in the mean are artificial."]
        yield shown_grid(_sets(entry), title=f"{where}: every OOD set", said=said)
        left_out = [f"Left out: {name}, since {why}." for name, why in entry.left_out.items()]
        if entry.members:
            yield shown_grid(_members(entry), title=f"{where}: each attack alone", said=left_out)
    if standing is not None:
        seeds = ", ".join(map(str, standing.fresh.seeds))
        said = [f"Fresh attacks at equal budget with the seeds {seeds}; the lowest median ranks the row."]
        yield shown_grid(_fresh(standing.fresh), title="attacked again", said=said)
        checked = standing.evidence.record.checked
        yield shown_grid(_checked(checked), title="what the verification checked", said=[])


def _sets(entry: Entry) -> Grid:
    header = ["OOD set", "in the mean", "images", "clean AUROC", "attacked AUROC", "conservative AUROC", "FPR@95"]
    words = [
        [
            name,
            "yes" if own.counts else "no",
            str(own.n_ood),
            figure(own.clean),
            figure(own.attacked),
            numbers.share(own.conservative_auroc),
            numbers.share(own.fpr95),
        ]
        for name, own in entry.sets.items()
    ]
    return Grid(header, 2, [words])


def _members(entry: Entry) -> Grid:
    words = [
        [
            name,
            figure(own.mean),
            numbers.amount(own.cell.gradients),
            numbers.amount(own.cell.queries),
            numbers.seconds(own.cell.seconds),
            own.cell.device,
        ]
        for name, own in entry.members.items()
    ]
    return Grid(["attack", "AUROC", "gradients", "queries", "seconds", "device"], 1, [words])


def _fresh(record: FreshPart) -> Grid:
    words = [
        [
            f"{own.threat} at {own.norm} {own.eps:.3g}",
            f"{own.claimed:.4f}",
            f"{own.median:.4f}",
            f"{own.mean:.4f}",
            f"{own.sd:.4f}",
            ", ".join(f"{value:.4f}" for value in own.aurocs),
        ]
        for own in record.entries
    ]
    return Grid(["attack", "claimed", "median", "mean", "sd over seeds", "each"], 1, [words])


def _checked(checked: Sequence[Checked]) -> Grid:
    return Grid(["check", "outcome", "said"], 3, [[[own.what, str(own.outcome), own.said] for own in checked]])


def _scores(found: FoundRow, row: Row, standing: Standing | None) -> Drawing | None:
    files = found.files if standing is None else standing.files
    return None if files is None else row_scores(row, files.table)


def _card(row: Row) -> Iterator[tuple[str, str]]:
    own = row.detector
    if own.paper is not None:
        yield "paper", f"{own.paper.authors} ({own.paper.year}): {own.paper.title}"
    yield "trained on", own.trained_on
    yield "tuned on", own.tuned_on
    yield "extra data", own.extra_data
    yield "white-box", "yes, its gradient can be followed" if own.white_box else "no, it has no gradient to follow"
    yield "certified", "yes" if own.certified else "no"
    yield "random", "yes, fresh draws were scored" if own.random else "no"


def _hashes(row: Row) -> Iterator[tuple[str, str]]:
    yield "row", row.row_sha256
    yield "card", row.detector.card_hash
    yield "settings", row.detector.settings_hash
    yield from ((f"weights {part.file}", part.sha256) for part in row.detector.weights)
    yield f"track {row.track.name}, version {row.track.version}", row.track.hash
    yield from ((f"set {name}", digest) for name, digest in row.track.set_digests.items())
    yield "scores", row.scores.sha256
    if row.images is not None:
        yield f"{row.images.count} images of each worst case", row.images.sha256
    yield from ((f"cell of {name}", cell.key) for name, cell in [("clean scores", row.clean_cell), *judged(row)])
    limit = "none" if row.track.limit is None else str(row.track.limit)
    yield "seed, micro-batch, limit", f"{row.seed}, {row.micro_batch}, {limit}"
    yield "bench", row.bench
    yield from ((f"version of {name}", version) for name, version in row.versions.items())
