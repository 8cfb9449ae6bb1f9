"""What a parent and one of its workers say to each other: one line of JSON a message, over a socket pair.

The kernel closes an end with its process, so either one notices the other's death.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from gateway.metrics import Snapshot
from gateway.workers.families import Family

MAX_LINE_BYTES = 64 * 2**20
LAST = -1  # the id of the reading that a worker gives at its end


class Serve(msgspec.Struct, frozen=True, tag=True):
    """To a worker: take connections."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: take no more connections, and end when those that are open have been answered."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To a worker: end; running turns may finish."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """To a worker: say what was counted, with the state of the store and the pool if `with_state`."""

    id: int
    with_state: bool


class Exposed(msgspec.Struct, frozen=True, tag=True):
    """To a worker: the metrics of all workers."""

    id: int
    text: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it can serve."""


class Reading(msgspec.Struct, frozen=True, tag=True):
    """From a worker: what it has counted since its start."""

    id: int
    counted: Sequence[Family]
    snapshot: Snapshot | None = None


class Expose(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it is asked for the metrics of all workers."""

    id: int


Message = Serve | Drain | Stop | Ask | Exposed | Ready | Reading | Expose


class Channel:
    """One end. Made by `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = msgspec.json.Encoder()
        self._decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES))

    def send(self, message: Message) -> None:
        """To one that has ended, nothing is sent."""
        if not self._writer.is_closing():
            self._writer.write(self._encoder.encode(message) + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """Those of the other end, until it closes."""
        with suppress(ConnectionError):
            # A line without its end is the last, cut one.
            while (line := await self._reader.readline()).endswith(b"\n"):
                yield self._decoder.decode(line)

    async def close(self) -> None:
        """Close this end, once what was sent is on its way."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
