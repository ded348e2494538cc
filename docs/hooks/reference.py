"""Makes the pages of `reference/` when the site is built: none of them can fall behind.

What is kept in git under their names says where to look, for readers of the repository itself.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))  # the pages are those of this checkout, whatever is installed

from card_fields import cards_page, row_page  # noqa: E402  # beside this file: MkDocs makes it importable meanwhile
from card_pages import detectors_page, threats_page, tracks_page  # noqa: E402
from command_line import command_line_page  # noqa: E402
from python_api import python_page  # noqa: E402
from source_pages import sources_page  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "reference/detectors.md": detectors_page,
    "reference/threats.md": threats_page,
    "reference/tracks.md": tracks_page,
    "reference/command-line.md": command_line_page,
    "reference/cards.md": cards_page,
    "reference/sources.md": sources_page,
    "reference/row.md": row_page,
    "reference/python.md": python_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code and the cards, and the schemas that they link to."""
    for uri, make in PAGES.items():
        if (kept := files.get_file_from_path(uri)) is not None:
            files.remove(kept)
        files.append(File.generated(config, uri, content=make()))
    for name in ("row.schema.json", "baseline.schema.json"):
        text = (ROOT / "leaderboards" / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Leave out the site map: without an address it lists nothing, and it holds the day of the build."""
    return "" if template_name == "sitemap.xml" else output
