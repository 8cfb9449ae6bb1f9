"""A command for Redis that waits for its reply, and the queue of those that are not sent yet."""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

WRITE_BYTES = 1 << 20  # of one write; to join more would block the event loop


class Command(msgspec.Struct):
    """A packed command whose caller waits for `reply`."""

    packed: bytes
    reply: "asyncio.Future[object]"
    issued: int  # the tick of its connection
    is_repeated: bool = False  # the stream on which it was sent first is broken

    def fail(self, error: Exception) -> None:
        """Give the error to the caller, unless the caller was cancelled."""
        if not self.reply.done():
            self.reply.set_exception(error)


class CommandQueue:
    """Commands in the order in which they are to be sent."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self.num_bytes = 0

    @property
    def oldest(self) -> Command | None:
        return self._commands[0] if self._commands else None

    def add(self, command: Command) -> None:
        self._commands.append(command)
        self.num_bytes += len(command.packed)

    def put_back(self, commands: Sequence[Command]) -> None:
        """Queue commands again that were sent before all that are queued."""
        self._commands[:0] = commands
        self.num_bytes += num_bytes(commands)

    def take(self) -> list[Command]:
        """All of them."""
        commands, self._commands = self._commands, []
        self.num_bytes = 0
        return commands

    def take_for_write(self) -> list[Command]:
        """Those that fit into one write, at least one."""
        if self.num_bytes <= WRITE_BYTES:
            return self.take()
        count, size = 1, len(self._commands[0].packed)
        while size + len(self._commands[count].packed) <= WRITE_BYTES:
            size += len(self._commands[count].packed)
            count += 1
        return self._take_first(count)

    def take_issued_before(self, tick: int) -> list[Command]:
        """Those that have waited since before the tick."""
        count = 0
        while count < len(self._commands) and self._commands[count].issued < tick:
            count += 1
        return self._take_first(count)

    def _take_first(self, count: int) -> list[Command]:
        taken, self._commands = self._commands[:count], self._commands[count:]
        self.num_bytes -= num_bytes(taken)
        return taken


def num_bytes(commands: Iterable[Command]) -> int:
    return sum(len(command.packed) for command in commands)


def fail(commands: Iterable[Command], error: Exception) -> None:
    """Give the same error to all callers."""
    for command in commands:
        command.fail(error)
