"""The types of a JSON schema in words, with links to the records that it names."""

import json
from typing import Any

from docs.generate.markdown import code

Json = dict[str, Any]


def kind(schema: Json) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{shown(name)}](#{record(name)})"
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(code(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {kind(items)}" if items else "list"
    if schema.get("type") == "object":
        return "object"
    return str(schema.get("type", "any")) + bounds(schema)


def bounds(schema: Json) -> str:
    """The limits of a number or a text."""
    signs = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
        "maxLength": "length ≤",
    }
    found = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    pattern = [f"matches `{schema['pattern']}`"] if "pattern" in schema else []
    return f" ({', '.join(found + pattern)})" if found + pattern else ""


def default(schema: Json) -> str:
    given = schema.get("default")
    return "" if given is None else code(json.dumps(given))


def shown(name: str) -> str:
    """Without what marks a private record; `ListObject_KeyObject_` is a list of those."""
    return name.strip("_").replace("_", " of ")


def record(name: str) -> str:
    """The anchor of a record."""
    return f"record-{name.strip('_').lower()}"
