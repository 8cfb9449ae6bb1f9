"""What can go wrong in the client. Every message names the thing and the remedy.

TurngateError
├── SettingMissing        no key: neither an argument nor an environment variable
├── PackageMissing        an optional package; the message is the command that installs it
├── NotOpen               an episode is used before its `with` block
├── Unreachable           the gateway does not answer
├── UnexpectedReply       what answers is no gateway
├── ApiError              the gateway refused; carries status, code, type, param, request_id
│   ├── BadRequest        400, 413, 415, 422, 431
│   ├── Unauthenticated   401
│   ├── PermissionDenied  403
│   ├── NotFound          404
│   ├── Conflict          409
│   ├── RateLimited       429; carries retry_after
│   └── Unavailable       408 and 5xx
├── DatasetInvalid        a row without its question, an unreadable file
├── JournalMismatch       the file of another run, or one in use
├── PolicyMoves           the policy cannot be held still
├── AgentInvalid          neither a function nor a command
└── GradingFailed         a grader cannot tell
"""

from collections.abc import Mapping


class TurngateError(Exception):
    """The message names the thing and the remedy."""


class SettingMissing(TurngateError):
    """Neither an argument nor an environment variable gives it."""


class PackageMissing(TurngateError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: run `pip install 'turngate-client[{extra}]'`")


class NotOpen(TurngateError):
    """The episode is used before it is opened."""


class Unreachable(TurngateError):
    """The gateway does not answer, after all retries."""


class UnexpectedReply(TurngateError):
    """The address answers, but not as a gateway does."""


class ApiError(TurngateError):
    """The gateway refused a call, in its own words."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - OpenAI's word
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [str(self.status), *([self.code] if self.code else [])]
        if self.request_id:
            facts.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(facts)})"


class BadRequest(ApiError):
    """A value is wrong; `param` names it."""


class Unauthenticated(ApiError):
    """The key is unknown, deleted or expired."""


class PermissionDenied(ApiError):
    """The key lacks a scope."""


class NotFound(ApiError):
    """There is no such thing in the key's project."""


class Conflict(ApiError):
    """The episode or group has moved on: sealed, claimed, settled, full."""


class RateLimited(ApiError):
    """A limit of the key, or enough episodes wait to be trained."""


class Unavailable(ApiError):
    """The gateway, its store or its engines are away, after all retries."""


class DatasetInvalid(TurngateError):
    """The data set cannot be read as questions."""


class JournalMismatch(TurngateError):
    """The file belongs to another run, or another process uses it."""


class PolicyMoves(TurngateError):
    """The policy cannot be held still with this key."""


class AgentInvalid(TurngateError):
    """It is neither a function nor a command, or returned what is no answer."""


class GradingFailed(TurngateError):
    """A grader cannot tell whether the answer is right."""


KINDS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    429: RateLimited,
}


def kind_of(status: int) -> type[ApiError]:
    return KINDS.get(status, Unavailable if status >= 500 else BadRequest)
