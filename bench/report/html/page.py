"""`bench report`: everything that the store holds of some cells, as one HTML page that loads nothing."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from bench.report.html.drawing import Drawing, svg_uri
from bench.report.html.facts import CardText, Provenance, Soundness
from bench.report.html.gallery import Gallery
from bench.report.html.grids import ShownTable

_LONGEST = 2000
"""Letters of one word, name or sentence that are shown."""


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
    style, script = (_environment().get_template(name).render() for name in ("page.css", "sort.js"))
    return _environment().get_template("page.html.jinja").render(page=page, policy=_policy(style, script))


def render_tables(tables: Iterable[ShownTable]) -> str:
    """Only the tables, as a fragment for notebooks."""
    return _environment().get_template("fragment.html.jinja").render(tables=list(tables))


def _policy(style: str, script: str) -> str:
    """The content security policy: images in the page itself, this style, this script, and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FunctionLoader(_template_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: Mapping[str, Callable[..., str]] = {"said": _said, "svg_uri": svg_uri}
    found.filters.update(filters)
    return found


def _template_file(name: str) -> str:
    return (files("bench.report.html") / "templates" / name).read_text(encoding="utf-8")


def _said(text: object, longest: int = _LONGEST) -> str:
    """Text as a page may show it: without control characters, and never longer than a reader can bear."""
    words = str(text)
    printable = "".join(s if s.isprintable() or s == "\n" else "\N{REPLACEMENT CHARACTER}" for s in words[:longest])
    return printable if len(words) <= longest else f"{printable}..."
