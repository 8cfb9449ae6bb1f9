"""A cache of the episodes that this gateway serves, so that a turn reads only turns it has not seen.

It holds bytes, not episodes: a thousand short ones cost what one long one costs. When it is full, what was made of the
turns is dropped first, because it is made again without Redis, then whole episodes; each time those unused for longest.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from gateway.attach.episode_history import EpisodeHistory
from rollout.episode.episode_records import EpisodeSummary
from rollout.episode.turn import Turn
from rollout.errors import DamagedEpisode
from rollout.store.redis_decoding import UNREADABLE

Key = tuple[str, str]  # project, episode


class EpisodeHistories:
    """`count_read` is called with the number of turns that had to be read from Redis."""

    def __init__(self, max_bytes: int, *, count_read: Callable[[int], None]) -> None:
        self._max_bytes = max_bytes
        self._count_read = count_read
        self._entries: OrderedDict[Key, EpisodeHistory] = OrderedDict()  # the latest last
        self._with_derived: OrderedDict[Key, EpisodeHistory] = OrderedDict()
        self._weights: dict[Key, int] = {}
        self.num_bytes = 0

    def num_known_turns(self, project: str, episode_id: str) -> int:
        """A turn that begins asks this, so the history is in use from now on: it must be there when the begin is answered."""
        history = self._entries.get(key := (project, episode_id))
        if history is None:
            return 0
        self._entries.move_to_end(key)
        return history.trie.num_turns

    def bring_up_to_date(
        self, project: str, header: EpisodeSummary, *, since: int, turns: Sequence[bytes]
    ) -> EpisodeHistory | None:
        """Read `turns` and return the history; None if turns before them are missing.

        They are missing if the cached entry was dropped, or belongs to an earlier episode of that id, or holds turns that the
        log lost, as after a failover to a replica that did not have them yet.
        """
        key = (project, header.id)
        history = self._entries.get(key)
        is_other = history is not None and history.created_ms != header.created_ms
        if history is None or is_other or header.num_turns < since:
            history = self._entries[key] = EpisodeHistory(header)
        if since > history.trie.num_turns:
            self._use(key, history)
            return None
        try:
            num_read = history.read(turns, since)
        except UNREADABLE as error:
            self._drop(key)
            raise DamagedEpisode(header.id, f"turns: {error!r}") from error
        if num_read:
            self._count_read(num_read)
        self._use(key, history)
        return history

    def keep(self, project: str, history: EpisodeHistory, opened: EpisodeSummary) -> None:
        """Remember the history of an episode that was opened with its first turn."""
        history.created_ms, history.policy = opened.created_ms, opened.history
        if (key := (project, opened.id)) not in self._entries:
            self._entries[key] = history
            self._use(key, history)

    def add(self, project: str, history: EpisodeHistory, *, turn: Turn, ordinal: int) -> None:
        """Add a turn that was just committed; the history may have been dropped since the turn began."""
        history.add(turn, ordinal)
        key = (project, history.id)
        if self._entries.get(key) is history:
            self._use(key, history)

    def _use(self, key: Key, history: EpisodeHistory) -> None:
        """Make it the latest, weigh it, and make room."""
        self._entries.move_to_end(key)
        self._with_derived[key] = history
        self._with_derived.move_to_end(key)
        self._weigh(key, history)
        while self.num_bytes > self._max_bytes and len(self._with_derived) > 1:
            oldest, cooled = self._with_derived.popitem(last=False)
            cooled.forget_derived()
            self._weigh(oldest, cooled)
        while self.num_bytes > self._max_bytes and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _weigh(self, key: Key, history: EpisodeHistory) -> None:
        before, now = self._weights.get(key, 0), history.num_bytes
        self._weights[key] = now
        self.num_bytes += now - before

    def _drop(self, key: Key) -> None:
        del self._entries[key]
        self._with_derived.pop(key, None)
        self.num_bytes -= self._weights.pop(key, 0)
