"""What is wrong with a control-plane call, in the caller's words: its field, with the index in a list, and no value.

The offending value is not repeated: it may be NaN, or 30 MB.
"""

from collections.abc import Iterable

from fastapi.exceptions import RequestValidationError

from gateway.api.requests import MANY, ONE
from gateway.errors import ApiError, BadRequest, InvalidValue

MAX_NAMED = 8  # unknown fields, each cut at MAX_CHARACTERS
MAX_CHARACTERS = 64


def by_schema(error: RequestValidationError) -> ApiError:
    """The first mistake; of unknown fields all."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"the body is not valid JSON: {first['msg']}", code="invalid_json")
    unknown = [field(each["loc"]) for each in errors if each["type"] == "extra_forbidden"]
    if unknown:
        named = ", ".join(unknown[:MAX_NAMED])
        return InvalidValue(
            f"no such field: {named}; leave it out or check its spelling",
            param=unknown[0],
            code="unknown_field",
        )
    param = field(first["loc"]) or None
    words = reason(first)
    return InvalidValue(f"{param}: {words}" if param else words, param=param)


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


def reason(error: dict[str, object]) -> str:
    """What a check of ours says, without the validator's prefix."""
    return str(error["msg"]).removeprefix("Value error, ")
