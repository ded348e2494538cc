"""`bench report`: everything that the store holds of some cells, as one HTML page that loads nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report.html.drawing import Drawing
from bench.report.html.facts import CardText, Provenance
from bench.report.html.gallery import Gallery
from bench.report.html.grids import ShownGrid, ShownTable
from bench.report.html.soundness import Checked, Soundness
from bench.report.html.templating import environment, policy

SCRIPTS = ("sort.js", "large.js")


@dataclass(frozen=True)
class Export:
    """A small table to be taken along.

    Attributes:
        name: Of the file.
        kind: What it is, in a word.
        text: Its content.
        uri: The same as an address that loads nothing.
    """

    name: str
    kind: str
    text: str
    uri: str


@dataclass(frozen=True)
class DetectorPart:
    """What lies behind the figures of one detector of a table.

    Attributes:
        label: Its name in the table.
        kept: What it keeps, in a few words.
        failed: Attacks on it that cannot be believed.
        grid: A row for each attack and OOD set; None where the table has none.
        scores: Histograms, on one scale.
        convergence: Best score so far along the attacks.
        galleries: Attacked images.
        checked: Findings of soundness checks.
    """

    label: str
    kept: str
    failed: int
    grid: ShownGrid | None
    scores: tuple[Drawing, ...]
    convergence: tuple[Drawing, ...]
    galleries: tuple[Gallery, ...]
    checked: tuple[Checked, ...]


@dataclass(frozen=True)
class Part:
    """One table: the answer, and what lies behind it.

    Attributes:
        verdict: What it comes to, in a sentence; "" without a figure for one.
        accuracy: What the detectors classify correctly; "" where none does.
        answer: The figure of the answer; None where there is no curve.
        means: What every detector keeps, by norm.
        table: The table with every figure.
        exports: The means as LaTeX and CSV.
        curves: A figure for each attack.
        detectors: What lies behind, detector by detector.
    """

    verdict: str
    accuracy: str
    answer: Drawing | None
    means: tuple[ShownGrid, ...]
    table: ShownTable
    exports: tuple[Export, ...]
    curves: tuple[Drawing, ...]
    detectors: tuple[DetectorPart, ...]


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        title: Of the page.
        counted: What was evaluated: words and counts.
        parts: One a table: a track, side and limit.
        gallery_notes: Why some start images are missing, or galleries left out.
        soundness: What the soundness checks say.
        cards: The cards as they are in force.
        provenance: Environment and hashes of each cell.
        version: Of bench.
    """

    title: str
    counted: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    gallery_notes: tuple[str, ...]
    soundness: Soundness
    cards: tuple[CardText, ...]
    provenance: tuple[Provenance, ...]
    version: str

    @property
    def galleries(self) -> tuple[Gallery, ...]:
        """Every gallery of the page."""
        return tuple(gallery for part in self.parts for own in part.detectors for gallery in own.galleries)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """Every figure of the page."""
        found: list[Drawing] = []
        for part in self.parts:
            found += [part.answer] if part.answer is not None else []
            found += part.curves
            for own in part.detectors:
                found += [*own.scores, *own.convergence]
        return tuple(found)


def render_page(page: Page) -> str:
    """The page as HTML; all text is escaped, and what stands in the page is all that a browser needs."""
    style, *scripts = (environment().get_template(name).render() for name in ("page.css", *SCRIPTS))
    template = environment().get_template("page.html.jinja")
    return template.render(page=page, policy=policy(style, *scripts), scripts=SCRIPTS)


def render_tables(tables: Iterable[ShownTable]) -> str:
    """Only the tables, as a fragment for notebooks."""
    return environment().get_template("fragment.html.jinja").render(tables=list(tables))
