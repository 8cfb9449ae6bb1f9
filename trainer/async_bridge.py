"""Where the trainer's synchronous code calls the asynchronous store and engines.

One event loop in one thread; it keeps leases and heartbeats alive while torch is busy. A call rides out an unreachable Redis, because
repeating a transition is safe, until the process is told to stop.
"""

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from rollout.errors import StoreUnavailable

log = logging.getLogger("trainer.async_bridge")

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_WAIT_SECONDS = 10.0


class Stopped(Exception):
    """The process was told to stop while it waited for something outside it."""


class AsyncBridge:
    """The door; `stop` may be called from a signal handler."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._stop_seen = portal.call(anyio.Event)
        self._stopped = threading.Event()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["AsyncBridge"]:
        with start_blocking_portal() as portal:
            yield cls(portal)

    @property
    def is_stopping(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """Wake whoever waits; a call to an unreachable store gives up."""
        self._stopped.set()
        self._portal.start_task_soon(self._stop_seen.set)

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond the moment the process is told to stop."""
        self._stopped.wait(seconds)

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run to the end, again and again while the store is unavailable."""
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_exponential(multiplier=0.2, max=LONGEST_WAIT_SECONDS),
            stop=lambda _: self.is_stopping,
            sleep=self.wait,
            before_sleep=_say_why,
            reraise=True,
        )

        async def run() -> T:
            return await function(*args, **kwargs)

        result: T = retrying(self._portal.call, run)
        return result

    def close(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run the end of something that was opened here."""
        self._portal.call(function)

    @contextmanager
    def background(self, function: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Keep `function` running beside the block and cancel it at the end; its error is the block's."""
        future = self._portal.start_task_soon(function)
        try:
            yield
            if future.done():
                future.result()
        finally:
            future.cancel()

    async def until_stopped(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await `function`, or give it up as soon as the process is told to stop."""

        async def cancel_when_stopped(scope: anyio.CancelScope) -> None:
            await self._stop_seen.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_stopped, tasks.cancel_scope)
            await function()
            tasks.cancel_scope.cancel()


def _say_why(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("store unavailable", extra={"error": str(error), "attempt": state.attempt_number})
