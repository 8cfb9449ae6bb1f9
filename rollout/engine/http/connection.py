"""One connection to a server, which carries one call after another.

What arrives while nobody waits is kept; a reader that falls behind stops the peer.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import cast

from rollout.engine.http.response import MalformedResponse, Response
from rollout.engine.http.waiter import Waiter

PIECE_BYTES = 64 * 1024  # of a large body; between two pieces other calls go on
NOTHING = memoryview(b"")
MAX_UNREAD_BYTES = 256 * 1024  # of a stream, until its reader takes some


class Connection(asyncio.Protocol):
    """`begin`, then `read` until it gives nothing or `read_all`, then `release`, whatever happened."""

    def __init__(
        self,
        *,
        on_rest: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.is_open = False
        self.rested_at = 0.0
        self._on_rest = on_rest
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._response: Response | None = None  # None: it rests
        self._waiter = Waiter()
        self._draining: asyncio.TimerHandle | None = None
        self._window: asyncio.TimerHandle | None = None  # set while its end is waited for
        self._window_end = 0.0
        self._error: ConnectionError | None = None
        self._unsent = NOTHING
        self._is_last_call = False
        self._is_streamed = False
        self._is_held_up = False  # the peer does not take what is sent
        self._is_paused = False  # the peer is not read from

    @property
    def status(self) -> int:
        """Of the answer; known once something of it was read."""
        return self._called.status

    def begin(self, head: bytes, body: bytes, *, is_last_call: bool) -> None:
        """Begin a call and send what is no longer than a piece; the rest waits for `send_rest`."""
        if not self.is_open:
            raise ConnectionError("the connection was closed before the call")
        assert self._response is None, "the connection carries another call"
        self._response = Response()
        self._is_last_call = is_last_call
        self._is_streamed = False
        self._unsent = memoryview(body)[PIECE_BYTES:]
        self._transport.write(head + body[:PIECE_BYTES])

    async def send_rest(self) -> None:
        """Send piece after piece as the server takes them; it may answer before it has all."""
        response = self._called
        while self._unsent and not response.is_complete:
            if self._is_held_up:
                await self._wait()
                continue
            if self._error is not None:
                raise self._error
            self._transport.write(self._unsent[:PIECE_BYTES])
            self._unsent = self._unsent[PIECE_BYTES:]
            await asyncio.sleep(0)

    async def read(self, seconds: float) -> bytes:
        """What arrived since the last read; empty at the end. Raises TimeoutError, ConnectionError."""
        response = self._called
        self._is_streamed = True
        while not response.is_complete and not self._has_news:
            await self._wait(seconds)
        if self._is_paused:
            self._resume()
        self._window_end = 0
        return response.take()

    def open_window(self, seconds: float) -> None:
        """The next read gives what arrives within this time together; the end of the answer does not wait for it."""
        if seconds:
            self._window_end = self._loop.time() + seconds

    async def read_all(self, seconds: float) -> bytes:
        """The rest of the answer. Raises TimeoutError, ConnectionError."""
        response = self._called
        self._is_streamed = False
        if self._is_paused:
            self._resume()
        while not response.is_complete:
            await self._wait(seconds)
        return response.take()

    def release(self, *, drain_seconds: float = 0) -> None:
        """End the call. The connection rests until the next one if the answer ends within this time, else it is closed."""
        response = self._response
        if response is None:
            return
        if response.is_complete:
            self._rest()
        elif drain_seconds and self.is_open:
            self._draining = self._loop.call_later(drain_seconds, self.abort)
            if self._is_paused:
                self._resume()
        else:
            self.abort()

    def abort(self) -> None:
        """Close it at once."""
        self.is_open = False
        self._transport.abort()

    @property
    def _has_news(self) -> bool:
        """Whether a reader of a stream gets something now."""
        is_in_window = self._window is not None and self._error is None
        return bool(self._called.num_unread) and not is_in_window

    @property
    def _called(self) -> Response:
        assert self._response is not None, "the connection carries no call"
        return self._response

    def _wait(self, seconds: float = math.inf) -> Awaitable[None]:
        """Until something happens that a reader or a sender waits for."""
        if self._error is not None:
            raise self._error
        return self._waiter.wait(seconds)

    def _arrived(self, response: Response) -> None:
        """A part of a stream."""
        if self._window is None:
            if self._window_end > self._loop.time():
                self._window = self._loop.call_at(self._window_end, self._end_window)
            else:
                self._waiter.wake()
        if response.num_unread > MAX_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _end_window(self) -> None:
        self._window = None
        self._waiter.wake()

    def _fail(self, error: ConnectionError) -> None:
        """What arrived before is still read."""
        if self._error is None:
            self._error = error
        self.abort()
        self._waiter.wake()

    def _answered(self) -> None:
        if self._draining is None:
            self._waiter.wake()
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing of this call may be left for the next."""
        self._cancel_timers()
        keeps = self.is_open and self._called.keeps_connection and not self._is_last_call
        if not keeps or self._unsent or self._is_held_up:
            self.abort()
            return
        if self._is_paused:
            self._resume()
        self._called.close()
        self._response, self._unsent, self._window_end = None, NOTHING, 0
        self.rested_at = time.monotonic()
        self._on_rest(self)

    def _cancel_timers(self) -> None:
        for timer in (self._draining, self._window):
            if timer is not None:
                timer.cancel()
        self._draining = self._window = None

    def _resume(self) -> None:
        self._is_paused = False
        if self.is_open:
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # an answer that nobody asked for
            self.abort()
            return
        try:
            response.feed(data)
        except MalformedResponse as error:
            self._fail(error)
            return
        if response.is_complete:
            self._answered()
        elif self._draining is not None:
            response.take()
        elif self._is_streamed and response.num_unread:
            self._arrived(response)

    def eof_received(self) -> None:
        """The peer sends no more; the transport closes itself."""
        self.is_open = False
        if self._response is None:
            return
        try:
            self._response.end()
        except MalformedResponse as error:
            self._fail(error)
        else:
            self._waiter.wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._cancel_timers()
        self._waiter.close()
        self._on_lost(self)
        if self._response is None:
            return
        self._response.close()
        if not self._response.is_complete:
            why = "the connection was closed" if error is None else f"the connection broke: {error}"
            self._fail(ConnectionError(why))

    def pause_writing(self) -> None:
        self._is_held_up = True

    def resume_writing(self) -> None:
        self._is_held_up = False
        self._waiter.wake()
