"""`bench report`: everything that the store holds of some cells, as one HTML page that loads nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report.html.drawing import Drawing
from bench.report.html.facts import CardText, Provenance, Soundness
from bench.report.html.gallery import Gallery
from bench.report.html.grids import ShownTable
from bench.report.html.templating import environment, policy


@dataclass(frozen=True)
class Page:
    """What a page shows; a section whose tuple is empty is left out, or says how to get it.

    Attributes:
        title: Of the page.
        counted: What was evaluated: words and counts.
        tables: One a track, side and limit.
        curves: Figures of whole tables.
        histograms: Scores of each attacked cell.
        galleries: Attacked images of each cell.
        gallery_notes: Why some start images are missing, or galleries left out.
        convergence: Best score so far along the attacks.
        soundness: Findings of the soundness checks.
        cards: The cards as they are in force.
        provenance: Environment and hashes of each cell.
        version: Of bench.
    """

    title: str
    counted: tuple[tuple[str, str], ...]
    tables: tuple[ShownTable, ...]
    curves: tuple[Drawing, ...]
    histograms: tuple[Drawing, ...]
    galleries: tuple[Gallery, ...]
    gallery_notes: tuple[str, ...]
    convergence: tuple[Drawing, ...]
    soundness: Soundness
    cards: tuple[CardText, ...]
    provenance: tuple[Provenance, ...]
    version: str


def render_page(page: Page) -> str:
    """The page as HTML; all text is escaped, and what stands in the page is all that a browser needs."""
    style, script = (environment().get_template(name).render() for name in ("page.css", "sort.js"))
    return environment().get_template("page.html.jinja").render(page=page, policy=policy(style, script))


def render_tables(tables: Iterable[ShownTable]) -> str:
    """Only the tables, as a fragment for notebooks."""
    return environment().get_template("fragment.html.jinja").render(tables=list(tables))
