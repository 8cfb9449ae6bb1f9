"""Episodes, rewards and groups over HTTP, from opening to what the trainer would receive."""

import asyncio

from openai import AsyncOpenAI
from redis.asyncio import Redis

from rollout.episode.episode_status import DiscardReason
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.api.playing import BODY, CHAT, USER, open_episode, play
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import Refuse, ScriptedEngine, Version, Wait


async def test_two_strings_are_all_an_agent_needs(served: Gateway) -> None:
    """With the key and base URL of an opened episode, the stock SDK's calls are recorded in it."""
    opened = await open_episode(served, task_id="t1", metadata={"seed": 3})
    async with AsyncOpenAI(base_url=opened["base_url"], api_key=opened["api_key"]) as client:
        await client.chat.completions.create(model="anything", messages=USER)
    shown = (await served.admin.get(f"/v1/episodes/{opened['id']}")).json()
    assert opened["status"] == "open"
    assert shown["task_id"] == "t1"
    assert shown["metadata"] == {"seed": 3}
    (turn,) = shown["turns"]
    assert turn["finish_reasons"] == ["stop"]
    assert turn["policy_versions"] == [0]
    assert turn["output_tokens"][0] > 1
    assert (turn["found_by"], turn["client"]) == ("the episode key", "openai-python")


async def test_every_carrier_names_the_episode(served: Gateway) -> None:
    """Path prefix, header and metadata each put the call into the episode they name."""
    await served.admin.post("/e/ep_a/v1/chat/completions", json=BODY)
    await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_a"})
    await served.admin.post(CHAT, json=BODY | {"metadata": {"episode_id": "ep_a"}})
    alone = await served.admin.post(CHAT, json=BODY)
    assert (await served.admin.get("/e/ep_a/v1/models")).status_code == 200
    assert len(await served.store.turns("ep_a")) == 3
    assert alone.headers["x-turngate-episode"] != "ep_a"


async def test_the_life_of_an_episode(served: Gateway) -> None:
    """Open, play, complete, reward: the status follows, repeats change nothing, and late turns are refused."""
    opened = await open_episode(served)
    path = f"/v1/episodes/{opened['id']}"
    await play(served, opened["id"])
    sealed = [
        (await served.admin.post(f"{path}/complete", json={"status": "failed"})).json()
        for _ in range(2)
    ]
    rewarded = await served.admin.post(f"{path}/rewards", json={"value": 0.5})
    shown = (await served.admin.get(path)).json()
    assert sealed[0] == sealed[1]
    assert (sealed[0]["status"], sealed[0]["outcome"]) == ("sealed", "failed")
    assert rewarded.json()["value"] == 0.5
    assert shown["status"] == "rewarded"
    assert shown["reward"] == 0.5
    assert shown["disposition"] is None


async def test_completing_needs_no_body(served: Gateway) -> None:
    """An empty POST completes an episode as succeeded."""
    await play(served, "ep_1")
    answer = await served.admin.post("/v1/episodes/ep_1/complete")
    assert answer.json()["outcome"] == "succeeded"


async def test_a_deleted_episode_is_gone(served: Gateway) -> None:
    """Deleting discards an episode and its data, and counts it as deleted."""
    await play(served, "ep_1")
    deleted = (await served.admin.delete("/v1/episodes/ep_1")).json()
    totals = await served.store.totals()
    assert deleted == {"object": "episode.deleted", "id": "ep_1", "deleted": True}
    assert totals.discarded[DiscardReason.DELETED] == 1


async def test_an_id_that_names_a_part_of_another_episode_touches_nothing_of_it(
    served: Gateway,
) -> None:
    """A call to `/e/v:rewards` opens an episode of its own; the one named `v` keeps its rewards and is listed."""
    await play(served, "v")
    await served.admin.post("/v1/episodes/v/rewards", json={"value": 1})
    before = (await served.admin.get("/v1/episodes/v")).json()

    attack = await served.admin.post("/e/v:rewards/v1/chat/completions", json=BODY)

    listed = await served.admin.get("/v1/episodes")
    assert attack.status_code == 200
    assert (await served.admin.get("/v1/episodes/v")).json() == before
    assert [episode["id"] for episode in listed.json()["data"]] == ["v:rewards", "v"]


