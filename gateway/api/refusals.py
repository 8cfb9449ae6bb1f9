"""What is wrong with a control-plane call, in plain words: its field, with the index in a list, and no value.

The validator's own words are for programmers and change between its releases; the log has them. The offending value is not
repeated: it may be NaN, or 30 MB.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError

from gateway.api.requests import MANY, ONE
from gateway.errors import ApiError, BadRequest, InvalidValue

log = logging.getLogger(__name__)

MAX_NAMED = 8  # unknown fields, each cut at MAX_CHARACTERS
MAX_CHARACTERS = 64
WHOLE = "it must be a whole number"
LENGTH = "its length must be at"
# By the validator's kind of error; in braces, what it says of the bound.
WORDS = {
    "missing": "it is missing",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "dict_type": "it must be an object",
    "enum": "it must be {expected}",
    "finite_number": "it must be a finite number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "int_from_float": WHOLE,
    "int_parsing": WHOLE,
    "int_parsing_size": "the number is too large",
    "int_type": WHOLE,
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "list_type": "it must be a list",
    "literal_error": "it must be {expected}",
    "model_attributes_type": "it must be an object",
    "model_type": "it must be an object",
    "string_pattern_mismatch": "it must match {pattern}",
    "string_too_long": f"{LENGTH} most {{max_length}}",
    "string_too_short": f"{LENGTH} least {{min_length}}",
    "string_type": "it must be text",
    "string_unicode": "it has half a character",
    "too_long": f"{LENGTH} most {{max_length}}",
    "value_error": "{error}",  # of a check of ours
}


def by_schema(error: RequestValidationError) -> ApiError:
    """The first mistake; of unknown fields all."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return _not_json(first["loc"][-1])
    unknown = [field(each["loc"]) for each in errors if each["type"] == "extra_forbidden"]
    if unknown:
        named = ", ".join(unknown[:MAX_NAMED])
        return InvalidValue(
            f"no such field: {named}; leave it out or check its spelling",
            param=unknown[0],
            code="unknown_field",
        )
    log.debug("call refused", extra={"reason": first["msg"]})
    param = field(first["loc"]) or None
    words = _words(first)
    return InvalidValue(f"{param or 'the body'}: {words}", param=param)


def field(location: Iterable[str | int]) -> str:
    """`("body", "(many)", 0, "value")` is `[0].value`."""
    _, *parts = location
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in (ONE, MANY):
            text += f".{part[:MAX_CHARACTERS]}" if text else part[:MAX_CHARACTERS]
    return text


def _words(error: Mapping[str, Any]) -> str:
    words = WORDS.get(error["type"], "the value is not allowed")
    return words.format_map(error.get("ctx", {}))


def _not_json(place: str | int) -> BadRequest:
    words = f"the body is not valid JSON: something else is expected at character {place}"
    return BadRequest(words, code="invalid_json")


def unreadable(cause: BaseException) -> BadRequest:
    """What is wrong with a body that cannot be read as JSON at all."""
    match cause:
        case UnicodeDecodeError(start=start):
            words = f"the body is not UTF-8: byte {start} is no part of a character"
        case RecursionError():
            words = "the body is nested too deeply"
        case _:
            words = "the body cannot be read as JSON"
    return BadRequest(words, code="invalid_json")
