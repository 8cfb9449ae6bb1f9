"""How many connections each process of one listener holds, in memory that all of them see.

With few connections that live long, neither a shared queue nor a hash of addresses (`SO_REUSEPORT`) spreads them: one process wakes
up first more often, and a hash of addresses does not see how many each holds. Here a process knows whether it is the one to take the next connection.
"""

import mmap
import os

ABSENT = -1  # takes no connections
_BYTES = 4


class ConnectionCounts:
    """The counts of all processes, one place each."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("i")

    @classmethod
    def create(cls, places: int) -> "ConnectionCounts":
        descriptor = os.memfd_create("turngate-connections")
        os.truncate(descriptor, places * _BYTES)
        counts = cls(descriptor)
        for place in range(places):
            counts.leave(place)
        return counts

    def hold(self, place: int, connections: int) -> None:
        self._counts[place] = connections

    def leave(self, place: int) -> None:
        self._counts[place] = ABSENT

    def is_next(self, place: int) -> bool:
        """Whether nobody holds clearly fewer connections: of few, each one counts."""
        least = min(count for count in self._counts if count != ABSENT)
        return self._counts[place] - least <= least // 16
