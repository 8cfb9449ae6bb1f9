"""Fills the silences of a stream, so that neither client nor proxy closes its connection."""

import asyncio
from collections.abc import Callable, Coroutine

Fill = Callable[[], Coroutine[None, None, None]]


class Silence:
    """Calls `fill` after each silence. It costs one timer that is set again when it fires, not with each thing sent."""

    def __init__(self, seconds: float, fill: Fill) -> None:
        self._seconds = seconds
        self._fill = fill
        self._loop = asyncio.get_running_loop()
        self._filling: asyncio.Task[None] | None = None
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._since + seconds, self._look)

    def broken(self) -> None:
        """Something is sent."""
        self._since = self._loop.time()

    async def over(self) -> None:
        """Fill no more. What a fill raises is dropped: it fails when the client has left."""
        self._timer.cancel()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)

    def _look(self) -> None:
        due = self._since + self._seconds
        now = self._loop.time()
        if due <= now:
            self._begin_to_fill()
            due = now + self._seconds
        self._timer = self._loop.call_at(due, self._look)

    def _begin_to_fill(self) -> None:
        """Unless the last one still waits for a client that does not read, or has failed."""
        if self._filling is None or (self._filling.done() and self._filling.exception() is None):
            self._filling = self._loop.create_task(self._fill())
