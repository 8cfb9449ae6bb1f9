"""Calls with their retries. Every call that the client makes may be repeated: those that create carry an idempotency key."""

import json
import random
import time
from collections.abc import Mapping

from turngate.errors import (
    ApiError,
    NotFound,
    RateLimited,
    TurngateError,
    Unavailable,
    UnexpectedReply,
    Unreachable,
    kind_of,
)
from turngate.http.transport import Answer, Call, Transport

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0


class Exchange:
    """Sends calls of one key. `patience` bounds the seconds that one call waits for room (429) altogether."""

    def __init__(self, transport: Transport, *, max_retries: int, patience: float) -> None:
        self.transport = transport
        self._max_retries = max_retries
        self._patience = patience

    async def ask(self, call: Call) -> dict[str, object]:
        """Send a call until it is answered; raise the error of its last attempt."""
        ends = time.monotonic() + self._patience
        failures = 0
        while True:
            try:
                return _content(call, await self._attempt(call))
            except (Unreachable, RateLimited, Unavailable) as error:
                wait = _wait(error, failures)
                if isinstance(error, RateLimited):
                    if time.monotonic() + wait > ends:
                        raise
                else:
                    failures += 1
                    if failures > self._max_retries:
                        raise
            except NotFound:
                if call.method == "DELETE" and failures:
                    return {}  # an earlier attempt deleted it, and its answer was lost
                raise
            await self.transport.sleep(wait)

    async def _attempt(self, call: Call) -> Answer:
        answer = await self.transport.send(call)
        if answer.status >= 400:
            raise _refusal(call, answer)
        return answer


def _wait(error: TurngateError, failures: int) -> float:
    """Seconds until the next attempt."""
    if isinstance(error, ApiError) and error.retry_after is not None:
        return error.retry_after
    longest: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**failures)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - so that clients do not come back together


def _content(call: Call, answer: Answer) -> dict[str, object]:
    try:
        content = json.loads(answer.content or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UnexpectedReply(
            f"{call.name} got no JSON object; TURNGATE_BASE_URL must be the address of a gateway"
        )
    return content


def _refusal(call: Call, answer: Answer) -> ApiError:
    said = _error_object(answer)
    message = said.get("message") or f"{call.name} was answered with {answer.status}"
    return kind_of(answer.status)(
        message,
        status=answer.status,
        code=said.get("code"),
        type=said.get("type"),
        param=said.get("param"),
        request_id=answer.headers.get("x-request-id"),
        retry_after=_seconds(answer.headers.get("retry-after")),
    )


def _error_object(answer: Answer) -> Mapping[str, str]:
    """OpenAI's `{"error": {...}}`; empty if the answer is something else, a proxy's page for example."""
    try:
        error = json.loads(answer.content)["error"]
        return {name: str(value) for name, value in error.items() if value is not None}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None
