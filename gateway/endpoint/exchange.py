"""One call as its endpoint sees it: the body, whether the client is still there, and where the reply goes."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Protocol, TypeVar

from starlette.types import Scope

from gateway.turn.event_stream import ResponseWriter

CLIENT_GONE = 499  # nginx's status for a client that left before it was answered
REQUEST_ID = "turngate.request_id"  # scope key
T = TypeVar("T")


class ClientGone(Exception):
    """The client has left, so there is nobody to answer."""


class Exchange(ResponseWriter, Protocol):
    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Of the request, their names in lower case."""

    @property
    def request_id(self) -> str: ...

    @property
    def path_episode(self) -> str | None:
        """The episode named by the path's prefix."""

    @property
    def scope(self) -> Scope:
        """Where the limits of the caller are left for the reply's headers."""

    async def body(self) -> bytes:
        """Raises ClientGone, and TooLarge."""

    async def while_connected(self, work: Coroutine[None, None, T]) -> T:
        """Do the work; when the client leaves, cancel it and raise ClientGone."""


class Endpoint(Protocol):
    """Answers the calls of one path."""

    @property
    def path(self) -> str: ...

    async def answer(self, exchange: Exchange) -> None: ...


class Presence:
    """Whether a client is still there; what is done for it is cancelled when it leaves."""

    def __init__(self) -> None:
        self.has_left = False
        self._worker: asyncio.Task[object] | None = None

    def leave(self) -> None:
        self.has_left = True
        if self._worker is not None:
            self._worker.cancel()

    async def during(self, work: Coroutine[None, None, T]) -> T:
        """Raises ClientGone."""
        if self.has_left:
            work.close()
            raise ClientGone
        return await self._until_it_leaves(work)

    async def _until_it_leaves(self, work: Coroutine[None, None, T]) -> T:
        worker = self._worker = asyncio.current_task()
        assert worker is not None
        try:
            return await work
        except asyncio.CancelledError:
            if self.has_left and worker.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self._worker = None
