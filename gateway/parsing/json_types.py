"""The JSON value of a parameter that a model wrote as plain text, typed by the tool's schema."""

from collections.abc import Iterable, Mapping

import msgspec

Types = frozenset[str]
ANY: Types = frozenset()
STRING: Types = frozenset({"string"})
JSON_TYPES: Mapping[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    str: "string",
    list: "array",
    dict: "object",
}
PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}  # as some templates write them


def properties_of(tools: Iterable[Mapping[str, object]], name: str) -> Mapping[str, object]:
    """The schemas of a function's parameters."""
    for tool in tools:
        function = _mapping(tool.get("function"))
        if function.get("name") == name:
            return _mapping(_mapping(function.get("parameters")).get("properties"))
    return {}


def types_of(schema: object) -> Types:
    """The JSON types that a schema allows; ANY if it names none."""
    stated = _mapping(schema)
    given = stated.get("type")
    types = {given} if isinstance(given, str) else {t for t in _items(given) if isinstance(t, str)}
    if not types:
        types = {_type_of(value) for value in _items(stated.get("enum"))}
    for choices in ("anyOf", "oneOf", "allOf"):
        types.update(*(types_of(choice) for choice in _items(stated.get(choices))))
    return frozenset(types)


def as_json(text: str, types: Types) -> str:
    """The value as written if that is JSON of one of these types, else a string.

    as_json("7", {"integer"}) == "7"; as_json("7", STRING) == '"7"'; as_json("seven", {"integer"}) == '"seven"'
    """
    spelled = PYTHON_WORDS.get(text.strip(), text.strip())
    try:
        value_type = _type_of(msgspec.json.decode(spelled))
    except (msgspec.DecodeError, RecursionError):
        return quoted(text)
    if types == ANY:
        return quoted(text) if value_type == "string" else spelled
    allowed = types | {"integer", "null"} if "number" in types else types | {"null"}
    return spelled if types != STRING and value_type in allowed else quoted(text)


def quoted(text: str) -> str:
    """A JSON string."""
    return msgspec.json.encode(text).decode()


def _type_of(value: object) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return JSON_TYPES[type(value)]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
