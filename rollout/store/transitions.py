"""What every part of the store shares: a project's key prefix, a clock and its timings."""

import time
from collections.abc import Callable

import msgspec

from rollout.store.command_batcher import Argument
from rollout.store.lua_scripts import LuaScripts


class Timings(msgspec.Struct, frozen=True):
    """How long the store waits for things, in seconds."""

    idle: float = 1800.0  # an open episode without a turn or reward for this long is over
    grace: float = 30.0  # turns begun before sealing may commit this long after it
    retention: float = 3600.0  # how long a settled episode stays readable in Redis
    reward_deadline: float = 600.0  # for the rest of a group, after its first member ended


class Transitions:
    """Runs scripts for one project, at the time the clock says."""

    def __init__(
        self,
        scripts: LuaScripts,
        *,
        project: str,
        timings: Timings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.project = project
        self._scripts = scripts
        self._timings = timings
        self._clock = clock
        self._prefix = f"turngate:{{{project}}}:"
        waits = (timings.idle, timings.grace, timings.retention, timings.reward_deadline)
        self._waits = tuple(milliseconds(wait) for wait in waits)

    async def _run(self, name: str, *arguments: Argument) -> object:
        now = milliseconds(self._clock())
        return await self._scripts.run(name, self._prefix, now, *self._waits, *arguments)


def milliseconds(seconds: float) -> int:
    """Times in Redis are whole milliseconds, which Lua's numbers print without loss."""
    return round(seconds * 1000)
