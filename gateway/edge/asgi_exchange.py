"""A request that comes as ASGI: its body is counted and decompressed, and its reply gets the headers of every reply."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from starlette.types import Message, Receive, Scope, Send

from gateway.access.rate_limits import RATE_LIMITS
from gateway.edge.content_encoding import decoding
from gateway.edge.request_id import request_id
from gateway.endpoint.exchange import CLIENT_GONE, REQUEST_ID, ClientGone, Endpoint, Presence
from gateway.errors import TooLarge
from gateway.turn.event_stream import Header

PATH_EPISODE = "turngate.path_episode"  # scope key: the episode named by the path's prefix
T = TypeVar("T")


class AsgiExchange:
    """What an endpoint gets, and what the application gets as `receive` and `send`."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        endpoint: Endpoint | None,
        limit: int,
    ) -> None:
        self.scope = scope
        self.headers = dict(scope["headers"])
        self.request_id = request_id(self.headers)
        scope[REQUEST_ID] = self.request_id
        self.started = time.perf_counter()
        self.status = CLIENT_GONE
        self.is_answered = False
        self.receive: Receive = self._receive_counted
        self.endpoint = endpoint  # None: the application answers
        self._receive = receive
        self._send = send
        self._limit = limit
        self._num_bytes = 0

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def route(self) -> str:
        """The route's template, so that ids in paths do not become label values."""
        if self.endpoint is not None:
            return self.endpoint.path
        return getattr(self.scope.get("route"), "path", None) or "unmatched"

    @property
    def path_episode(self) -> str | None:
        return self.scope.get(PATH_EPISODE)

    def open_body(self) -> None:
        """Raises TooLarge for the length that the client declares, and UnsupportedEncoding."""
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()
        encoding = self.headers.get(b"content-encoding")
        if encoding:
            self.receive = decoding(self._receive_counted, encoding, limit=self._limit)

    async def body(self) -> bytes:
        chunks = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(chunks)

    async def while_connected(self, work: Coroutine[None, None, T]) -> T:
        presence = Presence()

        async def watch() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass
            presence.leave()

        watcher = asyncio.create_task(watch())
        try:
            return await presence.during(work)
        finally:
            watcher.cancel()

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data})

    async def send(self, message: Message) -> None:
        self.is_answered = message["type"] == "http.response.body" and not message.get("more_body")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self.request_id.encode()),
                *self.scope.get(RATE_LIMITS, ()),
            ]
        await self._send(message)

    async def _receive_counted(self) -> Message:
        message = await self._receive()
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > self._limit:
            raise self._too_large()
        return message

    def break_off(self, error: Exception) -> None:
        """The server closes the connection, which shows that the answer is not whole."""
        raise error

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._limit} bytes; send less, or raise the limit"
        )
