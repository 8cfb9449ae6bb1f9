"""A model of the store in plain Python: one process, no Redis, no concern for speed.

Each method answers with the error it expects, or None. Times are seconds on the test's clock.
"""

from collections import Counter
from dataclasses import dataclass, field

from rollout import errors
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.group import JudgedBy
from rollout.store.transitions import Timings
from tests.rollout.play import own_group

Refusal = type[errors.StoreError] | None
TERMINAL = ("trained", "discarded")
MAX_DELIVERIES = 3
FAILED = 2  # seconds in which a failed episode may still get a reward
GIVE_UP = 10  # seconds to call again after a turn failed
TOKENS_A_TURN = 2


@dataclass
class Episode:
    id: str
    kind: str
    group: str | None
    opened: float
    idle_at: float
    status: str = "open"
    reason: str | None = None
    outcome: str = ""
    sealed_at: float = 0.0
    num_turns: int = 0  # ever committed; the data may be gone
    num_begun: int = 0
    withdrawn: set[str] = field(default_factory=set)
    turns: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    rewards: dict[str, float] = field(default_factory=dict)
    policy_version: int | None = None
    forget_at: float | None = None
    key: str = ""
    holder: str | None = None  # of its place; None: it has none
    quiet_at: float | None = None  # when its place is given back
    began_at: float = 0.0  # its last sign of life
    in_outbox: bool = False

    @property
    def has_signal(self) -> bool:
        return self.kind != "side" and bool(self.versions)

    @property
    def is_waiting(self) -> bool:
        """Whether it ends at `idle_at`: if open, if sealed without a trainable turn, and if failed without a reward."""
        is_over = not self.has_signal or self.outcome == "failed"
        return self.status == "open" or (self.status == "sealed" and is_over)

    @property
    def disposition(self) -> str | None:
        return (
            self.reason
            if self.status == "discarded"
            else "trained"
            if self.policy_version
            else None
        )


@dataclass
class Group:
    id: str
    size: int
    wait: float
    key: str = ""
    ahead: int = 0  # places of members that have not opened
    ahead_until: float = 0.0
    is_late: bool = False  # it became ready without a place
    opened: int = 0
    status: str = "open"
    members: list[str] = field(default_factory=list)
    rewarded: int = 0
    discarded: int = 0
    deadline: float | None = None
    ready_at: float | None = None
    owner: str = ""
    lease: float = 0.0
    deliveries: int = 0
    version: int = 0
    restorable: bool = False


