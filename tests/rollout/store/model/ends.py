"""How episodes and groups of the model end, and what follows for each other."""

from tests.rollout.store.model.places import Places
from tests.rollout.store.model.records import (
    FAILED,
    MAX_DELIVERIES,
    TERMINAL,
    TOKENS_A_TURN,
    Episode,
    Group,
)


class Ends(Places):
    """Every way out of a live status."""

    def _in(self, status: str) -> list[Group]:
        return [group for group in self.groups.values() if group.status == status]

    def _members(self, group: Group, status: str) -> list[Episode]:
        return [e for e in (self.episodes[name] for name in group.members) if e.status == status]

    def _tell(self, episode: Episode) -> None:
        episode.in_outbox = True

    def _count_tokens(self, episode: Episode, disposition: str, by: int) -> None:
        self.settled_tokens[disposition] += by * TOKENS_A_TURN * episode.num_turns
        if disposition == "trained":
            self.delivered_tokens += by * TOKENS_A_TURN * len(episode.versions)

    def _become_rewarded(self, episode: Episode) -> None:
        """Make it rewarded if it is sealed with a reward and a trainable turn."""
        if episode.status == "sealed" and episode.has_signal and episode.rewards:
            episode.status = "rewarded"
            self._keep_place(episode)
            episode.quiet_at = None
            self.groups[episode.group].rewarded += 1
            self._review(episode.group)

    def _end(self, episode: Episode, outcome: str) -> None:
        episode.sealed_at = self.now
        if outcome == "aborted":
            self._discard(episode, "aborted")
        elif not episode.has_signal and episode.num_begun <= episode.num_turns:
            self._end_without_signal(episode)
        else:
            episode.status, episode.outcome = "sealed", outcome
            episode.idle_at = self.now + (FAILED if episode.has_signal else self.timings.grace)
            if episode.quiet_at is not None:
                episode.quiet_at = self.now + self.timings.silence
            self._become_rewarded(episode)
        self._member_ended(episode.group)

    def _end_without_signal(self, episode: Episode) -> None:
        is_evaluated = episode.kind == "side" and episode.num_turns
        self._discard(episode, "evaluated" if is_evaluated else "no_signal")

    def _give_up(self, episode: Episode) -> None:
        if episode.status == "open" and episode.rewards:
            self._end(episode, "succeeded")
            return
        if episode.status == "open":
            self._discard(episode, "expired")
        elif episode.has_signal:
            self._discard(episode, "failed")
        else:
            self._end_without_signal(episode)
        self._member_ended(episode.group)

    def _discard(self, episode: Episode, reason: str) -> None:
        if episode.group:
            group = self.groups[episode.group]
            group.discarded += 1
            group.rewarded -= episode.status in ("rewarded", "claimed")
        episode.status, episode.reason = "discarded", reason
        self._unplace(episode)
        self._count_tokens(episode, reason, 1)
        episode.forget_at = self.now + self.timings.retention
        self._tell(episode)

    def _member_ended(self, group_id: str | None) -> None:
        if group_id:
            group = self.groups[group_id]
            if group.status == "open" and group.deadline is None:
                group.deadline = self.now + group.wait
            self._review(group_id)

    def _review(self, group_id: str | None) -> None:
        group = self.groups[group_id] if group_id else None
        if group is None:
            return
        whole = group.size and group.rewarded + group.discarded >= group.size
        if group.status == "open" and whole:
            if group.rewarded:
                self._queue(group)
            else:
                self._finish(group, "discarded")
        elif group.status == "ready" and not group.rewarded:
            self._finish(group, "discarded")

    def _finish(self, group: Group, status: str) -> None:
        group.status, group.ahead = status, 0

    def _queue(self, group: Group) -> None:
        group.status, group.owner, group.ahead = "ready", "", 0
        group.is_late = not self._has_place(group)
        group.ready_at = self.now if group.ready_at is None else group.ready_at

    def _requeue(self, group: Group, was: str) -> None:
        for episode in self._members(group, was):
            episode.status = "rewarded"
            self._pass_place(episode, episode.key)
        self._queue(group)

    def _close(self, group: Group) -> None:
        enough = group.rewarded >= 2
        for status in ("open", "sealed") if enough else ("open", "sealed", "rewarded"):
            for episode in self._members(group, status):
                self._discard(episode, "expired")
        if enough:
            self._queue(group)
        else:
            self._finish(group, "discarded")

    def _discard_group(self, group: Group, reason: str) -> None:
        for status in ("rewarded", "claimed"):
            for episode in self._members(group, status):
                self._discard(episode, reason)
        self._finish(group, "discarded")

    def _reclaim(self) -> None:
        for group in self._in("claimed"):
            if group.lease <= self.now:
                self._give_back(group)

    def _give_back(self, group: Group) -> None:
        if group.deliveries >= MAX_DELIVERIES:
            self._discard_group(group, "failed")
        else:
            self._requeue(group, "claimed")

    def _drop(self, episode: Episode) -> None:
        for turn in episode.turns:
            del self.turns[turn]
        episode.turns, episode.rewards, episode.num_recorded = [], {}, 0

    def _forget(self, episode: Episode) -> None:
        group = self.groups[episode.group] if episode.group else None
        if episode.in_outbox or (group and group.status not in TERMINAL):
            episode.forget_at = self.now + self.timings.retention
            return
        self._drop(episode)
        del self.episodes[episode.id]
        if group:
            group.members.remove(episode.id)
            if not group.members:
                del self.groups[group.id]
