"""A board as lines for a terminal."""

from collections.abc import Iterator, Sequence

from bench.leaderboards.columns import (
    TEXTS,
    UNRANKED,
    UNRANKED_HINT,
    Wanted,
    beaten_words,
    board_grid,
    shown,
    shown_unranked,
    unranked_grid,
)
from bench.leaderboards.compare import Compared
from bench.leaderboards.ranking import BESIDE, Board, Standing
from bench.report.grid import Grid
from bench.report.lines import Column, Line, panels, sentence_lines

CAPTION = (
    "Worst-case AUROC: mean over the natural OOD sets, of every image the worst of all attacks of the suite; in "
    "brackets the 95 % interval over samples. Only rows that a verifier attacked again have a place, by the lowest "
    "median of these attacks; all figures of them are the verifier's."
)
_LEAD = 2


def board_lines(board: Board, wanted: Wanted, width: int) -> list[Line]:
    """A board.

    Args:
        board: The board.
        wanted: Which of its rows are shown.
        width: Columns of the terminal.
    """
    standings, unranked = shown(board, wanted), shown_unranked(board, wanted)
    lines = sentence_lines(heading(board), width, "heading") + sentence_lines(CAPTION, width, "caption")
    if standings:
        lines += _grid_lines(board_grid(standings), width, lead=_LEAD, texts=TEXTS)
    else:
        lines += sentence_lines(nothing_words(board), width, "remark")
    for standing in standings:
        for part in standing.beaten:
            lines += sentence_lines(f"{standing.row.detector.name} {beaten_words(part)}", width, "remark")
    if unranked:
        lines += [*sentence_lines(UNRANKED, width, "heading"), *sentence_lines(UNRANKED_HINT, width, "caption")]
        lines += _grid_lines(unranked_grid(unranked), width, lead=1, texts=1)
    for sentence in counted_words(board, len(standings) + len(unranked)):
        lines += sentence_lines(sentence, width, "caption")
    return lines


def heading(board: Board) -> str:
    """What the rows of a board were attacked with."""
    suite = ", ".join(f"{entry.threat} at {entry.eps:.3g}" for entry in board.track.suite)
    return f"{board.track.name}, version {board.track.version}: {suite}"


def nothing_words(board: Board) -> str:
    """Why no ranked row is shown."""
    if board.standings:
        return "No ranked row fits the filters."
    return "No row has a place." if board.unranked else "There is no row; `bench submit` builds one."


def counted_words(board: Board, shown_rows: int) -> Iterator[str]:
    """How many rows are not shown."""
    if hidden := len(board.standings) + len(board.unranked) - shown_rows:
        yield "1 row does not fit the filters." if hidden == 1 else f"{hidden} rows do not fit the filters."
    beside = sum(found.past in BESIDE for found in board.past)
    for count, why in (
        (len(board.past) - beside, "being of earlier cards or versions"),
        (beside, "since another row of the detector is ranked or doubted"),
    ):
        if count:
            rows = "1 row is" if count == 1 else f"{count} rows are"
            yield f"{rows} not ranked, {why}; the pages (--html) show every row."


def _grid_lines(grid: Grid, width: int, *, lead: int, texts: int) -> list[Line]:
    rows = [words for block in grid.blocks for words in block]
    columns: list[Column] = [
        (tuple(title.split(" ")), [words[i] for words in rows]) for i, title in enumerate(grid.header)
    ]
    return panels(columns[:lead], columns[lead:], width, texts=texts)


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
        f"Mean AUROCs of the verifiers' attacks on the {same} samples; the error of the difference is "
        f"{'that of DeLong et al., paired' if compared[0].paired else 'unpaired'}, and p is two-sided, of one "
        "comparison alone.",
        width,
        "caption",
    )
    columns: list[Column] = [
        (("figure",), [part.figure for part in compared]),
        ((names[0],), [f"{part.a:.3f}" for part in compared]),
        ((names[1],), [f"{part.b:.3f}" for part in compared]),
        (("difference",), [f"{part.difference:+.3f} ± {part.se:.3f}" for part in compared]),
        (("p",), [f"{part.p_value:.2g}" for part in compared]),
    ]
    return lines + panels(columns[:1], columns[1:], width)
