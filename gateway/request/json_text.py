"""JSON a caller sent, written again. Numbers beyond 64 bits and the deepest nesting can be read but not written."""

import orjson

from gateway.errors import BadRequest


def json_text(value: object, param: str) -> bytes:
    """The value as compact JSON, or a refusal that names where it came from."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise BadRequest(f"{param}: {error}", param=param, code="invalid_value") from None
