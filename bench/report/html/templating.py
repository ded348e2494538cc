"""Pages from templates: all text is escaped, and a page may run nothing but its own script and style."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from bench.report.html.drawing import svg_uri
from bench.report.words import printable

_SHARED = "bench.report.html"
_LONGEST = 2000
"""Letters of one word, name or sentence that are shown."""


@cache
def environment(package: str = _SHARED) -> Environment:
    """The templates of a package, and under them those that all pages share.

    Args:
        package: Its folder `templates` is read first.
    """

    def load(name: str) -> str | None:
        for folder in dict.fromkeys((package, _SHARED)):
            file = files(folder) / "templates" / name
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return None

    found = Environment(
        loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: Mapping[str, Callable[..., str]] = {
        "said": said,
        "svg_uri": svg_uri,
        "wide_uri": partial(svg_uri, wide=True),
    }
    found.filters.update(filters)
    return found


def policy(style: str, *scripts: str) -> str:
    """The content security policy: images in the page itself, this style, these scripts, and nothing else."""
    allowed = " ".join(f"'{_digest(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def said(text: object, longest: int = _LONGEST) -> str:
    """Text as a page may show it: without control characters, and never longer than a reader can bear."""
    words = str(text)
    shown = printable(words[:longest], keep="\n")
    return shown if len(words) <= longest else f"{shown}..."


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
