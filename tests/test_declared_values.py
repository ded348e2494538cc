"""Limits, constants and defaults that modules declare outside functions: none changes unnoticed.

A bound of a card's field, a tolerance, the default of an argument: each counts in what is accepted, or in a published
number, and hardly any has a test that stands right at its edge. What is in force stands in `declared_values.json`;
after a change that is meant, `python tests/test_declared_values.py` writes it anew, and the difference is read like any
other.
"""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

import bench

FILE = Path(__file__).with_name("declared_values.json")
SIMPLE = int | float | bool | str | bytes | None | Enum | re.Pattern
OF_OTHERS = {"bench.threat_models.external.foolbox", "bench.threat_models.external.torchattacks"}
"""Modules that cannot be imported without libraries that may be absent."""

SENTENCE = re.compile(r"\S+ \S+")
ADDRESS = re.compile(r" at 0x[0-9a-f]+|PosixPath|WindowsPath")


def plain(value: Any) -> bool:
    """Whether a value says the same in every process and on every machine, and is no sentence to be read by people."""
    if isinstance(value, dict):
        return all(plain(key) and plain(held) for key, held in value.items())
    if isinstance(value, tuple | list | set | frozenset | range):
        return all(map(plain, value))
    return isinstance(value, SIMPLE) and not (isinstance(value, str) and (SENTENCE.search(value) or "/" in value[:1]))


def said(value: Any) -> str:
    """A value in a form that does not depend on the process, nor on the version of Python."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(said, value)))}}}"
    if isinstance(value, re.Pattern):
        return f"{value.pattern} {value.flags}"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(said, value))}]"
    return ADDRESS.sub("", repr(value))


def without_words(schema: Any) -> Any:
    """A JSON schema without what people read."""
    if isinstance(schema, dict):
        return {
            key: without_words(held) for key, held in schema.items() if key not in ("title", "description", "default")
        }
    return [without_words(held) for held in schema] if isinstance(schema, list) else schema


def bounds(model: type[BaseModel]) -> dict[str, Any]:
    """What may stand in each field, also inside lists, as a JSON schema says it; nothing where there is none."""
    try:
        return dict(without_words(model.model_json_schema()).get("properties", {}))
    except PydanticInvalidForJsonSchema:
        return {}


def of_model(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    yield "config", said({name: model.model_config.get(name) for name in ("extra", "frozen", "strict")})  # type: ignore[misc]
    schema = bounds(model)
    for name, field in model.model_fields.items():
        default = "given" if field.is_required() else said(field.get_default(call_default_factory=True))
        held = json.dumps(schema.get(field.alias or name, {}), sort_keys=True)
        yield name, f"{held} {ADDRESS.sub('', str(field.metadata))} = {default}"


def of_class(kind: type) -> Iterator[tuple[str, str]]:
    if issubclass(kind, BaseModel):
        yield from of_model(kind)
        return
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.default is not dataclasses.MISSING and plain(field.default):
                yield field.name, said(field.default)
    if not issubclass(kind, Enum):
        for name, value in vars(kind).items():
            if not name.startswith("__") and plain(value) and value is not None:
                yield name, said(value)
    for name, value in vars(kind).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(function):
            yield from ((f"{name}.{argument}", default) for argument, default in of_function(function))


def of_function(function: Any) -> Iterator[tuple[str, str]]:
    for argument in inspect.signature(function).parameters.values():
        injected = argument.name.startswith("_ray")  # by Ray into methods of actors, once one of them was started
        if argument.default is not argument.empty and plain(argument.default) and not injected:
            yield argument.name, said(argument.default)


def declared() -> dict[str, dict[str, str]]:
    """Module -> name -> value, for constants, fields of models, class attributes and defaults of arguments."""
    found: dict[str, dict[str, str]] = {}
    for info in pkgutil.walk_packages(bench.__path__, "bench."):
        if info.name in OF_OTHERS or info.name.endswith("__main__") or "_content" in info.name:
            continue
        module, mine = importlib.import_module(info.name), {}
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            if inspect.isclass(value) and value.__module__ == info.name:
                mine |= {f"{name}.{field}": text for field, text in of_class(value)}
            elif inspect.isfunction(value) and value.__module__ == info.name:
                mine |= {f"{name}({argument})": text for argument, text in of_function(value)}
            elif re.fullmatch(r"[A-Z_0-9]+", name) and plain(value):
                mine[name] = said(value)
        if mine:
            found[info.name] = dict(sorted(mine.items()))
    return dict(sorted(found.items()))


def test_no_declared_value_changes_unnoticed():
    kept, now = json.loads(FILE.read_text()), declared()
    assert now == kept, "meant? then run: python tests/test_declared_values.py"


def test_values_that_differ_between_machines_are_not_kept():
    text = FILE.read_text()
    assert " at 0x" not in text
    assert str(Path.home()) not in text


if __name__ == "__main__":
    FILE.write_text(json.dumps(declared(), indent=1) + "\n")
