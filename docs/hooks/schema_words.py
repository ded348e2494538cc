"""What a JSON Schema allows in a field, in words."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import StringConstraints
from writing import code

from bench.cards.base import MethodPath, Name, Sha256

_SCALARS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def _pattern(alias: Any) -> str:
    found = next(part for part in get_args(alias) if isinstance(part, StringConstraints))
    return str(found.pattern)


_PATTERNS = {
    _pattern(Name): "name of small letters, digits and `-`",
    _pattern(MethodPath): "`package.module:attribute`",
    _pattern(Sha256): "sha256 in hexadecimal",
}


def allowed(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """What a field may hold, as Markdown; parts of a card are links to their own section.

    Args:
        schema: The field's own schema.
        parts: `$defs` of the whole schema.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        part = parts[name]
        if "enum" in part:
            return _choices(part["enum"])
        return f"[{name}](#{name.lower()})" if "properties" in part else "anything"
    if "anyOf" in schema:
        return " or ".join(allowed(each, parts) for each in schema["anyOf"])
    choices = schema.get("enum") or [schema[word] for word in ("const",) if word in schema]
    return _choices(choices) if choices else _typed(schema, parts)


def _typed(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "null":
        return "nothing"
    if kind == "array":
        return _array(schema, parts)
    if kind == "object":
        return _mapping(schema, parts)
    if kind is None:
        return "anything"
    bounds = [form.format(f"{schema[key]:,}") for key, form in _BOUNDS.items() if key in schema]
    if pattern := schema.get("pattern"):
        return _PATTERNS.get(pattern, f"text like {code(pattern)}")
    if longest := schema.get("maxLength"):
        bounds.append(f"up to {longest:,} characters")
    return " ".join([_SCALARS[kind], ", ".join(bounds)]).strip()


def _array(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if first := schema.get("prefixItems"):
        return f"[{', '.join(allowed(item, parts) for item in first)}]".replace("[", "\\[", 1)
    least, most = schema.get("minItems"), schema.get("maxItems")
    size = f" ({least or 0} to {most})" if most else f" (at least {least})" if least else ""
    return f"list of {allowed(schema.get('items', {}), parts)}{size}"


def _mapping(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    values = schema.get("additionalProperties")
    patterns = schema.get("patternProperties", {})
    if patterns:
        values = next(iter(patterns.values()))
    keys = allowed(schema["propertyNames"], parts) if "propertyNames" in schema else "name"
    if patterns:
        keys = _PATTERNS.get(next(iter(patterns)), code(next(iter(patterns))))
    what = allowed(values, parts) if isinstance(values, Mapping) else "anything"
    return f"mapping of {keys} to {what}"


def _choices(values: list[Any]) -> str:
    return ", ".join(code(value) for value in values)
