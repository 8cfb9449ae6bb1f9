"""A connection to Redis that opens when there is something to send, and again after it broke."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rollout.errors import StoreUnavailable
from rollout.store.connection import open_stream
from rollout.store.pipeline.command import Command, CommandQueue, fail
from rollout.store.pipeline.pipelined_stream import PipelinedStream
from rollout.store.refusals import as_unavailable

# A timer ticks while commands wait, and a command is late after this many ticks. A process that was stopped or busy for
# seconds counts one tick, so it reads the replies that have come before it calls a command late.
TICKS_PER_DEADLINE = 10


class LastingConnection:
    """Sends each command under a deadline, and once more if the stream breaks before the reply."""

    def __init__(self, redis: Redis, *, deadline_seconds: float) -> None:
        self._redis = redis
        self._deadline_seconds = deadline_seconds
        self._queue = CommandQueue()
        self._is_flush_due = False
        self._stream: PipelinedStream | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick = 0

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Kept, because asking for it is a system call before Python 3.12."""
        return asyncio.get_running_loop()

    @property
    def num_waiting_bytes(self) -> int:
        """Of the commands that are not answered."""
        stream = self._stream
        return self._queue.num_bytes + (stream.num_unanswered_bytes if stream is not None else 0)

    def submit(self, packed: bytes) -> asyncio.Future[object]:
        """Queue a command; all of one tick of the loop leave in one write."""
        reply = self._loop.create_future()
        self._queue.add(Command(packed, reply, self._tick))
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        return reply

    async def close(self, error: StoreUnavailable) -> None:
        """Fail the commands that are still waiting."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError):
                await self._opening
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            fail(self._stream.close(), error)
            self._stream = None
        fail(self._queue.take(), error)

    def can_send(self) -> None:
        """The stream takes more bytes again."""
        self._flush()

    def lost(self, commands: Sequence[Command], error: StoreUnavailable) -> None:
        """Send the commands once more, on a new stream: every transition may be repeated."""
        self._stream = None
        fail([command for command in commands if command.is_repeated], error)
        again = [each for each in commands if not each.is_repeated and not each.reply.done()]
        for command in again:
            command.is_repeated = True
        self._queue.put_back(again)
        self._flush()

    def _flush(self) -> None:
        """Send what the stream takes, or open one for what waits."""
        self._is_flush_due = False
        stream, queue = self._stream, self._queue
        if stream is not None:
            while queue.oldest is not None and stream.is_writable:
                stream.send(queue.take_for_write())
        elif queue.oldest is not None and self._opening is None:
            self._opening = self._loop.create_task(self._open())
        if self._timer is None:
            self._start_timer()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                stream = await open_stream(self._redis)
        except (TimeoutError, RedisTimeoutError):
            fail(self._queue.take(), self._no_answer())
        except (RedisConnectionError, OSError) as error:
            fail(self._queue.take(), as_unavailable(error))
        except RedisError as error:
            fail(self._queue.take(), error)
        except Exception as error:
            # Of the library or of TLS. Its words may repeat a part of the URL, and nobody else would tell the callers.
            kind = type(error).__name__
            fail(self._queue.take(), StoreUnavailable(f"no connection could be opened: {kind}"))
        else:
            self._stream = PipelinedStream(stream, self)
        finally:
            self._opening = None
        self._flush()

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(self._deadline_seconds / TICKS_PER_DEADLINE, self._look)

    def _look(self) -> None:
        """Fail the commands that are late; a stream that owes one of them a reply is broken."""
        self._timer = None
        self._tick += 1
        limit = self._tick - TICKS_PER_DEADLINE
        fail(self._queue.take_issued_before(limit), self._no_answer())
        stream = self._stream
        oldest = stream.oldest if stream is not None else None
        if stream is not None and oldest is not None and oldest.issued < limit:
            commands, error = stream.close(), self._no_answer()
            fail([command for command in commands if command.issued < limit], error)
            self.lost([command for command in commands if command.issued >= limit], error)
        elif oldest is not None or self._queue.oldest is not None:
            self._start_timer()

    def _no_answer(self) -> StoreUnavailable:
        return StoreUnavailable(f"no answer within {self._deadline_seconds:g} s")
