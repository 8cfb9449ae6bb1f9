"""What the model remembers, and the places of admission that episodes and groups hold."""

from collections import Counter

from rollout.store.transitions import Timings
from tests.rollout.store.model.records import (
    Episode,
    Group,
)


class Places:
    """Who holds how many places follows from the episodes and the groups."""

    def __init__(self, timings: Timings, limit: int, share: int) -> None:
        self.timings = timings
        self.limit, self.share = limit, share
        self.now = 0.0
        self.episodes: dict[str, Episode] = {}
        self.groups: dict[str, Group] = {}
        self.turns: dict[str, str] = {}
        self.trainer: str | None = None  # the only one that may claim
        self.opened = 0
        self.reward_sum = 0.0
        self.reward_count = 0
        self.settled_tokens: Counter[str] = Counter()
        self.delivered_tokens = 0

    @property
    def holders(self) -> Counter[str]:
        held = Counter(e.holder for e in self.episodes.values() if e.holder is not None)
        for group in self.groups.values():
            held[group.key] += group.ahead
        return +held

    def _grant(self, key: str, wanted: int) -> int:
        holders, wanted = self.holders, min(wanted, self.share)
        held, reserved = holders[key], holders.total()
        unclaimed = self.share - holders.pop("trainer", 0)
        fair = unclaimed / len(holders.keys() | {key})
        is_due = reserved + wanted <= self.share or held == 0 or held + wanted <= fair
        fits = held + wanted <= self.share and reserved + wanted <= self.limit
        return wanted if fits and is_due else 0

    def _keep_place(self, episode: Episode) -> None:
        if episode.kind == "side":
            return
        if episode.holder is None and not self._grant(episode.key, 1):
            return
        if episode.holder is None:
            episode.holder = episode.key
        episode.quiet_at = self.now + self.timings.silence

    def _pass_place(self, episode: Episode, holder: str) -> None:
        if episode.holder is not None:
            episode.holder = holder

    def _unplace(self, episode: Episode) -> None:
        if episode.holder is not None:
            episode.holder = episode.quiet_at = None
            group = self.groups[episode.group]
            if not self._has_place(group):
                group.ahead = 0

    def _has_place(self, group: Group) -> bool:
        return any(self.episodes[name].holder is not None for name in group.members)

    def _silence(self) -> None:
        """Give back the places of members without a sign of life, and of those that never opened."""
        silence = self.timings.silence
        due = [e for e in self.episodes.values() if (e.quiet_at or 1e99) <= self.now]
        for episode in due:
            is_running = episode.status == "open" and episode.num_begun > episode.num_turns
            if is_running and self.now - episode.began_at < 10 * silence:
                episode.quiet_at = self.now + silence
            else:
                self._unplace(episode)
        for group in self.groups.values():
            if group.ahead and group.ahead_until <= self.now:
                group.ahead = 0
