"""Keep-alives of a stream whose client has left."""

import asyncio
import gc
import logging

import pytest
from starlette.types import Message

from gateway.turn.event_stream import EventStream, KeepAlive


async def test_a_keep_alive_that_nobody_receives_leaves_no_error_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its failure ends with the block and does not reach asyncio's log."""
    tried = asyncio.Event()

    async def send(_: Message) -> None:
        tried.set()
        raise OSError("gone")

    keep_alive = KeepAlive(b": alive\n\n")
    with caplog.at_level(logging.ERROR, "asyncio"):
        async with EventStream(send).kept_alive(keep_alive, after_seconds=0.01, episode_id="ep_1"):
            await tried.wait()
        gc.collect()
    assert caplog.records == []
