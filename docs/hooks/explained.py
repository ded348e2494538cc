"""What the code says of the fields of its models: in docstrings, and in comments beside them."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable
from functools import cache
from pathlib import Path

import griffe
import yaml
from pydantic import BaseModel

FIELDS_FILE = Path(__file__).parent / "card_fields.yaml"
"""What is said of fields that the code leaves without a word: class -> field -> sentence."""


@cache
def fields(model: type[BaseModel]) -> dict[str, str]:
    """What is known of each field: of the docstrings' Attributes, the comments in the source, and `FIELDS_FILE`."""
    known: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            known |= {**_written().get(base.__name__, {}), **comments(base), **attributes(base)}
    return {name: known[name] for name in model.model_fields if name in known}


def attributes(model: type) -> dict[str, str]:
    """The section "Attributes:" of a docstring."""
    for section in _sections(model):
        if section.kind is griffe.DocstringSectionKind.attributes:
            return {each.name: each.description for each in section.value}
    return {}


def text_of(model: type) -> list[str]:
    """The paragraphs of a docstring without its sections; none where it has no docstring of its own."""
    texts = [section.value for section in _sections(model) if section.kind is griffe.DocstringSectionKind.text]
    return [part for text in texts for part in text.split("\n\n")]


def function_text(function: Callable[..., object]) -> list[str]:
    """The paragraphs of a function's docstring without its sections."""
    parsed = griffe.Docstring(inspect.getdoc(function) or "").parse("google", warnings=False)
    texts = [section.value for section in parsed if section.kind is griffe.DocstringSectionKind.text]
    return [part for text in texts for part in text.split("\n\n")]


@cache
def comments(model: type) -> dict[str, str]:
    """Field, or member of an enumeration -> the comment at the end of its line, or on the lines above it."""
    source = textwrap.dedent(inspect.getsource(model))
    (found,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type is tokenize.COMMENT]
    beside = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.line.strip() != t.string.strip()}
    alone = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.line.strip() == t.string.strip()}
    told = {}
    for node in found.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Name):
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in alone:
            above.insert(0, alone[line])
            line -= 1
        words = beside.get(node.end_lineno or 0) or beside.get(node.lineno) or " ".join(above)
        if words and not words.startswith(("noqa", "type:", "fmt:")):
            told[target.id] = words
    return told


def _sections(model: type) -> list[griffe.DocstringSection]:
    own = model.__dict__.get("__doc__") or ""
    return griffe.Docstring(inspect.cleandoc(own)).parse("google", warnings=False)


@cache
def _written() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(FIELDS_FILE.read_text(encoding="utf-8"))
    return found
