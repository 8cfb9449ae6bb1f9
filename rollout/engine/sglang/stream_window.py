"""Paces a stream of tokens: the first at once, then what comes within a window as one chunk, the last without a wait."""

import asyncio


class StreamWindow:
    """Begins with each chunk and is over after its time, or when the answer has ended. It costs one timer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._has_ended = False
        self._waiter: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """A chunk is complete; what comes from now on is part of the next."""
        self._due = self._loop.time() + self._seconds

    def end(self) -> None:
        """No more will come."""
        self._has_ended = True
        self._wake()

    async def over(self) -> None:
        if self._has_ended or self._loop.time() >= self._due:
            return
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(self._due, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
