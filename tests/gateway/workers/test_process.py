"""What a parent does with what one of its workers says."""

import asyncio
import signal
import socket

import pytest

from gateway.workers.channel import Channel
from gateway.workers.process import WorkerProcess


@pytest.mark.parametrize(
    "line", [b'{"type":"OfAnotherRelease"}\n', b'{"type":"Reading"}\n', b"nonsense\n"]
)
async def test_a_worker_that_is_not_understood_ends_alone(line: bytes) -> None:
    """As one of another release after SIGHUP: it is killed, and who follows it goes on."""
    own_end, its_end = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "600")
    worker = WorkerProcess(process, await Channel.open(own_end), place=0)
    with its_end:
        its_end.send(line)
        async with asyncio.timeout(60):
            await worker.follow(lambda *_: None)
    assert worker.ended.is_set()
    assert worker.code == -signal.SIGKILL
