"""What can go wrong in a request, in OpenAI's shape.

ApiError                      carries status, type, code, param, retry-after
├── BadRequest                400  the body or its combination of carriers makes no sense
│   └── ContextOverflow       400  `context_length_exceeded`
├── Unauthenticated           401
├── Forbidden                 403  the key lacks the scope
├── NotFound                  404
├── Conflict                  409  sealed, claimed, settled, a retry key with another body, a damaged policy
├── TooLarge                  413
├── TooMany                   429  a key's limit, or a backlog that would be stale
└── Unavailable               503  no engine or no store answers

Errors of `rollout` are translated here and nowhere else.
"""

from collections.abc import Mapping

import orjson

from rollout import errors as rollout_errors
from rollout.chat_template.rendering import TemplateError
from rollout.engine import errors as engine_errors

# Engines and stores that are away come back within seconds or need a person.
RETRY_AFTER_SECONDS = 2.0


class ApiError(Exception):
    """An answer that is an error; permanent ones tell every SDK not to retry."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.code
        self.retry_after = retry_after

    @property
    def body(self) -> bytes:
        return error_body(self.message, type_=self.type, code=self.code, param=self.param)

    @property
    def headers(self) -> dict[str, str]:
        return error_headers(self.status, self.retry_after)


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"


class ContextOverflow(BadRequest):
    code = "context_length_exceeded"


class Unauthenticated(ApiError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(ApiError):
    status = 403
    type = "permission_error"
    code = "insufficient_scope"


class NotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class Conflict(ApiError):
    status = 409
    type = "conflict_error"
    code = "conflict"


class TooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class TooMany(ApiError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class Unavailable(ApiError):
    status = 503
    type = "server_error"
    code = "unavailable"


def error_body(message: str, *, type_: str, code: str | None, param: str | None) -> bytes:
    error = {"message": message, "type": type_, "param": param, "code": code}
    return orjson.dumps({"error": error})


def error_headers(status: int, retry_after: float | None) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if status in (429, 503):
        seconds = RETRY_AFTER_SECONDS if retry_after is None else retry_after
        headers["retry-after"] = str(max(1, round(seconds)))
    elif status < 500:
        headers["x-should-retry"] = "false"
    return headers


# The first class in an error's own order that stands here decides; an engine's refusal of a request is the caller's.
_OURS: Mapping[type, tuple[type[ApiError], str]] = {
    rollout_errors.NoSuchEpisode: (NotFound, "episode_not_found"),
    rollout_errors.NoSuchTurn: (NotFound, "turn_not_found"),
    rollout_errors.NoSuchGroup: (NotFound, "group_not_found"),
    rollout_errors.EpisodeSealed: (Conflict, "episode_sealed"),
    rollout_errors.EpisodeClaimed: (Conflict, "episode_claimed"),
    rollout_errors.EpisodeSettled: (Conflict, "episode_settled"),
    rollout_errors.GroupClosed: (Conflict, "group_closed"),
    rollout_errors.RetryMismatch: (Conflict, "idempotency_key_reused"),
    rollout_errors.PolicyDamaged: (Conflict, "policy_damaged"),
    rollout_errors.Backlogged: (TooMany, "backlogged"),
    rollout_errors.StoreUnavailable: (Unavailable, "store_unavailable"),
    rollout_errors.LedgerUnavailable: (Unavailable, "ledger_unavailable"),
    engine_errors.EngineRejected: (BadRequest, "engine_rejected"),
    engine_errors.EngineError: (Unavailable, "engine_unavailable"),
    TemplateError: (BadRequest, "template_error"),
}


# What a request may run into; anything else is a mistake of ours, answered 500 and logged with its traceback.
EXPECTED = (ApiError, rollout_errors.RolloutError, TemplateError)


def translate(error: Exception) -> ApiError:
    """Give any error of ours its status and code."""
    if isinstance(error, ApiError):
        return error
    for kind in type(error).__mro__:
        if kind in _OURS:
            shape, code = _OURS[kind]
            return shape(str(error), code=code, retry_after=getattr(error, "retry_after", None))
    return ApiError("something went wrong inside the gateway; its log says what", code="internal")
