"""What happens to every request before routing: an id, the episode in its path, a limit on its body, one measurement.

Plain ASGI on purpose: Starlette's BaseHTTPMiddleware hides disconnects and buffers streams.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gateway.errors import EXPECTED, ApiError, TooLarge, translate
from gateway.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENT_GONE = 499  # nginx's word for a request that nobody waited for
ROUTE = "turngate.route"  # scope key: the template of a plain ASGI route's path
PATH_EPISODE = "turngate.path_episode"  # scope key: the episode named by the path prefix
_EPISODE_PATH = re.compile(r"^/e/([^/]+)(/.*)?$")
_REQUEST_ID = re.compile(rb"^[\x21-\x7e]{1,128}$")


class Edge:
    """The outermost layer. Model endpoints are called from here, past the application's dozen layers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        model_endpoints: Mapping[str, ASGIApp],
        metrics: Metrics,
        max_body_bytes: int,
    ) -> None:
        self._app = app
        self._model_endpoints = model_endpoints
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        status = CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        take_episode_from_path(scope)
        try:
            await self._limited(scope, receive, send_with_id)
        except Exception as error:
            if status == CLIENT_GONE:
                await _send_answer(send_with_id, translate(error))
            if not isinstance(error, EXPECTED):
                raise
        finally:
            self._metrics.observe_request(_route(scope), status, time.perf_counter() - started)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body by its declared length, or as soon as it has grown past the limit."""
        if _content_length(scope) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)
        num_bytes = 0

        async def receive_counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            return message

        app = self._model_endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        await (app or self._app)(scope, receive_counted, send)


def take_episode_from_path(scope: Scope) -> None:
    """`/e/{episode}/v1/…` is `/v1/…` with the episode set aside."""
    match = _EPISODE_PATH.match(scope["path"])
    if match is not None:
        scope[PATH_EPISODE] = match[1]
        scope["path"] = match[2] or "/"
        scope["raw_path"] = scope["path"].encode()


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            return bytes(value)
    return b"req_" + secrets.token_hex(12).encode()


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _route(scope: Scope) -> str:
    """The route's template, so that ids in paths do not become label values."""
    return scope.get(ROUTE) or getattr(scope.get("route"), "path", None) or "unmatched"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes; send less, or raise the limit")


async def _send_answer(send: Send, answer: ApiError) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