async def test_a_damaged_episode_hinders_no_list_and_no_other_call(
    served: Gateway, redis_url: str
) -> None:
    """Turns that are no turns: the next call is told that the episode is sealed, it counts as failed, others go on."""
    await play(served, "ep_1")
    await play(served, "ep_2")
    prefix = f"turngate:{{{served.project}}}:"
    async with Redis.from_url(redis_url) as client:
        await client.set(f"{prefix}ep.rewards:ep_1", "garbage")
        await client.rpush(f"{prefix}ep.turns:ep_1", b"\xc1")

    listed = await served.admin.get("/v1/episodes")
    shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    call = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_1"})
    other = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_2"})

    assert listed.status_code == 200
    assert (shown["status"], shown["disposition"]) == ("discarded", "failed")
    assert (call.status_code, other.status_code) == (409, 200)


async def test_groups_by_header(served: Gateway) -> None:
    """Two calls name one group of two; it is whole when both are rewarded."""
    group = {"X-Turngate-Group": "grp_t", "X-Turngate-Group-Size": "2"}
    for name in ("ep_a", "ep_b"):
        headers = {"X-Turngate-Episode": name, **group}
        await served.admin.post(CHAT, json=BODY, headers=headers)
        await served.admin.post(f"/v1/episodes/{name}/complete")
    before = (await served.admin.get("/v1/groups/grp_t")).json()
    for name in ("ep_a", "ep_b"):
        await served.admin.post(f"/v1/episodes/{name}/rewards", json={"value": 1})
    after = (await served.admin.get("/v1/groups/grp_t")).json()
    assert (before["size"], before["num_sealed"], before["num_rewarded"]) == (2, 2, 0)
    assert before["deadline"] is not None
    assert (after["status"], after["num_rewarded"]) == ("ready", 2)
    assert {member["id"] for member in after["members"]} == {"ep_a", "ep_b"}


async def test_an_episode_may_open_its_group(served: Gateway) -> None:
    """A size without a group makes one of that size; its id takes the others, and no more than fit."""
    first = await open_episode(served, group_size=2)
    second = await open_episode(served, group_id=first["group_id"], group_size=2)
    group = (await served.admin.get(f"/v1/groups/{first['group_id']}")).json()
    third = await served.admin.post("/v1/episodes", json={"group_id": first["group_id"]})
    assert group["size"] == 2
    assert {member["id"] for member in group["members"]} == {first["id"], second["id"]}
    assert (third.status_code, third.json()["error"]["code"]) == (409, "group_closed")


async def test_opening_needs_no_body(served: Gateway) -> None:
    """Everything about an episode is optional, so an empty POST opens one in a group of its own."""
    opened = (await served.admin.post("/v1/episodes")).json()
    group = (await served.admin.get(f"/v1/groups/{opened['group_id']}")).json()
    assert group["size"] == 1


