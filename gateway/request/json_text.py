"""Writes JSON values that a caller sent. Integers beyond 64 bits and very deep nesting can be read but not written."""

import logging

import orjson

from gateway.errors import BadRequest

log = logging.getLogger(__name__)


def json_text(value: object, param: str) -> bytes:
    """The value as compact JSON. Raises BadRequest that names the field."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        log.debug("value refused", extra={"param": param, "reason": str(error)})
        words = "it has half a character, an integer of more than 64 bits, or is nested too deeply"
        raise BadRequest(f"{param}: {words}", param=param, code="invalid_value") from None
