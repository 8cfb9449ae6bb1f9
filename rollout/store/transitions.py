"""The base of the store's parts: a project's key prefix, the clock and the timings."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from rollout.errors import DamagedRecord
from rollout.store.command_batcher import Argument
from rollout.store.lua_scripts import LuaScripts

log = logging.getLogger(__name__)

Read = TypeVar("Read")
MOVED_AT_MOST = 5  # damaged records that one call moves aside before it gives up


class Timings(msgspec.Struct, frozen=True):
    """Waiting times of the store, in seconds."""

    idle: float = 1800.0  # an open episode ends after this long without a turn or reward
    grace: float = 30.0  # how long after sealing turns that began before may commit
    retention: float = 3600.0  # how long a settled episode stays readable in Redis
    reward_deadline: float = 600.0  # for the other members of a group, after its first one ended
    silence: float = (
        60.0  # an unfinished episode keeps its place this long after its last sign of life
    )


class Transitions:
    """Runs scripts for one project, at the clock's time."""

    def __init__(
        self,
        scripts: LuaScripts,
        *,
        project: str,
        timings: Timings,
        clock: Callable[[], float] = time.time,
        shard: int = 0,
    ) -> None:
        self.project = project
        self._scripts = scripts
        self._timings = timings
        self._clock = clock
        self._num_set_aside = 0
        self._prefix = f"turngate:{{{project}:{shard}}}:" if shard else f"turngate:{{{project}}}:"
        waits = msgspec.structs.astuple(timings)
        self._waits = tuple(milliseconds(wait) for wait in waits)

    @property
    def num_set_aside(self) -> int:
        """Damaged records that this process met and moved aside."""
        return self._num_set_aside

    def _run(self, name: str, *arguments: Argument) -> Awaitable[object]:
        now = milliseconds(self._clock())
        return self._scripts.run(name, self._prefix, now, *self._waits, *arguments)

    def transition(self, name: str, *arguments: Argument) -> Awaitable[object]:
        """Run one script; for the parts of a sharded store."""
        return self._run(name, *arguments)

    async def set_aside(self, damaged: DamagedRecord) -> None:
        """Move a damaged record aside, for a person to look at. An episode that has not ended is discarded as failed."""
        self._num_set_aside += 1
        log.error("damaged record", extra={"record": repr(damaged.name), "why": damaged.why})
        name = damaged.name.encode(errors="surrogateescape")
        await self._run("mend", name, damaged.why.encode(errors="backslashreplace"))

    async def _reading(self, read: Callable[[], Awaitable[Read]]) -> Read:
        """Call a transition whose reply names a damaged record again, after the record was moved aside."""
        for _ in range(MOVED_AT_MOST):
            try:
                return await read()
            except DamagedRecord as error:
                await self.set_aside(error)
        return await read()


def milliseconds(seconds: float) -> int:
    """Times in Redis are whole milliseconds, which Lua prints without loss."""
    return round(seconds * 1000)
