"""A server that does with each connection what a test says, down to the byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio

Handle = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection, as the server sees it."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number  # from 1, in the order of arrival
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[str, bytes]:
        """The next head and body; IncompleteReadError if the client has left."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return head, await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def has_left(self) -> None:
        """Wait until the client closes the connection; what it sent is dropped."""
        with anyio.fail_after(5), suppress(ConnectionResetError):
            while await self.reader.read(2**16):
                pass


class RawServer:
    def __init__(self, url: str) -> None:
        self.url = url
        self.peers: list[Peer] = []


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer of known length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes) -> bytes:
    """An answer in chunks, to its end."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def echoes(peer: Peer) -> None:
    """Answers each request with its own body."""
    while True:
        _, body = await peer.request()
        await peer.send(whole(body))


@asynccontextmanager
async def serving(
    handle: Handle, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Runs `handle` for each connection and closes it afterwards."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        peer = Peer(len(server.peers) + 1, reader, writer)
        server.peers.append(peer)
        try:
            await handle(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        except asyncio.CancelledError:
            pass  # by the end of the block; the stream's own callback takes it for an error
        finally:
            running.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, host, 0, ssl=tls)
    name, port = listener.sockets[0].getsockname()[:2]
    authority = f"[{name}]" if ":" in name else name
    server = RawServer(f"{'https' if tls else 'http'}://{authority}:{port}")
    try:
        yield server
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
