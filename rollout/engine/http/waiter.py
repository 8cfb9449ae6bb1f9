"""Waiting for something to happen, with a deadline, at the cost of a future.

One timer serves all waits: it looks at the deadline of the one that waits when it fires, and most are over long before.
"""

import asyncio
import math


class Waiter:
    """One coroutine waits at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0  # the deadline or earlier

    async def wait(self, seconds: float = math.inf) -> None:
        """Until `wake`. Raises TimeoutError."""
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer_due > self._deadline:
            self._set_timer()
        self._future = future = self._loop.create_future()
        try:
            await future
        finally:
            self._future = None

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def close(self) -> None:
        """Keep no timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self.close()
        if self._deadline < math.inf:
            self._timer_due = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        if self._timer_due >= self._deadline:
            self._future.set_exception(TimeoutError())
        else:
            self._set_timer()
