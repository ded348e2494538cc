"""Markdown from text that was not written as Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

_SIGNS = re.compile(r"([\\`*_<>\[\]|])")


def plain(text: str) -> str:
    """Text on one line that shows as it is, whatever signs it holds."""
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))


def prose(text: str) -> str:
    """Text of a docstring on one line: what stands in backticks is code, everything else shows as it is."""
    parts = re.split(r"(`+[^`]+`+)", " ".join(text.split()))
    return "".join(code(part.strip("`")) if part.startswith("`") else _SIGNS.sub(r"\\\1", part) for part in parts)


def code(value: Any) -> str:
    """A value as inline code that a table can hold."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "&#124;")
    return f"`{text}`" if "&#124;" not in text else f"<code>{text}</code>"


def value(content: Any) -> str:
    """A value of a card as YAML writes it, as inline code."""
    text = yaml.safe_dump(content, default_flow_style=True, width=10_000, sort_keys=False)
    return code(text.removesuffix("\n").removesuffix("\n..."))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, with an empty one before and after."""
    lines = [header, ["---"] * len(header), *rows]
    return ["", *(f"| {' | '.join(cells)} |" for cells in lines), ""]


def page(lines: Iterable[str]) -> str:
    """The text of a page: never two empty lines in a row."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
