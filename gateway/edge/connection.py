"""One HTTP connection: uvicorn's protocol, and limits on what a client may make it hold and how long.

A client that stops in the middle of a request, or that does not take its reply, is cut. Time is counted in looks of the
server (`look`, once a second) and not by a clock, so that a process that was stopped for a while cuts nobody.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.edge.request_id import new_request_id
from gateway.errors import ApiError, BadRequest, HeadTooLarge, TooSlow, Unavailable

MAX_HEAD_BYTES = 65_536  # of the request line and the headers
MIN_BYTES_PER_LOOK = 10_000  # of a body; slower ones may take the time of a small body in all
# Longer than clients (httpx 5 s) and most load balancers (60 s) keep an idle connection: if the server closed first, a call
# could be sent on a connection that is being closed.
KEEP_ALIVE_SECONDS = 75
# Among the headers of all answers of a server that leaves: each is the last one of its connection.
CLOSE = (b"connection", b"close")
LINGER_LOOKS = 5  # a client that still sends would otherwise lose the answer that refuses it

ErrorResponse = Callable[[str, ApiError, str], Response]


class ConnectionLimits(NamedTuple):
    max_connections: int
    slow_seconds: int  # to send a head, to send a small body, to take a part of a reply


class Connection(HttpToolsProtocol):
    def __init__(
        self, *args: Any, limits: ConnectionLimits, error_response: ErrorResponse, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._error_response = error_response
        self._is_receiving = True  # a request has begun, or the first one is awaited
        self._is_in_head = False
        self._is_refused = False
        self._num_bytes = 0  # of the request
        self._looks = 0  # since it began
        self._blocked_looks = 0  # since the client took a part of a reply
        self._closing_looks = 0
        self._error: ApiError = BadRequest("the request is not valid HTTP", code="invalid_http")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self.refuse(Unavailable("too many connections are open; try again", code="busy"))

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._is_receiving:
            data = data.lstrip(b"\r\n")  # some clients send an empty line after a body
            if not data:
                return
            self._is_receiving = True
            self._num_bytes = self._looks = 0
        self._num_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._num_bytes > MAX_HEAD_BYTES:
            self.refuse(_head_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._num_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._error = _head_too_large()
            raise ValueError("head too large")
        self.begin_request()

    def begin_request(self) -> None:
        """Its head is here."""
        super().on_headers_complete()

    def give_up_request(self) -> None:
        """To those who answer it, the client has left."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.end_request()

    def end_request(self) -> None:
        """All of it is here."""
        self._is_receiving = False

    def resume_writing(self) -> None:
        self._blocked_looks = 0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self.refuse(self._error)

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way, and nothing of the next one has come."""
        has_begun = self._is_receiving and self._num_bytes > 0
        return not has_begun and (self.cycle is None or self.cycle.response_complete)

    def look(self) -> None:
        """Cut a client that is too slow. Called about once a second."""
        seconds = self._limits.slow_seconds
        if self.transport.is_closing():
            self._closing_looks += 1
            if self._closing_looks > seconds:
                self.transport.abort()
        elif self.flow.write_paused:
            self._blocked_looks += 1
            if self._blocked_looks > seconds:
                self.transport.abort()
        elif self._is_refused:
            self._looks += 1
            if self._looks > LINGER_LOOKS:
                self.transport.close()
        elif self._is_receiving and not self.flow.read_paused:
            self._looks += 1
            if self._looks > self._patience():
                self._cut_sender()

    def _patience(self) -> float:
        if not self._num_bytes:
            return KEEP_ALIVE_SECONDS
        if self._is_in_head:
            return self._limits.slow_seconds
        return self._limits.slow_seconds + self._num_bytes / MIN_BYTES_PER_LOOK

    def _cut_sender(self) -> None:
        if self._num_bytes == 0 or (self.cycle is not None and self.cycle.response_started):
            self.transport.close()
            return
        self.refuse(TooSlow("the request did not arrive in time; send it faster"))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def refuse(self, error: ApiError) -> None:
        """Answer outside of the application, and drop what else arrives until the client has read it."""
        if self._is_refused:
            return
        self._is_refused = True
        self._looks = 0
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.give_up_request()
        url = b"" if self.scope is None else self.url
        path = url.partition(b"?")[0].decode("latin-1")
        request_id = new_request_id()
        self.transport.write(_written(self._error_response(path, error, request_id), request_id))
        if self.transport.can_write_eof():
            with suppress(OSError):  # of a client that is gone already
                self.transport.write_eof()


def _written(response: Response, request_id: str) -> bytes:
    headers = [
        *response.raw_headers,
        CLOSE,
        (b"x-request-id", request_id.encode()),
    ]
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"the headers and the address are larger than {MAX_HEAD_BYTES} bytes; send less"
    )
