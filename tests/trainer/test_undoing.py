"""Batches that do not count: the learner goes back to its last checkpoint in the same process, and the loop goes on."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import torch
from torch import Tensor

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import DiscardReason
from rollout.episode.reward import Reward
from rollout.episode.turn import Media, encode_turn
from rollout.store.store import Store
from tests.trainer.bandit import is_even, one_token_turn, weights
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.learner.microbatch import Microbatch
from trainer.objective.objective import Objective


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir, checkpoint_every=1)


def evenness(token: int) -> float:
    return float(is_even(token))


class Disturbed:
    """An objective that does something in the middle of the first steps."""

    def __init__(self, objective: Objective, acts: list[Callable[[], None]]) -> None:
        self._objective, self._acts = objective, acts

    def __getattr__(self, name: str) -> object:
        return getattr(self._objective, name)

    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self._acts:
            self._acts.pop()()
        return self._objective(current_logprobs, entropies, microbatch)


def disturbed_train(stand: Stand, act: Callable[[], None], *, rounds: int, times: int = 1) -> None:
    """Train, and disturb the first steps."""
    objective = Disturbed(Objective(stand.place.parts), [act] * times)
    trainer = replace(stand.trainer(), objective=objective)
    stand.feed.rounds = rounds
    with stand.feed.open(max_live_episodes=1000):
        stand.progress = trainer.train(stand.progress)


def steal(stand: Stand) -> None:
    """Another trainer takes over what is being trained, as if the lease had run out, and gives it back."""
    stand.bridge.call(stand.store.take_over, stand.feed.owner + "-other")
    stand.bridge.call(stand.store.take_over, stand.feed.owner)


def test_a_batch_whose_lease_was_lost_is_undone(place: Place) -> None:
    """It is not in the weights: the next policy's parent is the one before, and its episodes train once."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=2)
        disturbed_train(stand, partial(steal, stand), rounds=2)
        assert stand.metric("turngate_training_alerts_total", kind="claim_lost") == 1
        recorded = stand.bridge.call(stand.store.policy)
        assert recorded is not None
        assert (recorded.version, recorded.parent) == (4, 2)
        assert stand.learner.steps == 3
        assert stand.bridge.call(stand.store.totals).trained == 3 * GROUPS * stand.bandit.group_size
        assert stand.bridge.call(stand.store.totals).groups == {"ready": GROUPS, "claimed": 0}


def fail() -> None:
    raise RuntimeError("no such kernel")


def test_a_step_that_raises_is_undone_and_tried_again(place: Place) -> None:
    """The weights are those of the checkpoint, and the same groups train in the next batch."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=2)
        before = weights(stand.learner)
        disturbed_train(stand, fail, rounds=1)
        assert stand.metric("turngate_training_alerts_total", kind="step") == 1
        assert all(torch.equal(before[name], w) for name, w in stand.learner.export())
        stand.train(rounds=1)
        totals = stand.bridge.call(stand.store.totals)
        assert totals.trained == 3 * GROUPS * stand.bandit.group_size
        assert DiscardReason.FAILED not in totals.discarded or not totals.discarded["failed"]


def test_a_batch_that_fails_three_times_is_discarded(place: Place) -> None:
    """Its groups would end every trainer otherwise; the next batch trains in the same process."""
    with Stand(place, evenness) as stand:
        disturbed_train(stand, fail, rounds=4, times=3)
        assert stand.metric("turngate_training_alerts_total", kind="step") == 3
        totals = stand.bridge.call(stand.store.totals)
        assert totals.discarded[DiscardReason.FAILED] == GROUPS * stand.bandit.group_size
        assert totals.trained == GROUPS * stand.bandit.group_size


def test_a_trainer_that_no_batch_suits_ends_and_leaves_the_last_one_claimed(place: Place) -> None:
    """The delivery counts: a trainer that begins anew and ends again does not deliver the same groups for ever."""
    with Stand(place, evenness) as stand:
        with pytest.raises(RuntimeError, match="no such kernel"):
            disturbed_train(stand, fail, rounds=4, times=4)
        assert stand.bridge.call(stand.store.totals).groups["claimed"] == GROUPS


async def play_broken(store: Store) -> None:
    """A group with a turn that shows an image, which no model here can be trained on."""
    group, episode = f"grp_{uuid4().hex}", f"ep_{uuid4().hex}"
    await store.open(EpisodeSpec(episode, group_id=group, group_size=1))
    whole = one_token_turn(f"turn_{episode}", 100, -1.0, 0)
    turn = msgspec.structs.replace(whole, media=(Media("digest", 0, 1),))
    await store.commit(episode, turn, encoded=encode_turn(turn))
    await store.reward(episode, Reward(1.0), complete=True)


def test_a_group_that_makes_no_batch_stops_itself_alone(place: Place) -> None:
    """It is discarded as failed with an alert; the others train."""
    with Stand(place, evenness) as stand:
        stand.bridge.call(play_broken, stand.store)
        stand.train(rounds=2)
        assert stand.metric("turngate_training_alerts_total", kind="group") == 1
        totals = stand.bridge.call(stand.store.totals)
        assert totals.discarded[DiscardReason.FAILED] == 1
        assert totals.trained == GROUPS * stand.bandit.group_size
