"""Keep-alives of a stream whose client has left."""

import asyncio
import gc
import logging
from collections.abc import Sequence

import pytest

from gateway.turn.event_stream import EventStream, Header, KeepAlive


class Gone:
    """A connection whose client has left."""

    def __init__(self) -> None:
        self.tried = asyncio.Event()

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        self.tried.set()
        raise OSError("gone")

    async def write(self, data: bytes) -> None: ...
    async def end(self, data: bytes) -> None: ...


async def test_a_keep_alive_that_nobody_receives_leaves_no_error_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its failure ends with the block and does not reach asyncio's log."""
    gone, keep_alive = Gone(), KeepAlive(b": alive\n\n")
    with caplog.at_level(logging.ERROR, "asyncio"):
        async with EventStream(gone).kept_alive(keep_alive, after_seconds=0.01, episode_id="ep_1"):
            await gone.tried.wait()
            await asyncio.sleep(0.03)  # no other is tried
        gc.collect()
    assert caplog.records == []
