"""What a trainer does with groups of the model."""

from rollout import errors
from rollout.episode.group import JudgedBy
from tests.rollout.store.model.ends import Ends
from tests.rollout.store.model.records import Refusal


class Groups(Ends):
    """Each method answers with what it takes, or with the error it expects."""

    def take_over(self, owner: str) -> None:
        self.trainer = owner
        for group in self._in("claimed"):
            if group.owner != owner:
                self._give_back(group)

    def claim(
        self,
        owner: str,
        wanted: int,
        *,
        version: int,
        max_staleness: int,
        lease: float,
        judged_by: JudgedBy,
    ) -> list[str] | type[errors.Superseded]:
        if self.trainer not in (None, owner):
            return errors.Superseded
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

    def _holds(self, owner: str, name: str) -> bool:
        group = self.groups.get(name)
        return group is not None and group.status == "claimed" and group.owner == owner
