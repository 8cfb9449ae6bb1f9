"""One worker as its parent sees it, from its start to its end."""

import asyncio
import itertools
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from gateway.workers.channel import (
    Ask,
    Channel,
    Drain,
    Expose,
    Exposed,
    Message,
    Reading,
    Ready,
    Serve,
    Stop,
)
from gateway.workers.families import Family
from gateway.workers.inheritance import Inheritance

log = logging.getLogger("gateway.workers")

OnExpose = Callable[["WorkerProcess", int], object]


class WorkerProcess:
    """Made by `start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: Channel, *, place: int
    ) -> None:
        self.place = place
        self.counted: Sequence[Family] = ()  # as last read
        self._process = process
        self._channel = channel
        self.code = 0  # of its exit; negative for a signal
        self.ended = asyncio.Event()
        self.is_serving = False
        self._is_ready = asyncio.Event()
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Reading]] = {}

    @classmethod
    async def start(cls, inheritance: Inheritance, own_end: socket.socket) -> "WorkerProcess":
        command = [sys.executable, "-m", "gateway.workers", *inheritance.arguments]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=inheritance.descriptors
            )
        except BaseException:
            own_end.close()
            raise
        return cls(process, await Channel.open(own_end), place=inheritance.place)

    @property
    def is_ready(self) -> bool:
        return self._is_ready.is_set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_paused(self) -> bool:
        """Whether a signal has stopped it, as a debugger does."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    async def follow(self, on_expose: OnExpose) -> None:
        """Hear what it says until it has ended."""
        try:
            await self._listen(on_expose)
            self.code = await self._process.wait()
            await self._channel.close()
        finally:
            self.ended.set()

    async def _listen(self, on_expose: OnExpose) -> None:
        try:
            async for message in self._channel.messages():
                self._hear(message, on_expose)
        except ValueError as error:  # a new worker may be of another release than this process
            extra = {"pid": self.pid, "reason": str(error)}
            log.error("worker is not understood, killed", extra=extra)
            self.kill()

    async def wait_ready(self) -> None:
        await self._is_ready.wait()

    async def wait_ready_or_end(self, seconds: float) -> None:
        waits = {asyncio.create_task(each.wait()) for each in (self._is_ready, self.ended)}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def read(self, *, seconds: float, with_state: bool = False) -> Reading | None:
        """Ask what it has counted; None if it does not say."""
        id = next(self._ids)
        self._asked[id] = asyncio.get_running_loop().create_future()
        self._channel.send(Ask(id, with_state))
        try:
            return await asyncio.wait_for(self._asked[id], seconds)
        except TimeoutError:
            return None
        finally:
            del self._asked[id]

    def serve(self) -> None:
        self.is_serving = True
        self._channel.send(Serve())

    def drain(self) -> None:
        self.is_serving = False
        self._channel.send(Drain())

    def stop(self) -> None:
        self._channel.send(Stop())

    def expose(self, id: int, text: str) -> None:
        self._channel.send(Exposed(id, text))

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def _hear(self, message: Message, on_expose: OnExpose) -> None:
        match message:
            case Ready():
                self._is_ready.set()
            case Reading(id=id):
                self.counted = message.counted
                if id in self._asked and not self._asked[id].done():
                    self._asked[id].set_result(message)
            case Expose(id=id):
                on_expose(self, id)
            case _:
                raise AssertionError(message)
