"""The client's side of a call: its body, and whether it is still connected."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client has left, so there is nobody to answer."""


async def read_body(receive: Receive) -> bytes:
    """Raises ClientGone."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def while_connected(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """Do the work; when the client leaves, cancel it and raise ClientGone."""
    worker = asyncio.current_task()
    assert worker is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        worker.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and worker.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
