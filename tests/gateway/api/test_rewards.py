"""Rewards over HTTP: by episode, turn, choice or the id that the SDK got back, alone or in a list."""

from tests.gateway.api.playing import play
from tests.gateways import Gateway


async def test_a_reward_may_complete(served: Gateway) -> None:
    """Reward and completion in one call make a group of one ready to train."""
    await play(served, "ep_1")
    await served.admin.post("/v1/episodes/ep_1/rewards", json={"value": 1, "complete": True})
    (claim,) = await served.store.claim(
        "trainer", groups=1, version=0, max_staleness=8, lease_seconds=60
    )
    assert [episode.header.id for episode in claim.episodes] == ["ep_1"]


async def test_rewards_amend_and_repeat(served: Gateway) -> None:
    """A new value amends, another name adds up, and a repeated idempotency key gives the same answer."""
    await play(served, "ep_1")
    path = "/v1/episodes/ep_1/rewards"
    await served.admin.post(path, json={"value": 1.0})
    amended = (await served.admin.post(path, json={"value": 2.0})).json()
    keyed = {"value": 0.25, "name": "style", "idempotency_key": "k"}
    once = (await served.admin.post(path, json=keyed)).json()
    again = (await served.admin.post(path, json=keyed)).json()
    other = await served.admin.post(path, json=keyed | {"value": 9.0})
    shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert amended["amended"] is True
    assert once == again
    assert other.status_code == 409
    assert shown["reward"] == 2.25


async def test_plain_meaning_in_bodies_of_ours(served: Gateway) -> None:
    """A byte-order mark and 0.0 for an index are read; half of an emoji in metadata is U+FFFD."""
    completion = await play(served, "ep_1")
    served.admin.headers["content-type"] = "application/json"
    body = f'{{"completion_id": "{completion}", "choice_index": 0.0, "value": 1}}'
    given = await served.admin.post("/v1/rewards", content=b"\xef\xbb\xbf" + body.encode())
    assert given.status_code == 200, given.text
    assert given.json()["choice_index"] == 0
    for wrong in ("0.5", "true", '"0"'):
        refused = await served.admin.post("/v1/rewards", content=body.replace("0.0", wrong))
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "choice_index")
    opened = await served.admin.post("/v1/episodes", content=rb'{"metadata": {"a": "\ud83d x"}}')
    shown = await served.admin.get(f"/v1/episodes/{opened.json()['id']}")
    assert shown.json()["metadata"] == {"a": "� x"}


async def test_a_reward_by_completion_id(served: Gateway) -> None:
    """The id the SDK got back addresses its turn, one at a time or in a list."""
    first, second = await play(served, "ep_1"), await play(served, "ep_2")
    rewards = [{"completion_id": first, "value": 1}, {"completion_id": second, "value": 0}]
    answer = (await served.admin.post("/v1/rewards", json=rewards)).json()
    await served.admin.post("/v1/rewards", json={"episode_id": "ep_1", "value": 3})
    shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert [reward["episode_id"] for reward in answer["data"]] == ["ep_1", "ep_2"]
    turn_id = first.removeprefix("chatcmpl-")
    assert {(r["turn_id"], r["value"]) for r in shown["rewards"]} == {(turn_id, 1), (None, 3)}


async def test_a_list_with_a_wrong_address_rewards_nobody(served: Gateway) -> None:
    """All addresses of a list are checked before the first reward is recorded."""
    first = await play(served, "ep_1")
    rewards = [
        {"completion_id": first, "value": 1},
        {"completion_id": "chatcmpl-turn_none", "value": 1},
    ]
    answer = await served.admin.post("/v1/rewards", json=rewards)
    shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert answer.status_code == 404
    assert shown["rewards"] == []


async def test_a_list_with_a_choice_that_was_not_sampled_rewards_nobody(served: Gateway) -> None:
    """Choices of one turn are rewarded in a list; with one that is not there, or without a turn, the call records nothing."""
    completion = await play(served, "ep_1")
    good = {"completion_id": completion, "choice_index": 0, "value": 1.0}
    refused = [
        await served.admin.post("/v1/rewards", json=[good, wrong])
        for wrong in (
            good | {"choice_index": 2},
            {"episode_id": "ep_1"} | {"choice_index": 0, "value": 1.0},
        )
    ]
    before = (await served.admin.get("/v1/episodes/ep_1")).json()["rewards"]
    given = await served.admin.post("/v1/rewards", json=[good, good | {"name": "style"}])
    assert [answer.status_code for answer in refused] == [404, 400]
    assert before == []
    assert [each["choice_index"] for each in given.json()["data"]] == [0, 0]


async def test_a_claimed_episode_takes_no_reward(served: Gateway) -> None:
    """While the trainer holds an episode a reward is 409."""
    await play(served, "ep_1")
    await served.admin.post("/v1/episodes/ep_1/rewards", json={"value": 1, "complete": True})
    await served.store.claim("trainer", groups=1, version=0, max_staleness=8, lease_seconds=60)
    answer = await served.admin.post("/v1/episodes/ep_1/rewards", json={"value": 2})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "episode_claimed"
