"""Writes JSON values that a caller sent. Integers beyond 64 bits and very deep nesting can be read but not written."""

import orjson

from gateway.errors import BadRequest


def json_text(value: object, param: str) -> bytes:
    """The value as compact JSON. Raises BadRequest that names the field."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise BadRequest(f"{param}: {error}", param=param, code="invalid_value") from None
