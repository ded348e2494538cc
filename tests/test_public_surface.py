"""Nothing that a plug-in may build on goes, gets another name or takes other arguments unnoticed.

The names stand in docs/public-surface.md, and what they take in `public_surface.json`. After a change that is meant,
`python tests/test_public_surface.py` writes it anew; a user must then hear of it in the changelog.
"""

import enum
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from bench.cards.catalog import Catalog, Kind
from bench.cli.app import build

PAGE = Path(__file__).parent.parent / "docs" / "public-surface.md"
FILE = Path(__file__).with_name("public_surface.json")
ANEW = "meant? then say so in CHANGELOG.md and run: python tests/test_public_surface.py"


def listed() -> list[str]:
    """The names on the page; of a module that is listed, what its `__all__` has."""
    names: list[str] = []
    for name in re.findall(r"^- `(bench(?:\.\w+)+)`", PAGE.read_text(), re.M):
        found = found_at(name)
        names += [f"{name}.{each}" for each in found.__all__] if inspect.ismodule(found) else [name]
    return names


def found_at(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        return importlib.import_module(name)


def described(thing: Any) -> Any:
    """What of a thing others rely on: arguments, fields and members with their defaults; annotations left out."""
    if not inspect.isclass(thing):
        return signature(thing) if callable(thing) else type(thing).__name__
    if issubclass(thing, enum.Enum):
        return {name: str(member.value) for name, member in thing.__members__.items()}
    if issubclass(thing, BaseModel):
        return fields(thing)
    own = [kind for kind in reversed(thing.__mro__) if kind.__module__.partition(".")[0] == "bench"]
    members = {"()": signature(thing)} if any("__init__" in vars(kind) for kind in own) else {}
    for kind in own:
        members |= {name: member(kind, name) for name in vars(kind) if not name.startswith("_")}
    return members


def member(kind: type, name: str) -> str:
    given = inspect.getattr_static(kind, name)
    if isinstance(given, classmethod | staticmethod):
        return signature(given.__func__)
    if inspect.isfunction(given):
        return ("abstract " if getattr(given, "__isabstractmethod__", False) else "") + signature(given)
    return "attribute"


def signature(function: Any) -> str:
    """Names, kinds and defaults of arguments, without annotations, which each Python writes its own way."""
    given = inspect.signature(function)
    bare = [each.replace(annotation=each.empty, default=plain(each.default)) for each in given.parameters.values()]
    return str(given.replace(parameters=bare, return_annotation=given.empty))


def plain(default: Any) -> Any:
    if default is inspect.Parameter.empty or default is None or isinstance(default, str | int | float | tuple):
        return str(default) if isinstance(default, enum.Enum) else default
    return getattr(default, "__name__", type(default).__name__)


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Every field with its default, and the same of the models that it may hold."""
    content: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = "must be given" if field.is_required() else str(field.get_default(call_default_factory=True))
        inner = {part.__name__: fields(part) for part in models_in(field.annotation)}
        content[name] = [default, inner] if inner else default
    return content


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in getattr(annotation, "__args__", ()) for each in models_in(part)]


def commands(command: Any, name: str = "bench") -> dict[str, list[str]]:
    """Every command with the names of its arguments and options; those that must be given are marked."""
    own = {name: sorted("/".join([*p.opts, *p.secondary_opts]) + " !" * p.required for p in command.params)}
    for word, inner in getattr(command, "commands", {}).items():
        own |= commands(inner, f"{name} {word}")
    return own


def methods() -> list[str]:
    """The module paths that built-in cards name: a user's card may name them too."""
    texts = (path.read_text() for kind in Kind for path in (Catalog().builtin / kind.folder).glob("*.y*ml"))
    return sorted({path for text in texts for path in re.findall(r"\bbench(?:\.\w+)+:\w+", text)})


def surface() -> dict[str, Any]:
    found = {name: described(found_at(name)) for name in listed()}
    return json.loads(
        json.dumps({"names": found, "commands": commands(typer.main.get_command(build())), "methods": methods()})
    )


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return surface()


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def test_every_name_that_was_public_is_on_the_page_and_there(now, recorded):
    assert set(recorded["names"]) <= set(now["names"]), ANEW


def test_no_name_takes_other_arguments_or_has_other_members(now, recorded):
    changed = {name for name, found in now["names"].items() if found != recorded["names"].get(name)}
    assert not changed, ANEW


def test_no_command_or_option_changes(now, recorded):
    assert now["commands"] == recorded["commands"], ANEW


def test_every_module_path_that_cards_name_still_leads_somewhere(now, recorded):
    assert set(now["methods"]) == set(recorded["methods"]), ANEW
    for path in recorded["methods"]:
        module, _, attribute = path.partition(":")
        assert hasattr(importlib.import_module(module), attribute), path


@pytest.mark.parametrize(
    "changed",
    [
        "def f(a, *, b=2): ...",  # another default
        "def f(a, b=1): ...",  # by position too
        "def f(a): ...",
        "def f(x, *, b=1): ...",
        "def f(a, *, b): ...",
    ],
)
def test_a_signature_tells_what_changes(changed):
    space: dict[str, Any] = {}
    exec("def f(a: int, *, b: int = 1) -> int: ...", space)
    before = described(space["f"])
    exec(changed, space)
    assert described(space["f"]) != before


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
