"""A board as lines for a terminal."""

from collections.abc import Sequence

from bench.leaderboards.columns import TEXTS, beaten_words, board_grid
from bench.leaderboards.compare import Compared
from bench.leaderboards.ranking import Board, Standing
from bench.report.lines import Column, Line, panels, sentence_lines

CAPTION = (
    "Worst-case AUROC: mean over the natural OOD sets, of every image the worst of all attacks of the suite; in "
    "brackets the 95 % interval over samples. Re-attacked rows are ranked by the lowest median of their fresh attacks."
)
_LEAD = 2


def board_lines(board: Board, standings: Sequence[Standing], width: int) -> list[Line]:
    """A board.

    Args:
        board: The board.
        standings: Those of its rows that are shown.
        width: Columns of the terminal.
    """
    track = board.track
    suite = ", ".join(f"{entry.threat} at {entry.eps:.3g}" for entry in track.suite)
    lines = sentence_lines(f"{track.name}, version {track.version}: {suite}", width, "heading")
    lines += sentence_lines(CAPTION, width, "caption")
    if not standings:
        why = "No row fits the filters." if board.standings else "There is no row; `bench submit` builds one."
        return [*lines, Line(why, "remark"), *_past_lines(board, width)]
    grid = board_grid(standings)
    rows = [words for block in grid.blocks for words in block]
    columns: list[Column] = [
        (tuple(title.split(" ")), [words[i] for words in rows]) for i, title in enumerate(grid.header)
    ]
    lines += panels(columns[:_LEAD], columns[_LEAD:], width, texts=TEXTS)
    for standing in standings:
        for record in standing.found.beaten:
            lines += sentence_lines(f"{standing.row.detector.name} {beaten_words(record)}", width, "remark")
    if hidden := len(board.standings) - len(standings):
        lines += sentence_lines(f"{hidden} rows do not fit the filters.", width, "caption")
    return [*lines, *_past_lines(board, width)]


def compare_lines(a: Standing, b: Standing, compared: Sequence[Compared], width: int) -> list[Line]:
    """Two rows side by side.

    Args:
        a: A row.
        b: Another.
        compared: Their differences.
        width: Columns of the terminal.
    """
    names = [standing.row.detector.name for standing in (a, b)]
    same = "same" if compared[0].paired else "other"
    lines = sentence_lines(f"{names[0]} against {names[1]} on {a.row.track.name}", width, "heading")
    lines += sentence_lines(
        f"Claimed mean AUROCs on the {same} samples; the error of the difference is "
        f"{'that of DeLong et al., paired' if compared[0].paired else 'unpaired'}, and p is two-sided, of one "
        "comparison alone.",
        width, "caption",
    )  # fmt: skip
    columns: list[Column] = [
        (("figure",), [part.figure for part in compared]),
        ((names[0],), [f"{part.a:.3f}" for part in compared]),
        ((names[1],), [f"{part.b:.3f}" for part in compared]),
        (("difference",), [f"{part.difference:+.3f} ± {part.se:.3f}" for part in compared]),
        (("p",), [f"{part.p_value:.2g}" for part in compared]),
    ]
    return lines + panels(columns[:1], columns[1:], width)


def _past_lines(board: Board, width: int) -> list[Line]:
    if not board.past:
        return []
    count = "1 row is" if len(board.past) == 1 else f"{len(board.past)} rows are"
    older = f"{count} not ranked, being of earlier cards or versions; the pages (--html) show every row."
    return sentence_lines(older, width, "caption")
