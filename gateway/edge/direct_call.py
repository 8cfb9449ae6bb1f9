"""A common model call, answered on its connection without ASGI: one task gets the headers and the whole body.

What is uncommon (see `UNCOMMON`, and large bodies) goes through ASGI, where the same endpoint answers it.
"""

import re
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import NamedTuple, TypeVar

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.access.rate_limits import RATE_LIMITS
from gateway.edge.connection import CLOSE
from gateway.edge.request_id import request_id
from gateway.endpoint.exchange import CLIENT_GONE, ClientGone, Endpoint, Presence
from gateway.turn.event_stream import Header

T = TypeVar("T")

# Compressed bodies, pages of browsers, bodies of unknown length, and bodies that wait until they are asked for.
UNCOMMON = frozenset((b"content-encoding", b"expect", b"origin", b"transfer-encoding", b"upgrade"))
_URL = re.compile(rb'(?:/e/([!"$&-.0->@-~]+))?(/[!"$&->@-~]*)(?:\?[!-~]*)?')  # without % and #


class Target(NamedTuple):
    """Where a call goes."""

    endpoint: Endpoint
    path_episode: str | None


def common_target(
    endpoints: Mapping[str, Endpoint], url: bytes, headers: Mapping[bytes, bytes], *, limit: int
) -> Target | None:
    """The endpoint of a POST that needs no ASGI."""
    found = _URL.fullmatch(url)
    if found is None or not UNCOMMON.isdisjoint(headers):
        return None
    endpoint = endpoints.get(found[2].decode())
    length = headers.get(b"content-length", b"")
    if endpoint is None or not length.isdigit() or int(length) > limit:
        return None
    return Target(endpoint, None if found[1] is None else found[1].decode())


class DirectCall:
    """One exchange, and what its connection asks of a request that is being answered."""

    def __init__(
        self,
        connection: HttpToolsProtocol,
        target: Target,
        headers: Mapping[bytes, bytes],
        *,
        keep_alive: bool,
    ) -> None:
        self.headers = headers
        self.endpoint, self.path_episode = target
        self.request_id = request_id(headers)
        self.scope: Scope = {}
        self.started = time.perf_counter()
        self.status = CLIENT_GONE
        self.presence = Presence()
        self.parts: list[bytes] = []  # of the body
        self.keep_alive = keep_alive
        self.response_started = False
        self.response_complete = False
        self._connection = connection
        self._is_chunked = False
        self._head = b""

    @property
    def route(self) -> str:
        return self.endpoint.path

    @property
    def path(self) -> str:
        return self.endpoint.path

    @property
    def is_answered(self) -> bool:
        return self.response_complete

    async def body(self) -> bytes:
        if self.presence.has_left:
            raise ClientGone
        body, self.parts = b"".join(self.parts), []
        return body

    async def while_connected(self, work: Coroutine[None, None, T]) -> T:
        return await self.presence.during(work)

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        """The head is sent with the first part of the body."""
        self.status, self.response_started = status, True
        self._is_chunked = all(name != b"content-length" for name, _ in headers)
        lines = [STATUS_LINE[status]]
        of_all = self._connection.server_state.default_headers
        for name, value in (
            *of_all,
            *headers,
            (b"x-request-id", self.request_id.encode()),
            *self.scope.get(RATE_LIMITS, ()),
        ):
            lines += (name, b": ", value, b"\r\n")
        if CLOSE in of_all:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"transfer-encoding: chunked\r\n\r\n" if self._is_chunked else b"\r\n")
        self._head = b"".join(lines)

    async def write(self, data: bytes) -> None:
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def end(self, data: bytes) -> None:
        last = b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked and data else data
        await self._send(last + b"0\r\n\r\n" if self._is_chunked else last)
        if self.presence.has_left:
            return
        self.response_complete = True
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def break_off(self, error: Exception) -> None:
        self._connection.transport.close()

    async def _send(self, data: bytes) -> None:
        if self._connection.flow.write_paused:
            await self._connection.flow.drain()
        if not self.presence.has_left:
            self._connection.transport.write(self._head + data)
        self._head = b""
