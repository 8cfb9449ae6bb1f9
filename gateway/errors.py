"""What can go wrong in a request. A dialect writes the body; the words in `type` and `code` are OpenAI's.

ApiError                      carries status, type, code, param, retry-after
├── BadRequest                400  the body is wrong, or it and the headers name different episodes
│   └── ContextOverflow       400  `context_length_exceeded`
├── Unauthenticated           401
├── Forbidden                 403  the key lacks the scope
├── NotFound                  404
├── MethodNotAllowed          405
├── TooSlow                   408  the request did not arrive in time
├── Conflict                  409  sealed, claimed, settled, a retry key with another body, a damaged policy
├── Gone                      410  the session of the key has ended
├── TooLarge                  413
├── UnsupportedEncoding       415  of the body
├── InvalidValue              422  a field of a control-plane call
├── HeadTooLarge              431  headers and address
├── TooMany                   429  a key's limit, or a backlog that would be stale
└── Unavailable               503  no engine or no store answers

Errors of `rollout` are translated here and nowhere else.
"""

from collections.abc import Mapping

from rollout import errors as rollout_errors
from rollout.chat_template.rendering import TemplateError
from rollout.engine import errors as engine_errors
from rollout.engine.grammar import AfterThought, Ebnf, JsonSchema, Regex, ToolCalls

# An engine or a store that does not answer is back within seconds, or a person has to repair it.
RETRY_AFTER_SECONDS = 2.0


class ApiError(Exception):
    """An error that is answered; if it is permanent, a header keeps every SDK from retrying."""

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
        self.request_id: str | None = None  # of the call that it answers

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self.status in (429, 503):
            seconds = RETRY_AFTER_SECONDS if self.retry_after is None else self.retry_after
            headers["retry-after"] = str(max(1, round(seconds)))
        elif self.status < 500 and self.status != 408:
            headers["x-should-retry"] = "false"
        return headers


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


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Conflict(ApiError):
    status = 409
    type = "conflict_error"
    code = "conflict"


class Gone(ApiError):
    status = 410
    type = "invalid_request_error"
    code = "session_ended"


class TooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class TooSlow(ApiError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class UnsupportedEncoding(ApiError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_encoding"


class HeadTooLarge(ApiError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class InvalidValue(ApiError):
    status = 422
    type = "invalid_request_error"
    code = "invalid_value"


class TooMany(ApiError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class Unavailable(ApiError):
    status = 503
    type = "server_error"
    code = "unavailable"


# The first class in an error's method resolution order that is listed here decides. What an engine rejects is the caller's mistake.
_OURS: Mapping[type, tuple[type[ApiError], str]] = {
    rollout_errors.NoSuchEpisode: (NotFound, "episode_not_found"),
    rollout_errors.NoSuchTurn: (NotFound, "turn_not_found"),
    rollout_errors.NoSuchGroup: (NotFound, "group_not_found"),
    rollout_errors.EpisodeSealed: (Conflict, "episode_sealed"),
    rollout_errors.EpisodeClaimed: (Conflict, "episode_claimed"),
    rollout_errors.EpisodeSettled: (Conflict, "episode_settled"),
    rollout_errors.GroupClosed: (Conflict, "group_closed"),
    rollout_errors.RetryMismatch: (Conflict, "idempotency_key_reused"),
    rollout_errors.AttemptSuperseded: (Unavailable, "attempt_superseded"),
    rollout_errors.PolicyDamaged: (Conflict, "policy_damaged"),
    rollout_errors.KeyDeleted: (Conflict, "key_deleted"),
    rollout_errors.ValueRefused: (InvalidValue, "invalid_value"),
    rollout_errors.Backlogged: (TooMany, "backlogged"),
    rollout_errors.TooManyOpenEpisodes: (TooMany, "too_many_open_episodes"),
    rollout_errors.StoreUnavailable: (Unavailable, "store_unavailable"),
    rollout_errors.LedgerUnavailable: (Unavailable, "ledger_unavailable"),
    engine_errors.GrammarRefused: (BadRequest, "grammar_refused"),
    engine_errors.EngineRejected: (BadRequest, "engine_rejected"),
    engine_errors.EngineError: (Unavailable, "engine_unavailable"),
    TemplateError: (BadRequest, "template_error"),
}


# Errors that a correct gateway may meet; any other is a bug, answered 500 and logged with its traceback.
EXPECTED = (ApiError, rollout_errors.RolloutError, TemplateError)


_FIELDS = {Regex: "regex", Ebnf: "ebnf", JsonSchema: "response_format", ToolCalls: "tools"}


def _field(error: Exception) -> str | None:
    """The field of the request that a refused grammar came from."""
    if isinstance(error, engine_errors.GrammarRefused):
        grammar = error.grammar
        return _FIELDS[type(grammar.grammar if isinstance(grammar, AfterThought) else grammar)]
    return None


# Our words for what an engine says of a call, by a part of its own.
_REFUSED = {
    "no tokens": "the prompt has no tokens",
    "vocabulary": "a token id is outside the model's vocabulary",
    "context length": "the prompt and max_tokens are more than fit into the context; shorten one of them",
    "maximum allowed length": "the prompt is longer than the engine takes; shorten it",
    "memory budget": "the prompt is longer than fits into the engine's memory; shorten it",
    "image": "it cannot read an image of the call",
}


def _refused(why: str) -> str:
    known = (words for part, words in _REFUSED.items() if part in why)
    return next(
        known, "it does not take a setting or a part of the prompt; the gateway's log says which"
    )


def _message(error: Exception) -> str:
    """What the caller may know: neither the addresses of engines nor what went wrong inside of them."""
    match error:
        case engine_errors.GrammarRefused():
            return str(error)
        case engine_errors.EngineRejected():
            return f"the engine refuses the call: {_refused(error.why)}"
        case engine_errors.EngineTimeout():
            return "the engine did not answer in time; retry"
        case engine_errors.NoEngine():
            return "no engine can serve now; retry"
        case engine_errors.EngineError():
            return "the engine failed in the middle of the call; retry"
    return str(error)


def translate(error: Exception) -> ApiError:
    """Give an error its status and code."""
    if isinstance(error, ApiError):
        return error
    for kind in type(error).__mro__:
        if kind in _OURS:
            shape, code = _OURS[kind]
            return shape(
                _message(error),
                code=code,
                param=_field(error),
                retry_after=getattr(error, "retry_after", None),
            )
    return ApiError("something went wrong inside the gateway; its log says what", code="internal")
