"""Where the trainer's synchronous code calls the asynchronous store and engines.

One event loop in one thread keeps leases and heartbeats alive while torch is busy. A call is retried while Redis is unreachable,
which is safe because transitions may be repeated, until the process is asked to stop.
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
    """The process was asked to stop while it waited for a service or a disk."""


class AsyncBridge:
    """Runs coroutines for synchronous code; `stop` may be called from a signal handler."""

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
        """End all waits; calls to an unreachable store are no longer retried."""
        self._stopped.set()
        self._portal.start_task_soon(self._stop_seen.set)

    def wait(self, seconds: float) -> None:
        """Wait, at most until the process is asked to stop."""
        self._stopped.wait(seconds)

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine to its end; retry while the store is unavailable."""
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_exponential(multiplier=0.2, max=LONGEST_WAIT_SECONDS),
            stop=lambda _: self.is_stopping,
            sleep=self.wait,
            before_sleep=_log_retry,
            reraise=True,
        )

        async def run() -> T:
            return await function(*args, **kwargs)

        result: T = retrying(self._portal.call, run)
        return result

    def close(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run a coroutine that closes something, without retries."""
        self._portal.call(function)

    @contextmanager
    def background(self, function: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Run `function` in the background of the block and cancel it at the end; the block raises its error."""
        future = self._portal.start_task_soon(function)
        try:
            yield
            if future.done():
                future.result()
        finally:
            future.cancel()

    async def until_stopped(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await `function`; cancel it as soon as the process is asked to stop."""

        async def cancel_when_stopped(scope: anyio.CancelScope) -> None:
            await self._stop_seen.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_stopped, tasks.cancel_scope)
            await function()
            tasks.cancel_scope.cancel()


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("store unavailable", extra={"error": str(error), "attempt": state.attempt_number})
