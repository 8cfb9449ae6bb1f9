"""Waits for changes instead of polling: the trainer for a ready group, others for any change.

A signal means only "read the store again". It may come without a change and is lost while the connection is down, so a
waiter reads the store after every signal, every timeout and every reconnection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from rollout.errors import StoreUnavailable
from rollout.store.refusals import why_unavailable


class Signals:
    """Waits for the signals of a project's transitions, each waiter on its own connection."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def wait_ready(self, timeout_seconds: float) -> bool:
        """Block until a group may have become ready; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._redis.blpop([self._prefix + "ready_signal"], 0)
        except TimeoutError:
            return False
        except (RedisError, OSError) as error:
            raise StoreUnavailable(why_unavailable(error) or str(error)) from error
        return True

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator["Subscription"]:
        """Receive every change from now on."""
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(self._prefix + "signal")
            yield Subscription(pubsub)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(why_unavailable(error) or str(error)) from error
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]


class Subscription:
    """A project's changes: `deadline` (one is earlier), `settled` (the ledger's outbox grew), `policy` (one was recorded)."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def wait(self, timeout_seconds: float | None) -> str | None:
        """The next change, or None when the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    message = await self._pubsub.get_message(timeout=None)
                    if message is not None:
                        return str(message["data"].decode(errors="replace"))
        except TimeoutError:
            return None
