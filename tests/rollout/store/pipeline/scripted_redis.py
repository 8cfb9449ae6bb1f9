"""A server that speaks Redis's protocol from a script, for replies that no real Redis gives when a test needs them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import hiredis

Command = tuple[bytes, ...]
CLOSE = b"CLOSE"  # at the end of a reply: the connection ends after it
OPENING = {
    b"AUTH",
    b"CLIENT",
    b"HELLO",
    b"PING",
    b"SELECT",
}  # what a client sends before its commands


@dataclass(slots=True)
class ScriptedRedis:
    """`answer` gives the bytes of a command's reply, b"" for none."""

    answer: Callable[[Command], bytes]
    port: int = 0
    welcome: bytes = b"+OK\r\n"  # the reply to each opening command
    opening: list[Command] = field(default_factory=list)
    reads: list[list[Command]] = field(default_factory=list)  # commands that came in one piece
    num_connections: int = 0
    serving: list[asyncio.Task[None]] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: reads no second piece

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def commands(self) -> list[Command]:
        return [command for read in self.reads for command in read]

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one more connection."""
        self.num_connections += 1
        self.serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            await self._answer_all(reader, writer)
            await writer.drain()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            parser.feed(data)
            read = []
            for command in (tuple(found) for found in iter(parser.gets, False)):
                if command[0] in OPENING:
                    self.opening.append(command)
                    writer.write(b"+PONG\r\n" if command == (b"PING",) else self.welcome)
                else:
                    read.append(command)
            if read:
                self.reads.append(read)
                await self.goes_on.wait()
            for command in read:
                reply = self.answer(command)
                writer.write(reply.removesuffix(CLOSE))
                if reply.endswith(CLOSE):
                    return


@contextlib.asynccontextmanager
async def scripted_redis(
    answer: Callable[[Command], bytes], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedRedis]:
    """Serve on a free port of 127.0.0.1 while the block lasts."""
    redis = ScriptedRedis(answer)
    redis.goes_on.set()
    server = await asyncio.start_server(redis.connected, "127.0.0.1", 0, ssl=tls)
    redis.port = server.sockets[0].getsockname()[1]
    try:
        yield redis
    finally:
        server.close()
        for serving in redis.serving:
            serving.cancel()
        await asyncio.gather(*redis.serving, return_exceptions=True)


def bulk(value: bytes) -> bytes:
    """A string, as Redis sends it."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def echo(command: Command) -> bytes:
    """The command's last argument."""
    return bulk(command[-1])
