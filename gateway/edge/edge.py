"""Around every request: its id, the episode in its path, a limit on its body, one measurement, errors that nothing answered.

Plain ASGI on purpose: Starlette's BaseHTTPMiddleware hides disconnects and buffers streams.
"""

import logging
import re
import time
from collections.abc import Coroutine, Mapping
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dialects.registry import Dialects
from gateway.edge.asgi_exchange import PATH_EPISODE, AsgiExchange
from gateway.edge.body_limit import BodyLimit
from gateway.edge.spelling import canonical, with_escaped_slashes
from gateway.endpoint.exchange import CLIENT_GONE, Endpoint, Exchange
from gateway.errors import EXPECTED, translate
from gateway.metrics import Metrics
from rollout.engine.errors import EngineError

log = logging.getLogger(__name__)

_EPISODE_PATH = re.compile(r"^/e/([^/]+)(/.*)?$")


class Observed(Exchange, Protocol):
    """What the edge sees of an exchange."""

    @property
    def path(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def started(self) -> float: ...
    @property
    def status(self) -> int: ...
    @property
    def is_answered(self) -> bool: ...

    def break_off(self, error: Exception) -> None:
        """End an answer that is not whole, so that the client sees it."""


class Edge:
    """The outermost layer. It calls model endpoints directly, without the application's dozen layers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoints: Mapping[str, Endpoint],
        dialects: Dialects,
        metrics: Metrics,
        body_limit: BodyLimit,
    ) -> None:
        self.endpoints = endpoints
        self._app = app
        self._dialects = dialects
        self._metrics = metrics
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] not in self.endpoints:
            scope = routed(scope)
        endpoint = self.endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        limit = self.body_limit.model_call if endpoint else self.body_limit.other
        exchange = AsgiExchange(scope, receive, send, endpoint=endpoint, limit=limit)
        await self.observe(exchange, self._answer(exchange))

    async def _answer(self, exchange: AsgiExchange) -> None:
        exchange.open_body()
        if exchange.endpoint is not None:
            await exchange.endpoint.answer(exchange)
        else:
            await self._app(exchange.scope, exchange.receive, exchange.send)

    async def observe(self, exchange: Observed, work: Coroutine[None, None, None]) -> None:
        """Do the work of an exchange, answer its errors and count it."""
        try:
            await work
        except Exception as error:
            if exchange.status == CLIENT_GONE:
                answer = self._dialects.error_response(
                    exchange.path, translate(error), exchange.request_id
                )
                await exchange.start(answer.status_code, answer.raw_headers)
                await exchange.end(bytes(answer.body))
            if isinstance(error, EngineError):  # the caller is not told which engine it was
                log.warning("call failed", extra={"route": exchange.route, "reason": str(error)})
            if not isinstance(error, EXPECTED):
                log.error("request failed", extra={"route": exchange.route}, exc_info=error)
                if not exchange.is_answered:
                    exchange.break_off(error)
        finally:
            seconds = time.perf_counter() - exchange.started
            self._metrics.observe_request(exchange.route, exchange.status, seconds)


def routed(scope: Scope) -> Scope:
    """What the router is asked: the path as it knows it, and GET for HEAD, of whose answer the server sends the head."""
    scope["path"] = canonical(with_escaped_slashes(scope["path"], scope["raw_path"]))
    take_episode_from_path(scope)
    scope["path"] = canonical(scope["path"])
    if scope["method"] == "HEAD" and scope["path"] != "/":
        return {**scope, "method": "GET"}
    return scope


def take_episode_from_path(scope: Scope) -> None:
    """Move the episode from the path to the scope: `/e/{episode}/v1/…` becomes `/v1/…`.

    Its id is empty in `/e//v1/…`, which has become `/e/v1/…` here: a setting without a value must not name an episode `v1`.
    """
    match = _EPISODE_PATH.match(scope["path"])
    if match is not None:
        is_missing = match[1] == "v1" and not (match[2] or "").startswith("/v1/")
        scope[PATH_EPISODE] = "" if is_missing else match[1]
        scope["path"] = match[2] or "/"
        scope["raw_path"] = scope["path"].encode()
