"""Shares pipelines: commands that are issued while one is under way go into the next one, without a timer.

One caller pays one round trip; a thousand callers in one tick of the event loop share one round trip.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rollout.errors import StoreUnavailable
from rollout.store.refusals import why_unavailable

Argument: TypeAlias = str | bytes | int | float
Waiting: TypeAlias = tuple[tuple[Argument, ...], "asyncio.Future[object]"]


class CommandBatcher:
    """Sends commands to Redis in shared pipelines, each under one deadline."""

    def __init__(self, redis: Redis, *, deadline_seconds: float) -> None:
        self._redis = redis
        self._deadline_seconds = deadline_seconds
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, *command: Argument) -> asyncio.Future[object]:
        """Queue a command; the future gets its reply, or the error that Redis answered."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((command, future))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        return future

    async def close(self) -> None:
        """Fail the commands that are still waiting."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _drain(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                deliver(batch, await self._replies([command for command, _ in batch]))
        finally:
            self._task = None
            lost = [*batch, *self._waiting]
            deliver(lost, [StoreUnavailable("the store was closed")] * len(lost))

    async def _replies(self, commands: list[tuple[Argument, ...]]) -> Sequence[object]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                replies: list[object] = await pipeline.execute(raise_on_error=False)
        except (TimeoutError, RedisTimeoutError):
            why = f"no answer within {self._deadline_seconds:g} s"
            return [StoreUnavailable(why)] * len(commands)
        except (RedisConnectionError, OSError) as error:
            return [StoreUnavailable(why_unavailable(error) or str(error))] * len(commands)
        except RedisError as error:
            return [error] * len(commands)
        return [
            StoreUnavailable(str(reply)) if isinstance(reply, RedisConnectionError) else reply
            for reply in replies
        ]


def deliver(batch: Sequence[Waiting], replies: Sequence[object]) -> None:
    """Give each reply to its caller, unless the caller was cancelled."""
    for (_, future), reply in zip(batch, replies, strict=True):
        if future.done():
            continue
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
