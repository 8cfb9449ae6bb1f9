"""Remembers in which shard an episode was open a moment ago, so that its next call needs no search.

The header of an episode stays in Redis for as long as `Timings.retention` after its end. Within that time nobody can open the same
id in another shard, so what is remembered is right.
"""

from collections import OrderedDict
from collections.abc import Callable

MOST = 65_536


class Whereabouts:
    def __init__(self, *, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def get(self, episode_id: str) -> int | None:
        """Its shard, None if it is not known."""
        found = self._known.get(episode_id)
        return found[0] if found is not None and found[1] > self._clock() else None

    def open_in(self, episode_id: str, shard: int) -> None:
        """The episode is open there now."""
        self._known[episode_id] = (shard, self._clock() + self._seconds)
        self._known.move_to_end(episode_id)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
