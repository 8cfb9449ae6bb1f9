"""Opens sockets to one server; its addresses are looked up in a thread and remembered for a while."""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from aiohappyeyeballs import AddrInfoType, start_connection

from rollout.engine.http.address import Address

REMEMBERED_SECONDS = (
    10.0  # many calls that begin together ask once; a name that moves is followed soon
)
NEXT_ADDRESS_SECONDS = 0.25  # a name may have an address that does not answer (RFC 8305)


class Dialer:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._found: Sequence[AddrInfoType] = ()
        self._found_until = 0.0
        self._looking_up = asyncio.Lock()

    async def connected_socket(self) -> socket.socket:
        """Raises ConnectionError with the address in its message."""
        try:
            found = await self._addresses()
            return await start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
        except (OSError, RuntimeError, UnicodeError) as error:  # uvloop has the second for some
            self._found_until = 0.0
            raise ConnectionError(
                f"cannot connect to {self._address.authority}: {error}"
            ) from error

    async def _addresses(self) -> Sequence[AddrInfoType]:
        async with self._looking_up:
            if time.monotonic() >= self._found_until:
                self._found = await self._look_up()
                self._found_until = time.monotonic() + REMEMBERED_SECONDS
            return self._found

    async def _look_up(self) -> Sequence[AddrInfoType]:
        host, port, kind = self._address.host, self._address.port, socket.SOCK_STREAM
        with suppress(socket.gaierror):  # a number needs no thread
            return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
