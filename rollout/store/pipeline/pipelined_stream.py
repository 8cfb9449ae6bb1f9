"""An open stream to Redis: commands are sent without waiting for replies, and each reply is the oldest command's."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import hiredis
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from rollout.errors import StoreUnavailable
from rollout.store.pipeline.command import Command, fail
from rollout.store.refusals import as_unavailable, is_read_only

INCOMPLETE = object()  # what the reader returns until the next reply is whole


class Sender(Protocol):
    """Who sends commands on a stream."""

    def can_send(self) -> None:
        """The stream takes more bytes again."""

    def lost(self, commands: Sequence[Command], error: StoreUnavailable) -> None:
        """The stream broke before it brought the replies to these commands."""


class PipelinedStream(asyncio.Protocol):
    """One open stream, of which its sender hears until it closes it."""

    def __init__(self, stream: asyncio.StreamWriter, sender: Sender) -> None:
        self._stream = stream
        self._sender: Sender | None = sender
        self._sent: deque[Command] = deque()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=INCOMPLETE,
        )
        self.num_unanswered_bytes = 0
        self.is_writable = True
        self._is_read_only = False
        stream.transport.set_protocol(self)

    @property
    def oldest(self) -> Command | None:
        """The command whose reply comes next."""
        return self._sent[0] if self._sent else None

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands in one write."""
        self._sent.extend(commands)
        packed = b"".join([command.packed for command in commands])
        self.num_unanswered_bytes += len(packed)
        self._stream.transport.write(packed)

    def close(self) -> Sequence[Command]:
        """Close at once; returns the commands that have no reply."""
        commands, self._sent = self._sent, deque()
        self._sender = None
        self._stream.transport.abort()
        return commands

    def data_received(self, data: bytes) -> None:
        """Give each reply to its caller; that of a cancelled caller still tells of the server."""
        gets, sent = self._reader.gets, self._sent
        try:
            self._reader.feed(data)
            while (reply := gets()) is not INCOMPLETE:
                command = sent.popleft()
                self.num_unanswered_bytes -= len(command.packed)
                if isinstance(reply, Exception):
                    self._is_read_only |= is_read_only(reply)
                    command.fail(given(reply))
                elif not command.reply.done():
                    command.reply.set_result(reply)
        except InvalidResponse as error:
            self._refuse(str(error))
        except IndexError:
            self._refuse("it sent a reply without a command")
        if self._is_read_only:
            self._leave()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = not self._is_read_only
        if self._sender is not None:
            self._sender.can_send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sender is not None:
            sender, error = self._sender, exc or RedisConnectionError("it closed the connection")
            sender.lost(self.close(), as_unavailable(error))

    def _leave(self) -> None:
        """Send nothing more to a replica, and end when all is answered: the next stream looks the address up again."""
        self.is_writable = False
        if self._sender is not None and not self._sent:
            sender = self._sender
            self.close()
            sender.lost((), StoreUnavailable("it is a read-only replica"))

    def _refuse(self, why: str) -> None:
        """After bytes that are no reply, nothing says which command a later reply is for. A repeat would meet the same."""
        if self._sender is not None:
            sender, error = self._sender, StoreUnavailable(f"what answers is no Redis: {why}")
            fail(self.close(), error)
            sender.lost((), error)


def given(reply: Exception) -> Exception:
    """The error that a caller gets; redis-py takes some replies for a lost connection, as while Redis loads its data."""
    return as_unavailable(reply) if isinstance(reply, RedisConnectionError) else reply
