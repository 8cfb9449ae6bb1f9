"""What agents do with one episode of the model."""

from rollout import errors
from rollout.episode.episode_records import EpisodeSpec
from tests.rollout.play import own_group
from tests.rollout.store.model.ends import Ends
from tests.rollout.store.model.records import FAILED, GIVE_UP, TERMINAL, Episode, Group, Refusal


class Episodes(Ends):
    """Each method answers with the error it expects, or None."""

    def open(self, spec: EpisodeSpec) -> Refusal:
        if spec.id in self.episodes:
            return None
        group: Group | None = None
        if spec.kind != "side":
            group = self._group(spec)
            if isinstance(group, type):
                return group
            group.opened += 1
            group.members.append(spec.id)
        episode = Episode(
            *(spec.id, spec.kind, group and group.id, self.now, self.now + self.timings.idle),
            key=spec.key_id,
            began_at=self.now,
        )
        self.episodes[spec.id] = episode
        self.opened += 1
        if group and spec.is_named:
            if group.ahead:
                group.ahead -= 1
                episode.holder = episode.key
            self._keep_place(episode)
        return None

    def _group(self, spec: EpisodeSpec) -> Group | type[errors.StoreError]:
        """The group that an episode enters, or why it does not."""
        own = own_group(spec.id)
        size = spec.group_size or 0
        joined, size = (spec.group_id, size) if spec.group_id else (own, max(size, 1))
        group = self.groups.get(joined)
        if group is None:
            group = Group(joined, size, self.timings.reward_deadline, key=spec.key_id)
            if spec.is_named:
                group.ahead = self._grant(spec.key_id, max(size, 1))
                group.ahead_until = self.now + self.timings.silence
                if not group.ahead:
                    return errors.Backlogged
            self.groups[joined] = group
        elif group.status != "open" or group.opened >= (group.size or spec.max_group_size):
            return errors.GroupClosed
        elif not group.size and size:
            group.size = max(size, group.opened + 1)
        return group

    def begin(self, spec: EpisodeSpec) -> Refusal:
        is_new = spec.id not in self.episodes
        if refusal := self.open(spec):
            return refusal
        episode = self.episodes[spec.id]
        if episode.status != "open":
            return errors.EpisodeSealed
        episode.num_begun = max(episode.num_begun, episode.num_turns) + 1
        if not is_new and self.may_forget_begin(spec):
            return None
        episode.least_begun = max(episode.least_begun, episode.num_turns) + 1
        episode.idle_at = self.now + self.timings.idle
        episode.began_at = self.now
        if spec.is_named and not is_new:
            self._keep_place(episode)
        return None

    def may_forget_begin(self, spec: EpisodeSpec) -> bool:
        """Whether a crash of Redis forgets that a turn of this episode was begun now; its deadlines do not move."""
        episode = self.episodes.get(spec.id)
        if episode is None or not episode.has_signal:
            return False
        lacks_place = spec.is_named and episode.holder is None
        lately = min(self.timings.idle, self.timings.silence) / 4
        return not lacks_place and self.now - episode.committed_at < lately

    def take_back(self, episode: Episode) -> None:
        episode.num_begun = max(episode.num_begun - 1, episode.num_turns)
        episode.least_begun = max(episode.least_begun - 1, episode.num_turns)

    def withdraw(self, name: str, attempt: str) -> Refusal:
        episode = self.episodes.get(name)
        if episode is None:
            return errors.NoSuchEpisode
        if episode.status not in ("open", "sealed") or attempt in episode.withdrawn:
            return None
        episode.withdrawn.add(attempt)
        self.take_back(episode)
        episode.committed_at = -1e9
        lacks_signal = episode.status == "sealed" and not episode.has_signal
        if lacks_signal and episode.num_begun <= episode.num_turns:
            self._end_without_signal(episode)
            self._member_ended(episode.group)
        if episode.quiet_at is not None:
            episode.quiet_at = min(episode.quiet_at, self.now + GIVE_UP)
        return None

    def commit(self, name: str, turn: str, version: int, kind: str) -> Refusal:
        episode = self.episodes.get(name)
        if episode is None:
            return errors.NoSuchEpisode
        if turn in self.turns:
            return None if self.turns[turn] == name else errors.RetryMismatch
        late = episode.status in ("sealed", "rewarded")
        if episode.status != "open" and not (
            late and self.now <= episode.sealed_at + self.timings.grace
        ):
            return errors.EpisodeSealed
        self.turns[turn] = name
        episode.turns.append(turn)
        episode.num_turns += 1
        episode.num_begun = max(episode.num_begun, episode.num_turns)
        episode.least_begun = max(episode.least_begun, episode.num_turns)
        if kind == "train" or episode.kind == "side":
            episode.versions.append(version)
        if episode.status == "open":
            episode.idle_at = self.now + self.timings.idle
            episode.began_at = episode.committed_at = self.now
            if episode.quiet_at is not None:
                episode.quiet_at = self.now + self.timings.silence
        elif episode.has_signal:
            episode.idle_at = self.now + FAILED
        self._become_rewarded(episode)
        return None

    def reward(self, name: str, turn: str | None, value: float, complete: bool) -> Refusal:
        episode = self.episodes.get(name)
        if episode is None:
            return errors.NoSuchEpisode
        if episode.status == "claimed":
            return errors.EpisodeClaimed
        is_evaluated = episode.reason == "evaluated"
        if episode.status in TERMINAL and not (is_evaluated and episode.turns):
            return errors.EpisodeSettled
        if turn is not None and self.turns.get(turn) != name:
            return errors.NoSuchTurn
        if episode.kind != "side":
            self.reward_sum += value - episode.rewards.get(turn or "*", 0.0)
            self.reward_count += not episode.rewards
        episode.rewards[turn or "*"] = value
        episode.num_recorded += 1
        self._become_rewarded(episode)
        if episode.status == "open":
            episode.idle_at = self.now + self.timings.idle
            episode.began_at = self.now
            self._keep_place(episode)
            if complete:
                self._end(episode, "succeeded")
        elif episode.status == "discarded":
            self._tell(episode)
        return None

    def seal(self, name: str, outcome: str) -> Refusal:
        if name not in self.episodes:
            return errors.NoSuchEpisode
        if self.episodes[name].status == "open":
            self._end(self.episodes[name], outcome)
        return None

    def delete(self, name: str) -> Refusal:
        episode = self.episodes.get(name)
        if episode is None:
            return errors.NoSuchEpisode
        if episode.status == "claimed":
            return errors.EpisodeClaimed
        if episode.status == "trained":
            return errors.EpisodeSettled
        if episode.status != "discarded":
            self._discard(episode, "deleted")
            self._member_ended(episode.group)
        else:
            self._tell(episode)
        self._drop(episode)
        return None
