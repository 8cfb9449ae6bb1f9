"""The connections to one server, and the calls over them.

A call is sent once. A server that closes a connection in the moment in which a call is sent over it loses that call:
sending it again would be refused by an engine that has begun it, and would hide the death of the one that has not.
Therefore a connection is not used after it has rested for a second less than the engines' own limit.
"""

import asyncio
import time
from collections.abc import Mapping

from rollout.engine.http.address import Address
from rollout.engine.http.connection import PIECE_BYTES, Connection
from rollout.engine.http.dialer import Dialer

IDLE_SECONDS = 4.0  # SGLang closes a connection that rests for 5 s


class HttpClient:
    """Opens connections as calls need them, without a limit; one that rests serves the next call."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._address = Address.parse(url)
        self._dialer = Dialer(self._address)
        self._tls = self._address.tls_context()
        self._headers = _encoded(self._address, headers)
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._open: set[Connection] = set()
        self._resting: dict[Connection, None] = {}  # the one that rests longest comes first
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def post(
        self, path: str, body: bytes, *, seconds: float, is_last_call: bool = False
    ) -> Connection:
        """Send a request and give the connection, to be read from and released."""
        head = self._head(path, len(body), is_last_call=is_last_call)
        connection = self._rested() or await self._connect(seconds)
        try:
            connection.begin(head, body, is_last_call=is_last_call)
            if len(body) > PIECE_BYTES:
                async with asyncio.timeout(seconds):
                    await connection.send_rest()
        except BaseException:
            connection.release()
            raise
        return connection

    async def ask(self, path: str, body: bytes, *, seconds: float) -> tuple[int, bytes]:
        """The status and the body of the whole answer. Raises TimeoutError, ConnectionError."""
        connection = await self.post(path, body, seconds=seconds)
        try:
            answer = await connection.read_all(seconds)
            return connection.status, answer
        finally:
            connection.release()

    async def close(self) -> None:
        """Close every connection; calls that run fail."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)  # the transports close themselves in the loop

    def _head(self, path: str, length: int, *, is_last_call: bool) -> bytes:
        closing = b"connection: close\r\n" if is_last_call else b""
        route = (self._address.path + path).encode()
        return b"POST %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n" % (
            route,
            self._headers,
            closing,
            length,
        )

    def _rested(self) -> Connection | None:
        """The connection that rested last; if that was too long ago, the others rest even longer."""
        limit = time.monotonic() - self._idle_seconds
        while self._resting:
            connection, _ = self._resting.popitem()
            if connection.is_open and connection.rested_at > limit:
                return connection
            connection.abort()
        return None

    async def _connect(self, seconds: float) -> Connection:
        if self._is_closed:
            raise ConnectionError("the client is closed")
        limit = min(seconds, self._connect_seconds)
        try:
            async with asyncio.timeout(limit):
                connection = await self._dial()
        except TimeoutError as error:  # no late answer: nothing was sent
            where = self._address.authority
            raise ConnectionError(f"cannot connect to {where} within {limit:g} s") from error
        self._opened(connection)
        return connection

    async def _dial(self) -> Connection:
        loop, address = asyncio.get_running_loop(), self._address
        sock = await self._dialer.connected_socket()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(on_rest=self._rest, on_lost=self._forget),
                sock=sock,
                ssl=self._tls,
                server_hostname=address.host if self._tls else None,
            )
        except OSError as error:
            raise ConnectionError(f"cannot connect to {address.authority}: {error}") from error
        return connection

    def _opened(self, connection: Connection) -> None:
        if self._is_closed:
            connection.abort()
        elif connection.is_open:
            self._open.add(connection)

    def _rest(self, connection: Connection) -> None:
        self._resting[connection] = None
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(self._idle_seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what has rested for too long."""
        self._sweeper = None
        limit = time.monotonic() - self._idle_seconds
        for connection in list(self._resting):
            if connection.rested_at > limit:
                self._sweeper = asyncio.get_running_loop().call_later(
                    self._idle_seconds, self._sweep
                )
                return
            del self._resting[connection]
            connection.abort()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._resting.pop(connection, None)


def _encoded(address: Address, headers: Mapping[str, str]) -> bytes:
    """The headers that every request has."""
    fields = {"host": address.authority, "content-type": "application/json"}
    if address.credentials:
        fields["authorization"] = address.credentials
    lines = [f"{name}: {value}" for name, value in (fields | dict(headers)).items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of the engine's calls has a line break; check the key")
    return "".join(f"{line}\r\n" for line in lines).encode()