async def test_an_episode_outlives_its_data(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """When Redis has kept an episode's data for the time that the setting says, the API still shows how it ended."""
    async with start_gateway(scripted, retention_seconds=0.1) as served:
        opened = await open_episode(served, task_id="t1", metadata={"seed": 3})
        path = f"/v1/episodes/{opened['id']}"
        await play(served, opened["id"])
        await served.admin.post(f"{path}/rewards", json={"value": 2})
        before = (await served.admin.post(f"{path}/complete", json={"status": "aborted"})).json()

        async def expired() -> bool:
            return await served.store.episode(opened["id"]) is None

        await eventually(expired)
        shown = (await served.admin.get(path)).json()
        tokens = await served.admin.get(f"{path}?view=tokens")
    assert {name: shown[name] for name in before} == before
    assert (shown["status"], shown["disposition"]) == ("discarded", "aborted")
    assert (shown["reward"], shown["turns"]) == (2, [])
    assert tokens.status_code == 404


async def test_a_side_call_never_trains(served: Gateway) -> None:
    """A call marked as side is recorded and owns nothing to train on."""
    headers = {"X-Turngate-Episode": "ep_1", "X-Turngate-Turn-Kind": "side"}
    await served.admin.post(CHAT, json=BODY, headers=headers)
    shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    rows = (await served.admin.get("/v1/episodes/ep_1?view=sequences")).json()
    assert shown["kind"] == "side"
    assert shown["turns"][0]["kind"] == "side"
    assert rows["data"] == []


async def test_a_failed_call_holds_up_no_end(served: Gateway, scripted: ScriptedEngine) -> None:
    """Sealed after or during calls that leave nothing to record, an episode ends with the last of them, not with the grace."""
    named = {"X-Turngate-Episode": "ep_1"}
    refused = BODY | {"stop_token_ids": [10**6]}
    assert (await served.admin.post(CHAT, json=refused, headers=named)).status_code == 400
    waiting, refusal = Wait(asyncio.Event()), Refuse(400, "no")
    scripted.script(waiting, refusal)
    running = asyncio.create_task(served.admin.post(CHAT, json=BODY, headers=named))
    await waiting.reached.wait()
    sealed = (await served.admin.post("/v1/episodes/ep_1/complete")).json()
    waiting.event.set()
    assert (await running).status_code == 400
    ended = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert sealed["status"] == "sealed"
    assert (ended["status"], ended["disposition"]) == ("discarded", "no_signal")


async def test_episodes_are_listed_in_pages(served: Gateway) -> None:
    """Newest first, by status, group or task, with their rewards, page after page without a gap."""
    for number in range(5):
        await open_episode(served, task_id="even" if number % 2 == 0 else "odd")
    reward = {"episode_id": (await open_episode(served))["id"], "value": 0.5}
    await served.admin.post("/v1/rewards", json=reward)
    page = (await served.admin.get("/v1/episodes?limit=2")).json()
    rest = (await served.admin.get(f"/v1/episodes?after={page['data'][-1]['id']}")).json()
    odd = (await served.admin.get("/v1/episodes?task_id=odd&status=open")).json()
    assert (len(page["data"]), page["has_more"], len(rest["data"])) == (2, True, 4)
    assert [episode["reward"] for episode in page["data"]] == [0.5, None]
    assert len({episode["id"] for episode in page["data"] + rest["data"]}) == 6
    assert {episode["task_id"] for episode in odd["data"]} == {"odd"}


async def test_the_views_agree_with_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The token tree and the sequences show what was sampled: ids, mask, logprobs and versions of the engine."""
    scripted.script(
        *spell(tokenizer, "one"), Version(1), *spell(tokenizer, " two"), end_of_turn(tokenizer)
    )
    await play(served, "ep_1")
    tree = (await served.admin.get("/v1/episodes/ep_1?view=tokens")).json()
    (row,) = (await served.admin.get("/v1/episodes/ep_1?view=sequences")).json()["data"]
    context, sampled = tree["data"]
    assert (context["kind"], sampled["kind"]) == ("context", "sampled")
    assert sampled["parent"] == context["id"]
    assert sampled["text"].startswith("one two")
    assert context["tokens"] + sampled["tokens"] == row["ids"]
    assert context["tokens"] == scripted.requests[0]["input_ids"]
    number = len(sampled["tokens"])
    assert row["action_mask"] == [False] * len(context["tokens"]) + [True] * number
    assert row["behavior_logprobs"][-number:] == sampled["behavior_logprobs"]
    first = len(tokenizer.encode("one"))
    assert row["versions"][-number:] == [0] * first + [1] * (number - first)


async def test_many_episodes_at_once(served: Gateway) -> None:
    """Thirty agents opening, playing, rewarding and completing at the same time lose nothing."""

    async def live(number: int) -> None:
        opened = await open_episode(served)
        await play(served, opened["id"])
        reward = {"value": number % 2, "complete": True}
        await served.admin.post(f"/v1/episodes/{opened['id']}/rewards", json=reward)

    await asyncio.gather(*(live(number) for number in range(30)))
    totals = await served.store.totals()
    assert totals.opened == 30
    assert totals.groups["ready"] == 30
