"""Checking every record of a project, and deriving its indexes and counts again, in slices between which other calls run.

A pass is shared by all gateways: each slice goes on where the last one ended, whoever made it, also after a crash.
"""

from typing import NamedTuple, cast

from rollout.store.transitions import Transitions, log

SLICE_ENTRIES = 50  # of the list of episodes, so that Redis is never blocked for long


class RepairSlice(NamedTuple):
    """A part of a pass over all records."""

    number: int  # of the pass; later ones have larger numbers
    begins: bool
    ends: bool
    num_damaged: int


class WholePass:
    """Waits for the end of a pass that began no earlier than its first slice."""

    def __init__(self) -> None:
        self._wanted: int | None = None

    def is_over(self, found: RepairSlice) -> bool:
        """Whether it is over with this slice."""
        if self._wanted is None:
            self._wanted = found.number if found.begins else found.number + 1
        return found.ends and found.number >= self._wanted


class RepairTransitions(Transitions):
    """What is right stays as it is."""

    async def repair(self, *, slice_entries: int = SLICE_ENTRIES) -> int:
        """Check every record once; returns how many were damaged since the last time."""
        whole, num_damaged = WholePass(), 0
        while True:
            found = await self.repair_slice(slice_entries)
            num_damaged += found.num_damaged
            if whole.is_over(found):
                return num_damaged

    async def repair_slice(self, entries: int = SLICE_ENTRIES) -> RepairSlice:
        """The next slice of the pass that is under way, or of a new one; each damaged record is logged."""
        reply = await self._run("repair", entries)
        number, begins, ends, damaged = cast("tuple[bytes, int, int, list[list[bytes]]]", reply)
        for row in damaged:
            name, kept, why = (part.decode(errors="backslashreplace") for part in row)
            fields = {"record": name, "kept_as": kept, "why": why, "project": self.project}
            log.error("damaged record moved aside", extra=fields)
        return RepairSlice(int(number), bool(begins), bool(ends), len(damaged))
