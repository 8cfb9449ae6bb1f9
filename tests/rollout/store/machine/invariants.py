"""What the store and the model agree about after every rule."""

from collections import Counter

import pytest
from hypothesis.stateful import invariant

from tests.rollout.store.machine.caller import Caller


class Invariants(Caller):
    """Episodes, groups and totals."""

    @invariant()
    def episodes_agree(self) -> None:
        listed, _ = self.do(lambda store: store.episodes(limit=1000))
        headers = [episode.header for episode in listed]
        found = {
            h.id: (h.status.value, h.disposition, h.num_turns, h.min_version, h.num_rewards)
            for h in headers
        }
        assert found == {
            e.id: (
                *(e.status, e.disposition, e.num_turns),
                *(min(e.versions, default=None), len(e.rewards)),
            )
            for e in self.model.episodes.values()
        }

    @invariant()
    def groups_agree(self) -> None:
        for group in self.model.groups.values():
            view = self.do(lambda store, id_=group.id: store.group(id_))
            assert view.status == group.status
            assert view.num_rewarded == sum(
                self.model.episodes[name].status in ("rewarded", "claimed", "trained")
                for name in group.members
            )

    @invariant()
    def totals_add_up(self) -> None:
        totals = self.do(lambda store: store.totals())
        assert totals.opened == self.model.opened
        assert totals.opened == sum(totals.live.values()) + sum(totals.dispositions.values())
        live = self.model.live()
        assert {status: n for status, n in totals.live.items() if n} == live
        assert totals.places.by_holder == self.model.holders
        assert totals.reserved_episodes == self.model.holders.total()
        assert totals.reward_sum == pytest.approx(self.model.reward_sum)
        assert totals.reward_count == self.model.reward_count
        assert Counter(totals.settled_tokens) == self.model.settled_tokens
        assert totals.delivered_tokens == self.model.delivered_tokens
