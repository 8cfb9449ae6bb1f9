"""What the views of an episode show is what training receives and what it gave."""

import pytest
from hypothesis import given

from gateway import views
from rollout.episode import Turn
from rollout.header import EpisodeView
from rollout.reward import Rewards
from rollout.trie import Trie
from tests.gateway.conftest import Gateway
from tests.gateway.test_episodes import BODY, CHAT
from tests.rollout.play import policy
from tests.rollout.random_episodes import episodes
from tests.trainer.test_batch import header
from trainer.algorithms import RunningBaseline
from trainer.batch import prepare
from trainer.composition import Composition
from trainer.rows import episode_rows


@given(episodes())
def test_the_view_is_what_the_trainer_receives(turns: list[Turn]) -> None:
    """Of any episode both get the same rows: ids, mask, logprobs, versions, turns and flags."""
    episode = EpisodeView(header("ep_1", 0), tuple(turns), Rewards())

    shown = views.sequences(episode).data
    received = [row.sequence for row in episode_rows(Trie(turns), 1.0)]

    assert [row.ids for row in shown] == [s.tokens.tolist() for s in received]
    assert [row.action_mask for row in shown] == [s.action_mask.tolist() for s in received]
    logprobs = [s.behavior_logprobs.tolist() for s in received]
    assert [row.behavior_logprobs for row in shown] == logprobs
    assert [row.versions for row in shown] == [s.versions.tolist() for s in received]
    assert [row.turns for row in shown] == [s.turns.tolist() for s in received]
    assert [row.flags for row in shown] == [s.flags.tolist() for s in received]


async def test_a_trained_episode_shows_the_credit_its_tokens_got(served: Gateway) -> None:
    """After the ack every row has the advantages that the batch used, before it none has any."""
    group = {"X-Turngate-Group": "grp_t", "X-Turngate-Group-Size": "2"}
    for name, value in (("ep_a", 1.0), ("ep_b", 0.0)):
        for _ in range(2):  # the second call starts anew, so that the episode has two rows
            await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": name, **group})
        reward = {"value": value, "complete": True}
        await served.admin.post(f"/v1/episodes/{name}/rewards", json=reward)
    claims = await served.store.claim(
        "trainer", groups=1, version=0, max_staleness=8, lease_seconds=60
    )
    batch = prepare(
        claims,
        parts=Composition(),
        baseline=RunningBaseline(),
        training_version=0,
        token_budget=10_000,
    )
    before = await rows_of(served, "ep_a")

    packed = batch.packed_advantages
    await served.store.ack("trainer", ["grp_t"], policy(1), advantages=packed)

    (microbatch,) = batch.train.microbatches
    used = microbatch.advantages[microbatch.action_mask]
    assert [row["advantages"] for row in before] == [None, None]
    for name, advantage in zip(("ep_a", "ep_b"), batch.advantages, strict=True):
        for row in await rows_of(served, name):
            expected = [advantage if trains else 0.0 for trains in row["action_mask"]]
            assert row["advantages"] == pytest.approx(expected)
            assert set(row["advantages"]) - {0.0} <= set(used.tolist())


async def rows_of(served: Gateway, episode_id: str) -> list[dict[str, list[float]]]:
    answer = await served.admin.get(f"/v1/episodes/{episode_id}?view=sequences")
    rows: list[dict[str, list[float]]] = answer.json()["data"]
    return rows
