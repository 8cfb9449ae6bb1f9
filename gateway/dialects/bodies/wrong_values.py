"""What is wrong with a value, in our words: those of the decoder name its own types and change between its releases."""

import re

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_MISSING = re.compile("Object missing required field `(.+)`")
_UNKNOWN = re.compile("Object contains unknown field `(.+)`")
_ENUM = re.compile("Invalid enum value (.+)", re.DOTALL)
_EXPECTED = re.compile(
    "Expected `(?P<kinds>[^`]+)`(?P<length> of length)?"
    "(?: (?P<bound>[<>]=?) (?P<limit>[^ ,]+))?(?:, got `(?P<given>[^`]+)`)?"
)
_BYTE = re.compile(r"\(byte (\d+)\)$")


def wrong_value(text: str) -> str:
    """The decoder's verdict on a value."""
    if found := _MISSING.fullmatch(text):
        return f"{found[1]} is missing"
    if found := _UNKNOWN.fullmatch(text):
        return f"there is no field {found[1]}"
    if found := _ENUM.fullmatch(text):
        return f"{found[1]} is none of the values that are allowed"
    if found := _EXPECTED.fullmatch(text):
        return _expected(found)
    if text == "Number out of range":
        return "the number is too large"
    return "the value is not allowed"


def wrong_json(text: str) -> str:
    """The decoder's verdict on a text that is no JSON."""
    place = _BYTE.search(text)
    where = f"something else is expected at byte {place[1]}" if place else "it ends too early"
    return f"the body is not valid JSON: {where}"


def _expected(found: re.Match[str]) -> str:
    words = "it must be " + _named(found["kinds"])
    if found["bound"]:
        of = "whose length is " if found["length"] else "that is "
        words += f" {of}{_BOUNDS[found['bound']]} {found['limit']}"
    return words + (f", not {_named(found['given'])}" if found["given"] else "")


def _named(kinds: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | "))
