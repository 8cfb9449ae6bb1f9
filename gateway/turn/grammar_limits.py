"""What a grammar may hold, because an engine compiles it before it samples and stops for nothing else meanwhile.

Limits on the size of what is written; what still takes too long to compile is the engine's to cut off.
"""

import re
from collections.abc import Iterator, Mapping

from gateway.errors import BadRequest

MAX_DEPTH = 64  # of JSON, three or four levels for each level of a schema
MAX_VALUES = 2_000  # in the enums of one call; OpenAI allows 1,000
MAX_PROPERTIES = 5_000
MAX_ALTERNATIVES = 500
MAX_NESTED_CHOICES = 10  # what each adds multiplies
MAX_LENGTH = 100_000  # of a string or a list whose length the schema bounds
MAX_REGEX = 16_384  # characters
MAX_EBNF = 65_536
MAX_REPEATED = 50_000  # parts of a pattern after its {m,n} are written out

_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_CHOICES = ("anyOf", "oneOf", "allOf")
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\]){0,256}\]|\{(\d{1,9})(,?)(\d{0,9})\}|.", re.DOTALL)


def check_pattern(name: str, text: str, *, max_characters: int) -> None:
    """Refuse a regular expression or grammar rules that are too long, or too long once repetitions are written out."""
    if len(text) > max_characters:
        raise _too_large(name, f"{len(text)} characters", max_characters)
    if num_parts(text) > MAX_REPEATED:
        raise _too_large(name, "the parts of repetitions, written out,", MAX_REPEATED)


def num_parts(pattern: str) -> int:
    """About how many parts a pattern has once repetitions are written out.

    (ab{3}){10}  ->  (a and three b) ten times: 40
    """
    open_groups, total, last = [], 0, 0
    for token in _TOKEN.finditer(pattern):
        match token[0][0], token[1]:
            case "(", _:
                open_groups.append(total)
                total = last = 0
            case ")", _:
                last, total = total, total + (open_groups.pop() if open_groups else 0)
            case "{", str(least):
                times = int(token[3] or least) + bool(token[2] and not token[3])
                total += last * (times - 1)
                last *= times
            case _:
                total, last = total + 1, 1
        if total > MAX_REPEATED:
            return total
    return total + sum(open_groups)


class SchemaLimits:
    """Counts over all schemas of one call; `add` refuses the schema that is too much."""

    def __init__(self) -> None:
        self._counts = {"enum": 0, "properties": 0, "anyOf": 0}

    def add(self, schema: object, where: str) -> None:
        """Raises BadRequest."""
        for node in _nodes(schema, where):
            self._count("enum", node.get("enum"), MAX_VALUES, where)
            self._count("properties", node.get("properties"), MAX_PROPERTIES, where)
            for choice in _CHOICES:
                self._count("anyOf", node.get(choice), MAX_ALTERNATIVES, where)
            for name in _LENGTHS:
                length = node.get(name)
                if isinstance(length, int | float) and length > MAX_LENGTH:
                    raise _too_large(where, f"{name} of {length}", MAX_LENGTH)
            if isinstance(node.get("pattern"), str):
                check_pattern(where, node["pattern"], max_characters=MAX_REGEX)  # type: ignore[arg-type]
        _References(schema, where).check()

    def _count(self, name: str, value: object, limit: int, where: str) -> None:
        if not isinstance(value, list | dict):
            return
        self._counts[name] += len(value)
        if self._counts[name] > limit:
            raise _too_large(where, f"{self._counts[name]} values of {name}", limit)


class _References:
    """The `$ref`s of a schema: each names a part of it, and none leads back to itself before anything is written."""

    def __init__(self, schema: object, where: str) -> None:
        self._schema = schema
        self._where = where
        self._ended: set[str] = set()

    def check(self) -> None:
        for node in _nodes(self._schema, self._where):
            if "$ref" in node:
                self._follow(node["$ref"], ())

    def _follow(self, reference: object, way: tuple[str, ...]) -> None:
        if not isinstance(reference, str) or not (reference == "#" or reference[:2] == "#/"):
            raise self._wrong(
                f"$ref {str(reference)[:64]!r} must name a part of the schema, as #/$defs/name"
            )
        if reference in way or len(way) > MAX_DEPTH:
            raise self._wrong(
                f"$ref {reference[:64]!r} leads to itself before any value is written"
            )
        if reference not in self._ended:
            self._look(self._target(reference), (*way, reference))
            self._ended.add(reference)

    def _look(self, node: object, way: tuple[str, ...]) -> None:
        """Follow what stands for the node itself, not for a part of its value."""
        if not isinstance(node, dict):
            return
        if "$ref" in node:
            self._follow(node["$ref"], way)
        for choice in _CHOICES:
            alternatives = node.get(choice)
            for each in alternatives if isinstance(alternatives, list) else ():
                self._look(each, way)

    def _target(self, reference: str) -> object:
        node = self._schema
        for step in reference.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name[:9]) < len(node):
                node = node[int(name[:9])]
            else:
                raise self._wrong(f"$ref {reference[:64]!r} names nothing in the schema")
        return node

    def _wrong(self, message: str) -> BadRequest:
        return BadRequest(f"{self._where}: {message}", param=self._where, code="invalid_schema")


def _nodes(schema: object, where: str) -> Iterator[Mapping[str, object]]:
    """All objects in a schema."""
    rest: list[tuple[object, int, int]] = [(schema, 0, 0)]
    while rest:
        node, depth, num_choices = rest.pop()
        if depth > MAX_DEPTH:
            raise _too_large(where, "the levels of the schema", MAX_DEPTH)
        if num_choices > MAX_NESTED_CHOICES:
            raise _too_large(where, "the levels of anyOf", MAX_NESTED_CHOICES)
        if isinstance(node, dict):
            yield node
            for name, child in node.items():
                rest.append((child, depth + 1, num_choices + (name in _CHOICES)))
        elif isinstance(node, list):
            rest += [(child, depth + 1, num_choices) for child in node]


def _too_large(where: str, what: str, limit: int) -> BadRequest:
    return BadRequest(
        f"{where}: {what} exceed the limit of {limit} for a grammar; make it smaller",
        param=where,
        code="grammar_too_large",
    )
