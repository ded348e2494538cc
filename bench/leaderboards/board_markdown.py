"""A board as GitHub-flavoured Markdown, for a page or the summary of a pull request."""

from bench.leaderboards.board_text import CAPTION, counted_words, heading, nothing_words
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
from bench.leaderboards.ranking import Board
from bench.report.markdown import escape_markdown, markdown_grid


def board_markdown(board: Board, wanted: Wanted | None = None) -> str:
    """A board: its ranked rows, apart from them those without a place, and what is not shown.

    Args:
        board: The board.
        wanted: Which of its rows are shown; None shows all.
    """
    wanted = wanted if wanted is not None else Wanted()
    standings, unranked = shown(board, wanted), shown_unranked(board, wanted)
    lines = [f"**{escape_markdown(heading(board))}**", ""]
    lines += markdown_grid(board_grid(standings), TEXTS) if standings else [nothing_words(board)]
    said = [CAPTION]
    for standing in standings:
        said += [f"{standing.row.detector.name} {beaten_words(part)}" for part in standing.beaten]
    lines += ["", *(f"- {escape_markdown(sentence)}" for sentence in said)]
    if unranked:
        lines += ["", f"**{UNRANKED}**", "", *markdown_grid(unranked_grid(unranked)), ""]
        lines += [f"- {escape_markdown(UNRANKED_HINT)}"]
    lines += [f"- {escape_markdown(sentence)}" for sentence in counted_words(board, len(standings) + len(unranked))]
    return "\n".join(lines) + "\n"
