"""Anthropic's error body, which its SDKs turn into exceptions."""

import orjson

from gateway.errors import ApiError, ContextOverflow

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


def error_object(error: ApiError) -> dict[str, object]:
    fields = {"type": _TYPES.get(error.status, "invalid_request_error"), "message": _message(error)}
    if error.code is not None:
        fields["code"] = error.code
    return {"type": "error", "error": fields, "request_id": error.request_id}


def _message(error: ApiError) -> str:
    """Claude Code shortens its conversation when it reads these words."""
    return (
        f"prompt is too long: {error.message}"
        if isinstance(error, ContextOverflow)
        else error.message
    )


def error_body(error: ApiError) -> bytes:
    return orjson.dumps(error_object(error))
