"""Where the trainer's synchronous code calls the asynchronous store and engines.

One event loop in one thread keeps leases and heartbeats alive while torch is busy. A call is retried while Redis is unreachable,
which is safe because transitions may be repeated, until the process is asked to stop.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_random_exponential,
)

from rollout.errors import LedgerAddressWrong, LedgerUnavailable, PolicyNotWritten, StoreUnavailable

log = logging.getLogger("trainer.async_bridge")

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_WAIT_SECONDS = 5.0

WaitListener = Callable[[BaseException], None]


class Stopped(Exception):
    """The process was asked to stop while it waited for a service or a disk."""


class AsyncBridge:
    """Runs coroutines for synchronous code; `stop` may be called from a signal handler."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._stop_seen = portal.call(anyio.Event)
        self._stopped = threading.Event()
        self._tell: WaitListener = _ignore

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

    def on_wait(self, tell: WaitListener) -> None:
        """`tell` is called each time a service was away, before the next try."""
        self._tell = tell

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine to its end; retry while the store is unavailable. Raises Stopped if asked to stop meanwhile."""
        return self._patiently((StoreUnavailable,), partial(function, *args, **kwargs))

    def call_with_ledger(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `call`, and wait for the ledger too."""
        waited_for = (StoreUnavailable, LedgerUnavailable)
        return self._patiently(waited_for, partial(function, *args, **kwargs))

    def write(self, action: Callable[[], T]) -> T:
        """Do something on the disk; retry while it refuses. Raises Stopped if asked to stop meanwhile."""

        async def act() -> T:
            return await asyncio.to_thread(action)

        return self._patiently((OSError, PolicyNotWritten), act)

    def _patiently(
        self, waited_for: tuple[type[Exception], ...], function: Callable[[], Awaitable[T]]
    ) -> T:
        retrying = Retrying(
            retry=retry_if_exception_type(waited_for)
            & retry_if_not_exception_type(LedgerAddressWrong),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_SECONDS),
            stop=lambda _: self.is_stopping,
            sleep=self.wait,
            before_sleep=self._before_wait,
            reraise=True,
        )

        async def run() -> T:
            return await function()

        try:
            result: T = retrying(self._portal.call, run)
        except LedgerAddressWrong:
            raise
        except waited_for as error:
            raise Stopped(str(error)) from error
        return result

    def _before_wait(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        fields = {"error": str(error), "attempt": state.attempt_number}
        log.warning("waiting for a service", extra=fields)
        if error is not None:
            self._tell(error)

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
        """Await `function`; cancel it as soon as the process is asked to stop. Its errors rise as they are, in no group."""
        awaited = asyncio.ensure_future(_awaited(function))
        stop_seen = asyncio.ensure_future(self._stop_seen.wait())
        try:
            await asyncio.wait({awaited, stop_seen}, return_when=asyncio.FIRST_COMPLETED)
            if awaited.done():
                await awaited
        finally:
            for task in (awaited, stop_seen):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


async def _awaited(function: Callable[[], Awaitable[object]]) -> None:
    await function()


def _ignore(_: BaseException) -> None:
    return None