class Model:
    def __init__(self, timings: Timings, limit: int, share: int) -> None:
        self.timings = timings
        self.limit, self.share = limit, share
        self.now = 0.0
        self.episodes: dict[str, Episode] = {}
        self.groups: dict[str, Group] = {}
        self.turns: dict[str, str] = {}
        self.opened = 0
        self.reward_sum = 0.0
        self.reward_count = 0
        self.settled_tokens: Counter[str] = Counter()
        self.delivered_tokens = 0

    # one episode

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
        episode.idle_at = self.now + self.timings.idle
        episode.began_at = self.now
        episode.num_begun += 1
        if spec.is_named and not is_new:
            self._keep_place(episode)
        return None

    def withdraw(self, name: str, attempt: str) -> Refusal:
        episode = self.episodes.get(name)
        if episode is None:
            return errors.NoSuchEpisode
        if episode.status not in ("open", "sealed") or attempt in episode.withdrawn:
            return None
        episode.withdrawn.add(attempt)
        episode.num_begun -= 1
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
        if kind == "train" or episode.kind == "side":
            episode.versions.append(version)
        if episode.status == "open":
            episode.idle_at = self.now + self.timings.idle
            episode.began_at = self.now
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

    # groups

    def claim(
        self,
        owner: str,
        wanted: int,
        *,
        version: int,
        max_staleness: int,
        lease: float,
        judged_by: JudgedBy,
    ) -> list[str]:
        self._reclaim()
        taken: list[str] = []
        for group in sorted(self._in("ready"), key=lambda g: (g.is_late, g.ready_at, g.id)):
            if len(taken) == wanted:
                break
            versions = [v for e in self._members(group, "rewarded") for v in e.versions]
            judged = {"oldest": min(versions), "newest": max(versions), "none": version}[judged_by]
            if version - judged > max_staleness:
                self._discard_group(group, "stale")
                continue
            group.status, group.owner, group.lease = "claimed", owner, self.now + lease
            group.deliveries += 1
            for episode in self._members(group, "rewarded"):
                episode.status = "claimed"
                self._pass_place(episode, "trainer")
            taken.append(group.id)
        return taken

    def renew(self, owner: str, ids: list[str], lease: float) -> Refusal:
        held = [self.groups[name] for name in ids if self._holds(owner, name)]
        for group in held:
            group.lease = self.now + lease
        return None if len(held) == len(ids) else errors.ClaimLost

    def release(self, owner: str, ids: list[str]) -> None:
        for name in ids:
            if self._holds(owner, name):
                self.groups[name].deliveries -= 1
                self._requeue(self.groups[name], "claimed")

    def ack(self, owner: str, ids: list[str], version: int, *, overlong: set[str]) -> Refusal:
        if not all(self._holds(owner, name) for name in ids):
            return errors.ClaimLost
        for group in (self.groups[name] for name in ids):
            for episode in self._members(group, "claimed"):
                if episode.id in overlong:
                    self._discard(episode, "overlong")
                    continue
                episode.status, episode.policy_version = "trained", version
                self._unplace(episode)
                self._count_tokens(episode, "trained", 1)
                self._tell(episode)
            group.status, group.version, group.restorable = "trained", version, True
        return None

    def discard(self, owner: str, ids: list[str], reason: str) -> Refusal:
        groups = [self.groups.get(name) for name in ids]
        ours = [g and g.owner == owner and (g.status in ("claimed", "discarded")) for g in groups]
        if not all(ours):
            return errors.ClaimLost
        for group in groups:
            if group and group.status == "claimed":
                self._discard_group(group, reason)
        return None

    def restore(self, version: int) -> set[str]:
        again = [g for g in self._in("trained") if g.restorable and g.version > version]
        for group in again:
            for episode in self._members(group, "trained"):
                episode.policy_version = None
                episode.holder = episode.key
                self._count_tokens(episode, "trained", -1)
                self._tell(episode)
            group.restorable, group.deliveries = False, 0
            self._requeue(group, "trained")
        return {group.id for group in again}

    def checkpointed(self, version: int) -> None:
        for group in self._in("trained"):
            if group.restorable and group.version <= version:
                group.restorable = False
                for episode in self._members(group, "trained"):
                    episode.forget_at = self.now + self.timings.retention

    # time

    def sweep(self) -> float | None:
        for episode in [e for e in self.episodes.values() if (e.forget_at or 1e99) <= self.now]:
            self._forget(episode)
        idle = [e for e in self.episodes.values() if e.is_waiting and e.idle_at <= self.now]
        for episode in sorted(idle, key=lambda e: (e.idle_at, e.id)):
            self._give_up(episode)
        for group in self._in("open"):
            if group.deadline is not None and group.deadline <= self.now:
                self._close(group)
        self._silence()
        for group in self._in("ready"):
            if group.is_late and group.ready_at + self.timings.idle <= self.now:
                self._discard_group(group, "stale")
        self._reclaim()
        due = [e.forget_at for e in self.episodes.values() if e.forget_at is not None]
        due += [e.idle_at for e in self.episodes.values() if e.is_waiting]
        due += [g.deadline for g in self._in("open") if g.deadline is not None]
        due += [g.lease for g in self._in("claimed")]
        due += [e.quiet_at for e in self.episodes.values() if e.quiet_at is not None]
        due += [g.ahead_until for g in self.groups.values() if g.ahead]
        due += [g.ready_at + self.timings.idle for g in self._in("ready") if g.is_late]
        return min(due, default=None)

    def drain(self) -> dict[str, tuple[str, float, int]]:
        """The ledger's row of each episode: its disposition, its reward and its number of rewards."""
        told = {
            e.id: (e.disposition or "requeued", sum(e.rewards.values()), len(e.rewards))
            for e in self.episodes.values()
            if e.in_outbox
        }
        for name in told:
            self.episodes[name].in_outbox = False
        return told

    # what follows from it

    @property
    def holders(self) -> Counter[str]:
        held = Counter(e.holder for e in self.episodes.values() if e.holder is not None)
        for group in self.groups.values():
            held[group.key] += group.ahead
        return +held

    def live(self) -> Counter[str]:
        return Counter(e.status for e in self.episodes.values() if e.status not in TERMINAL)

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

    def _in(self, status: str) -> list[Group]:
        return [group for group in self.groups.values() if group.status == status]

    def _members(self, group: Group, status: str) -> list[Episode]:
        return [e for e in (self.episodes[name] for name in group.members) if e.status == status]

    def _holds(self, owner: str, name: str) -> bool:
        group = self.groups.get(name)
        return group is not None and group.status == "claimed" and group.owner == owner

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
                if group.deliveries >= MAX_DELIVERIES:
                    self._discard_group(group, "failed")
                else:
                    self._requeue(group, "claimed")

    def _drop(self, episode: Episode) -> None:
        for turn in episode.turns:
            del self.turns[turn]
        episode.turns, episode.rewards = [], {}

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
