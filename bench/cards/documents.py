"""YAML, read safely and with line numbers, so that a wrong card is answered by one sentence an error.

Only mappings, lists, text, finite numbers, booleans and null are read. Aliases, tags, duplicate keys, several
documents, deep nesting and large files are refused: a card needs none of them, and each hides something from a reader.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.errors import CardError, reading, shorten

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_DIGITS = 30
_TOO_DEEP = f"is nested more than {MAX_DEPTH} deep, the most allowed; flatten it."

Location = tuple[str | int, ...]
"""Where a value lies in a document: keys of mappings and positions in lists, from the outside in."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster where it was built
_TAG = "tag:yaml.org,2002:"
# What a terminal would obey instead of showing it: an escape in a quoted text, or a turn of the writing direction.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
# What one reader of YAML takes for a number and another for text: leading zeros, other bases.
_NOT_DECIMAL = re.compile(r"[-+]?0([0-9_]+|[xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """The content of a YAML file and the line of each of its values.

    Attributes:
        path: The file, as it is named in errors.
        content: The outermost mapping.
        lines: For every key and list item, the line (from 1) where it starts.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[Location, int]

    def known(self, location: Location) -> Location:
        """The longest beginning of a location that lies in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return location

    def line(self, location: Location = ()) -> int:
        """The line of a location, or of the nearest thing around it that the file has."""
        return self.lines.get(self.known(location), 1)

    def place(self, location: Location = ()) -> str:
        """`FILE:LINE` of a location."""
        return f"{self.path}:{self.line(location)}"


def read_document(path: Path) -> Document:
    """Read one YAML file whose outermost value is a mapping.

    Raises:
        CardError: In one sentence, what the file holds that is not allowed, and where.
    """
    with reading(f"card {shorten(path)}", CardError):
        return parse_document(_text(path), path)


def parse_document(text: str, path: Path) -> Document:
    """`read_document` for text that was read already; `path` only names it in errors.

    Raises:
        CardError: As `read_document`.
    """
    try:
        _refuse_what_no_card_needs(text, path)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise CardError(_syntax_error(error, path)) from error
    if not isinstance(root, yaml.MappingNode):
        raise CardError(f"{path}:1: given is no mapping; a card is 'field: value' lines; see `bench show` for one.")
    lines: dict[Location, int] = {}
    return Document(path, _mapping(root, (), lines, path), lines)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise CardError(f"{path}: is not a file; give the path of a YAML card.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); check that it is there and readable.") from error
    if len(data) > MAX_BYTES:
        raise CardError(f"{path}: holds more than {MAX_BYTES:,} bytes, the most that is read; make it shorter.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CardError(f"{path}:{line}: holds bytes that are not UTF-8; save the file as UTF-8 text.") from error


def _refuse_what_no_card_needs(text: str, path: Path) -> None:
    """Check the stream of events, before anything is built from it."""
    depth = documents = 0
    for event in _events(text):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise CardError(f"{path}:{line}: holds an alias (*name); allowed are plain values; write the value out.")
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            raise CardError(f"{path}:{line}: holds an anchor (&name); allowed are plain values; remove it.")
        if isinstance(event, yaml.ScalarEvent) and _CONTROL.search(event.value):
            raise CardError(f"{path}:{line}: holds a control character; allowed is printable text; remove it.")
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":  # "!" alone is how the parser marks a quoted text
            raise CardError(f"{path}:{line}: holds the tag {shorten(tag)}; allowed are plain values; remove the tag.")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise CardError(f"{path}:{line}: a second document starts; allowed is one card a file; split the file.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise CardError(f"{path}:{line}: {_TOO_DEEP}")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=_Loader)


def _syntax_error(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable text"
    line = mark.line + 1 if mark else 1
    if "nesting depth" in problem:  # newer builds of libyaml give up before our own count
        return f"{path}:{line}: {_TOO_DEEP}"
    return f"{path}:{line}: is not YAML ({problem}); correct this line or the one before it."


def _value(node: yaml.Node, location: Location, lines: dict[Location, int], path: Path) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, location, lines, path)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for position, item in enumerate(node.value):
            lines[(*location, position)] = item.start_mark.line + 1
            items.append(_value(item, (*location, position), lines, path))
        return items
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node, path)


def _mapping(node: yaml.MappingNode, location: Location, lines: dict[Location, int], path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise CardError(f"{path}:{line}: a list or mapping is used as a field's name; allowed is text; rename it.")
        key = str(key_node.value)
        if key in content:
            first = lines[(*location, key)]
            raise CardError(
                f"{path}:{line}: field {shorten(key)} is given twice, first in line {first}; remove one of them."
            )
        lines[(*location, key)] = line
        content[key] = _value(value_node, (*location, key), lines, path)
    return content


def _scalar(node: yaml.ScalarNode, path: Path) -> str | int | float | bool | None:
    """The value that YAML 1.2 gives: `no` and `on` are text, `1e-3` is a number; `010`, `0o7`, `1:30` are refused."""
    text, tag, line = node.value, node.tag.removeprefix(_TAG), node.start_mark.line + 1
    if len(text) > MAX_DIGITS and text.isalnum():
        return str(text)  # a hash may consist of digits
    plain = not node.style  # None from the Python loader, '' from the C one
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in ("true", "false"):
        return bool(text.lower() == "true")
    if plain and _INTEGER.fullmatch(text):
        return int(text)
    if plain and (_FLOAT.fullmatch(text) or tag == "float"):
        number = float(text) if _FLOAT.fullmatch(text) else math.nan
        if not math.isfinite(number):
            raise CardError(f"{path}:{line}: given {shorten(text)}, allowed are finite decimal numbers; correct it.")
        return number
    if tag == "int" or (plain and _NOT_DECIMAL.fullmatch(text)):
        raise CardError(f"{path}:{line}: given {shorten(text)}, allowed are decimal integers; correct or quote it.")
    return str(text)
