"""Which errors a control-plane call may get, for its description in OpenAPI."""

from typing import Any

from pydantic import BaseModel

Documented = dict[int | str, dict[str, Any]]


class ErrorFields(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorFields


DESCRIPTIONS = {
    400: "What was sent cannot be read, or is no id",
    401: "No such key",
    403: "The key lacks the scope",
    404: "No such thing under the project of the key",
    408: "The request did not arrive in time",
    409: "Its state, or an earlier call with the same idempotency key, forbids it",
    410: "The session has ended",
    413: "The body is too large",
    415: "The encoding of the body is unknown",
    422: "A field is unknown or has a wrong value",
    429: "A limit of the key, or a backlog that would be stale",
    431: "Headers or address are too large",
    503: "A store does not answer",
}


def errors(*statuses: int) -> Documented:
    return {
        status: {"model": ErrorBody, "description": DESCRIPTIONS[status]} for status in statuses
    }


OF_EVERY_CALL = errors(400, 408, 413, 415, 431)
OF_CALLS_WITH_A_KEY = errors(401, 403, 422, 429, 503)
NOT_FOUND = errors(404)
IN_CONFLICT = errors(409)
HAS_ENDED = errors(410)
