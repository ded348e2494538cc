"""`bench leaderboard --html`: the boards as a static site that loads nothing but its own pages."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bench
from bench.leaderboards.board_text import CAPTION
from bench.leaderboards.columns import (
    UNRANKED,
    UNRANKED_HINT,
    beaten_words,
    board_grid,
    unranked_grid,
    uses_extra_data,
)
from bench.leaderboards.compare import MOST, pairs
from bench.leaderboards.detector_page import detector_page
from bench.leaderboards.explained import (
    attacked_words,
    badges_of,
    near_far_grid,
    published_setting,
    setting_grids,
    settings_of,
)
from bench.leaderboards.figures import board_curve
from bench.leaderboards.image_by_image import image_data
from bench.leaderboards.published import HINT, TITLE, PublishedTable, facts_of, published_grid
from bench.leaderboards.ranking import Board, Leaderboards
from bench.own_files import write_own
from bench.report.html.grids import ShownGrid, shown_grid
from bench.report.html.templating import environment, policy

_PACKAGE = "bench.leaderboards"
_STYLES = ("page.css", "board.css")
_SORT, _FILTER, _SETTING, _COMPARE, _LARGE = "sort.js", "filter.js", "setting.js", "compare.js", "large.js"


def write_site(found: Leaderboards, folder: Path, published: Sequence[PublishedTable] = ()) -> int:
    """Write every page below a folder; equal rows give equal bytes. Other files of the folder stay as they are.

    Args:
        found: The boards.
        folder: Made if need be.
        published: Figures of papers, which have a page of their own and stand below the board of their track.

    Returns:
        How many pages there are.

    Raises:
        UsageError: It cannot be written, or a page in it is somebody else's.
    """
    pages = {folder / name: text.encode() for name, text in site_pages(found, published)}
    write_own(pages, "choose another folder (--html)")
    return len(pages)


def site_pages(found: Leaderboards, published: Sequence[PublishedTable] = ()) -> Iterator[tuple[str, str]]:
    """Place and text of every page: `index.html`, `published.html`, and for each track a folder with its own.

    No name leaves the folder: they are those of track cards and of checked rows, which hold neither `/` nor `..`.
    """
    tables = [(board, _table(board)) for board in found.boards]
    papers = {"published_title": TITLE, "published_hint": HINT, "facts_of": facts_of, "setting_of": published_setting}
    yield (
        "index.html",
        _rendered(
            "index.html.jinja",
            (_SETTING,),
            boards=tables,
            left_out=found.left_out,
            published=published,
            settings=_settings(found.boards, published),
            curve=board_curve,
            settings_of=settings_of,
            attacked=attacked_words,
            near_far=_near_far,
            badges=badges_of(own.found.words for board in found.boards for own in board.standings[:5]),
            **papers,
        ),
    )
    if published:
        shown = [(own, shown_grid(published_grid(own))) for own in published]
        yield (
            "published.html",
            _rendered(
                "published.html.jinja",
                (_SETTING,),
                home="",
                published=shown,
                settings=_settings((), published),
                **papers,
            ),
        )
    for board, table in tables:
        left_out = [own for own in found.left_out if own.file.partition("/")[0] == board.track.name]
        name = board.track.name
        of_track = [own for own in published if own.track == name]
        yield (
            f"{name}/index.html",
            _rendered(
                "track.html.jinja",
                (_SORT, _FILTER, _SETTING),
                home="../",
                board=board,
                shown=table,
                left_out=left_out,
                caption=CAPTION,
                uses_extra_data=uses_extra_data,
                beaten_words=beaten_words,
                unranked_title=UNRANKED,
                unranked_hint=UNRANKED_HINT,
                unranked=shown_grid(unranked_grid(board.unranked)),
                curve=board_curve(board),
                attacked=attacked_words(board),
                near_far=_near_far(board),
                badges=badges_of(own.words for own in board.rows),
                by_setting=list(setting_grids(board.standings)),
                settings=_settings((board,), of_track),
                published=[(own, shown_grid(published_grid(own))) for own in of_track],
                **papers,
            ),
        )
        yield (
            f"{name}/compare.html",
            _rendered(
                "compare.html.jinja",
                (_COMPARE,),
                home="../",
                board=board,
                data=_compared(board),
                most=MOST,
            ),
        )
        for row in board.rows:
            page = detector_page(board, row)
            yield (
                f"{name}/{row.row.stem}.html",
                _rendered(
                    "detector.html.jinja",
                    (_SORT, _LARGE),
                    home="../",
                    board=board,
                    page=page,
                    beaten_words=beaten_words,
                    badges=badges_of([row.words]),
                ),
            )


def _settings(boards: Sequence[Board], published: Sequence[PublishedTable]) -> tuple[str, ...]:
    """Every setting that a page shows, those of boards first."""
    own = [setting for board in boards for setting in settings_of(board)]
    return tuple(dict.fromkeys([*own, *sorted({published_setting(table) for table in published})]))


def _near_far(board: Board) -> ShownGrid | None:
    return near_far_grid(board.track, board.standings)


def _rendered(template: str, scripts: tuple[str, ...], **content: Any) -> str:
    templates = environment(_PACKAGE)
    style = "".join(_text(name) for name in _STYLES)
    allowed = policy(style, *(_text(name) for name in scripts))
    return templates.get_template(template).render(
        policy=allowed, styles=_STYLES, scripts=scripts, version=bench.__version__, **content
    )


def _text(name: str) -> str:
    return environment(_PACKAGE).get_template(name).render()


def _table(board: Board) -> ShownGrid:
    return shown_grid(board_grid(board.standings))


def _compared(board: Board) -> dict[str, Any]:
    """What the page of comparisons reads: the rows, and the figures of every pair."""
    rows = [
        {"stem": own.found.row.stem, "name": own.row.detector.name, "place": own.place, "badge": own.found.words}
        for own in board.standings[:MOST]
    ]
    found = {f"{i} {j}": [asdict(figure) for figure in compared] for i, j, compared in pairs(board.standings)}
    return {"rows": rows, "pairs": found, "images": image_data(board.standings[:MOST])}
