"""OpenAI's error body, which every OpenAI SDK turns into an exception."""

import orjson

from gateway.errors import ApiError


def error_body(error: ApiError) -> bytes:
    fields = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return orjson.dumps({"error": fields})
