"""Around every request: its id, the episode in its path, a limit on its body, one measurement, errors that nothing answered.

Plain ASGI on purpose: Starlette's BaseHTTPMiddleware hides disconnects and buffers streams.
"""

import logging
import re
import secrets
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.rate_limits import RATE_LIMITS
from gateway.dialects.registry import Dialects
from gateway.edge.body_limit import BodyLimit
from gateway.edge.content_encoding import decoding
from gateway.edge.spelling import canonical, with_escaped_slashes
from gateway.endpoint.model_endpoint import PATH_EPISODE, REQUEST_ID, ROUTE
from gateway.errors import EXPECTED, TooLarge, translate
from gateway.metrics import Metrics
from rollout.engine.errors import EngineError

log = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's status for a client that left before it was answered
_EPISODE_PATH = re.compile(r"^/e/([^/]+)(/.*)?$")
_REQUEST_ID = re.compile(rb"^[\x21-\x7e]{1,128}$")


class Edge:
    """The outermost layer. It calls model endpoints directly, without the application's dozen layers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        model_endpoints: Mapping[str, ASGIApp],
        dialects: Dialects,
        metrics: Metrics,
        body_limit: BodyLimit,
    ) -> None:
        self._app = app
        self._model_endpoints = model_endpoints
        self._dialects = dialects
        self._metrics = metrics
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope[REQUEST_ID] = request_id.decode()
        status, is_answered = CLIENT_GONE, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_answered
            is_answered = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    *scope.get(RATE_LIMITS, ()),
                ]
            await send(message)

        if scope["path"] not in self._model_endpoints:
            scope = routed(scope)
        try:
            await self._limited(scope, receive, send_with_id)
        except Exception as error:
            if status == CLIENT_GONE:
                answer = self._dialects.error_response(
                    scope["path"], translate(error), scope[REQUEST_ID]
                )
                await answer(scope, receive, send_with_id)
            if isinstance(error, EngineError):  # the caller is not told which engine it was
                log.warning("call failed", extra={"route": _route(scope), "reason": str(error)})
            if not isinstance(error, EXPECTED):
                log.error("request failed", extra={"route": _route(scope)}, exc_info=error)
                if not is_answered:
                    raise  # the server closes the connection, which shows that the answer is not whole
        finally:
            self._metrics.observe_request(_route(scope), status, time.perf_counter() - started)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body by its declared length, or as soon as it has grown past the limit."""
        model_endpoint = (
            self._model_endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        )
        limit = self._body_limit.model_call if model_endpoint else self._body_limit.other
        length, encoding = _length_and_encoding(scope)
        if length > limit:
            raise _too_large(limit)
        num_bytes = 0

        async def receive_counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > limit:
                raise _too_large(limit)
            return message

        receive_body = (
            decoding(receive_counted, encoding, limit=limit) if encoding else receive_counted
        )
        await (model_endpoint or self._app)(scope, receive_body, send)


def routed(scope: Scope) -> Scope:
    """What the router is asked: the path as it knows it, and GET for HEAD, of whose answer the server sends the head."""
    scope["path"] = canonical(with_escaped_slashes(scope["path"], scope["raw_path"]))
    take_episode_from_path(scope)
    scope["path"] = canonical(scope["path"])
    if scope["method"] == "HEAD" and scope["path"] != "/":
        return {**scope, "method": "GET"}
    return scope


def take_episode_from_path(scope: Scope) -> None:
    """Move the episode from the path to the scope: `/e/{episode}/v1/…` becomes `/v1/…`."""
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


def _length_and_encoding(scope: Scope) -> tuple[int, bytes]:
    length, encoding = 0, b""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"content-encoding":
            encoding = value
    return length, encoding


def _route(scope: Scope) -> str:
    """The route's template, so that ids in paths do not become label values."""
    return scope.get(ROUTE) or getattr(scope.get("route"), "path", None) or "unmatched"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes; send less, or raise the limit")
